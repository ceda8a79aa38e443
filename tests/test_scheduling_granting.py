"""What is kept for the head of the line, and who may pass it: `paddler.scheduling.granting`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.granting import KEPT
from paddler.scheduling.waiting import HEAVIEST, Waiter
from tests.scenes import Scene

__all__ = ["HeaviestTests", "KeptTests", "crowd_behind_a_heavy_one"]


def crowd_behind_a_heavy_one(scene: Scene, lights: int) -> tuple[Waiter, list[Waiter]]:
    """A heavy request for which a is kept, b nearer by now, and light ones that would fit a.

    They were sent back, so that more may wait than the limit says.
    """
    scene.hear("b", slots=3, interval_s=60.0)
    scene.ask()
    scene.hear("b", slots=3, busy=3, interval_s=60.0)
    scene.hear("a", slots=8, interval_s=60.0)
    for _ in range(4):
        scene.ask()
    scene.hear("x", slots=lights + 1, busy=1, interval_s=60.0)
    heavy = scene.ask(8)
    behind = [scene.ask() for _ in range(lights)]
    for light in behind:
        scene.fail(light, "refused", back=True)
    scene.wait(KEPT / 2)
    scene.hear("b", slots=3, busy=1, interval_s=60.0)
    return heavy, behind


class KeptTests(SynchronousTestCase):
    """The upstream that is kept for the head of the line."""

    def kept(self, scene: Scene) -> str | None:
        """Its name."""
        kept = scene.scheduler._granting._kept
        return None if kept is None else kept.name

    def test_for_a_second(self) -> None:
        """A choice holds for a second; what happens after that chooses anew."""
        scene = Scene()
        _, behind = crowd_behind_a_heavy_one(scene, 3)
        self.assertEqual([scene.has(light) for light in behind], ["b", "b", None])
        self.assertEqual(self.kept(scene), "a")
        scene.wait(KEPT / 2 - 0.01)
        scene.cancel(scene.ask(8))
        self.assertEqual(self.kept(scene), "a")
        scene.wait(0.01)
        scene.cancel(scene.ask(8))
        self.assertEqual((self.kept(scene), scene.has(behind[2])), ("b", "a"))

    def test_granted_while_full(self) -> None:
        """A newcomer whose coming moves the line is not refused, however many wait."""
        scene = Scene(limit=1)
        heavy, behind = crowd_behind_a_heavy_one(scene, 3)
        scene.wait(KEPT)
        newcomer = scene.ask(7)
        self.assertEqual(scene.has(behind[2]), "a")
        self.assertTrue(newcomer.waiting and heavy.waiting)

    def test_another_head(self) -> None:
        """Another head of the line gets a choice of its own at once."""
        scene = Scene()
        heavy, behind = crowd_behind_a_heavy_one(scene, 2)
        second = scene.ask(8)
        scene.cancel(heavy)
        self.assertEqual((self.kept(scene), scene.has(second)), ("b", None))
        self.assertTrue(all(map(scene.has, behind)))

    def test_not_held_by_others(self) -> None:
        """Nearer is where what it needs is ours to give back, for others may never end."""
        scene = Scene()
        scene.hear("ours", slots=4)
        running = scene.ask(4)
        scene.hear("others", slots=4, busy=1)
        heavy = scene.ask(4)
        self.assertEqual((self.kept(scene), scene.has(scene.ask())), ("ours", "others"))
        scene.end(running)
        self.assertEqual(scene.has(heavy), "ours")

    def test_all_held_by_others(self) -> None:
        """Where others hold something everywhere the one that lacks least is kept."""
        scene = Scene()
        scene.hear("a", slots=4, busy=3)
        scene.hear("b", slots=4, busy=1)
        scene.ask(4)
        self.assertEqual((self.kept(scene), scene.has(scene.ask())), ("b", "a"))

    def test_client_left(self) -> None:
        """Slots whose clients left are not ours to give back either."""
        scene = Scene()
        scene.hear("a", slots=4)
        scene.abandon(scene.ask())
        scene.hear("b", slots=4)
        busy = scene.ask(4)
        self.assertEqual(scene.has(busy), "b")
        scene.ask(4)
        self.assertEqual(self.kept(scene), "b")

    def test_nobody_healthy(self) -> None:
        """Nothing is kept where nobody may be granted anything."""
        scene = Scene()
        scene.hear("a", busy=None, issues=("unreachable",))
        scene.ask(2)
        self.assertIsNone(self.kept(scene))

    def test_not_in_quarantine(self) -> None:
        """One in quarantine is not kept; its trial goes to the first whom it can hold."""
        scene = Scene()
        scene.hear("a", slots=4, busy=1, interval_s=60.0)
        scene.quarantine()
        heavy, light = scene.ask(4), scene.ask(3)
        scene.wait(10)
        self.assertEqual((scene.has(heavy), scene.has(light)), (None, "a"))
        self.assertIsNone(self.kept(scene))


class HeaviestTests(SynchronousTestCase):
    """The line that the heaviest share."""

    def test_none_passes_another(self) -> None:
        """Of the heaviest none passes another, even where it would fit."""
        scene = Scene()
        scene.hear("large", slots=100, busy=0)
        scene.ask(50)
        scene.hear("small", slots=HEAVIEST + 2, busy=1)
        first, second = scene.ask(90), scene.ask(HEAVIEST)
        third = scene.ask(HEAVIEST - 1)
        self.assertEqual([scene.has(w) for w in (first, second, third)], [None, None, "small"])

    def test_few_lines(self) -> None:
        """Whatever weights clients ask for, few lines are looked through."""
        scene = Scene(limit=10_000)
        for weight in range(1, 5000):
            scene.ask(weight)
        self.assertEqual(len(scene.scheduler._queue._lines), HEAVIEST)
