"""What is kept for the head of the line, and who may pass it: `paddler.scheduling.granting`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.granting import KEPT
from paddler.scheduling.lines import ANYTHING, HEAVIEST, Need, Waiter
from tests.scenes import Scene

__all__ = ["HeaviestTests", "KeptTests", "LinesTests", "crowd_behind_a_heavy_one"]


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

    def test_for_a_second(self) -> None:
        """A choice holds for a second; what happens after that chooses anew."""
        scene = Scene()
        _, behind = crowd_behind_a_heavy_one(scene, 3)
        self.assertEqual([scene.has(light) for light in behind], ["b", "b", None])
        self.assertEqual(scene.kept(), "a")
        scene.wait(KEPT / 2 - 0.01)
        scene.cancel(scene.ask(8))
        self.assertEqual(scene.kept(), "a")
        scene.wait(0.01)
        scene.cancel(scene.ask(8))
        self.assertEqual((scene.kept(), scene.has(behind[2])), ("b", "a"))

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
        self.assertEqual((scene.kept(), scene.has(second)), ("b", None))
        self.assertTrue(all(map(scene.has, behind)))

    def test_not_held_by_others(self) -> None:
        """Nearer is where what it needs is ours to give back, for others may never end."""
        scene = Scene()
        scene.hear("ours", slots=4)
        running = scene.ask(4)
        scene.hear("others", slots=4, busy=1)
        heavy = scene.ask(4)
        self.assertEqual((scene.kept(), scene.has(scene.ask())), ("ours", "others"))
        scene.end(running)
        self.assertEqual(scene.has(heavy), "ours")

    def test_all_held_by_others(self) -> None:
        """Where others hold something everywhere the one that lacks least is kept."""
        scene = Scene()
        scene.hear("a", slots=4, busy=3)
        scene.hear("b", slots=4, busy=1)
        scene.ask(4)
        self.assertEqual((scene.kept(), scene.has(scene.ask())), ("b", "a"))

    def test_client_left(self) -> None:
        """Slots whose clients left are not ours to give back either."""
        scene = Scene()
        scene.hear("a", slots=4)
        scene.abandon(scene.ask())
        scene.hear("b", slots=4)
        busy = scene.ask(4)
        self.assertEqual(scene.has(busy), "b")
        scene.ask(4)
        self.assertEqual(scene.kept(), "b")

    def test_nobody_healthy(self) -> None:
        """Nothing is kept where nobody may be granted anything."""
        scene = Scene()
        scene.hear("a", busy=None, issues=("unreachable",))
        scene.ask(2)
        self.assertIsNone(scene.kept())

    def test_not_in_quarantine(self) -> None:
        """One in quarantine is not kept; its trial goes to the first whom it can hold."""
        scene = Scene()
        scene.hear("a", slots=4, busy=1, interval_s=60.0)
        scene.quarantine()
        heavy, light = scene.ask(4), scene.ask(3)
        scene.wait(10)
        self.assertEqual((scene.has(heavy), scene.has(light)), (None, "a"))
        self.assertIsNone(scene.kept())


class HeaviestTests(SynchronousTestCase):
    """The row that the heaviest share."""

    def test_none_passes_another(self) -> None:
        """Of the heaviest none passes another, even where it would fit."""
        scene = Scene()
        scene.hear("large", slots=100, busy=0)
        scene.ask(50)
        scene.hear("small", slots=HEAVIEST + 2, busy=1)
        first, second = scene.ask(90), scene.ask(HEAVIEST)
        third = scene.ask(HEAVIEST - 1)
        self.assertEqual([scene.has(w) for w in (first, second, third)], [None, None, "small"])

    def test_few_rows(self) -> None:
        """Whatever weights clients ask for, few rows are looked through."""
        scene = Scene(limit=10_000)
        for weight in range(1, 5000):
            scene.ask(weight)
        (line,) = scene.scheduler._queue.lines
        self.assertEqual(len(line._rows), HEAVIEST)


class LinesTests(SynchronousTestCase):
    """A line for each need, and one order over all."""

    def test_never_blocks_another(self) -> None:
        """Fifty wait for a model that nobody serves; another's are served as if alone."""
        scene = Scene()
        scene.hear("b", slots=2, models=("b",))
        waiting = [scene.ask(model="a") for _ in range(50)]
        for _ in range(20):
            first, second, third = (scene.ask(model="b") for _ in range(3))
            self.assertEqual([scene.has(w) for w in (first, second, third)], ["b", "b", None])
            scene.end(first)
            self.assertEqual(scene.has(third), "b")
            scene.end(second)
            scene.end(third)
        self.assertFalse(any(map(scene.has, waiting)))
        before = len(scene.order)
        scene.hear("a", slots=2, models=("a",))
        for waiter in waiting:
            scene.end(waiter)
        self.assertEqual(scene.order[before:], waiting)

    def test_at_once(self) -> None:
        """Who waits for one model keeps nobody from another's slots, even in the short way."""
        scene = Scene()
        scene.hear("b", slots=2, models=("b",))
        for model in ("a", "c", "c"):
            scene.ask(model=model)
        asked = [Waiter(1, scene.now, need) for need in (Need("b"), ANYTHING, Need("b"))]
        leases = [scene.scheduler.grant_at_once(waiter, scene.now) for waiter in asked]
        self.assertEqual([lease is not None for lease in leases], [True, True, False])
        scene.ask(model="b")
        assert leases[0] is not None
        scene.drain("b")
        scene.took(scene.scheduler.release(leases[0], scene.now))
        for need in (Need("b"), ANYTHING):
            self.assertIsNone(scene.scheduler.grant_at_once(Waiter(1, scene.now, need), scene.now))

    def test_in_order(self) -> None:
        """Who could use the same server gets it by arrival, whatever names they ask by."""
        scene = Scene()
        scene.hear("a", slots=1, models=("m", "chat"))
        busy = scene.ask()
        waiting = [scene.ask(model=model) for model in ("chat", None, "m", "chat", None, "m")]
        other = scene.ask(model="n")
        scene.end(busy)
        for waiter in waiting:
            scene.end(waiter)
        self.assertEqual(scene.order, [busy, *waiting])
        self.assertIsNone(scene.has(other))

    def test_passes_where_it_can(self) -> None:
        """Who came later is served first where who came earlier can't be."""
        scene = Scene()
        scene.hear("small", slots=1, n_ctx=2048, models=("m",))
        busy = scene.ask()
        large, any_size = scene.ask(n_ctx=4096), scene.ask()
        scene.end(busy)
        self.assertEqual((scene.has(large), scene.has(any_size)), (None, "small"))
        scene.hear("large", slots=1, n_ctx=8192, models=("m",))
        self.assertEqual(scene.has(large), "large")

    def test_kept_from_other_lines(self) -> None:
        """What is kept for a heavy head is left to it by those of other lines behind it too."""
        scene = Scene()
        scene.hear("a", slots=4, models=("m", "chat"))
        running = [scene.ask() for _ in range(3)]
        heavy = scene.ask(4, model="m")
        light, alias = scene.ask(), scene.ask(model="chat")
        self.assertEqual(scene.kept(Need("m")), "a")
        scene.end(running[0])
        self.assertFalse(scene.has(light) or scene.has(alias) or scene.has(heavy))
        for request in running[1:]:
            scene.end(request)
        self.assertEqual((scene.has(heavy), scene.has(light)), ("a", None))
        scene.end(heavy)
        self.assertEqual((scene.has(light), scene.has(alias)), ("a", "a"))

    def test_heads_keep_apart(self) -> None:
        """Each line's heavy head has something kept, never what is kept for an earlier one."""
        scene = Scene()
        for name in "ab":
            scene.hear(name, slots=2, busy=1, models=("m", "chat"))
        first, second = scene.ask(2, model="m"), scene.ask(2, model="chat")
        third = scene.ask(2)
        kept = [scene.kept(waiter.need) for waiter in (first, second, third)]
        self.assertEqual((sorted(filter(None, kept)), kept[2]), (["a", "b"], None))
        self.assertIsNone(scene.has(scene.ask()))

    def test_kept_serves_no_more(self) -> None:
        """What no longer serves the head's need is not kept for it."""
        scene = Scene()
        scene.hear("a", slots=2, busy=1, models=("m",))
        scene.ask(2, model="m")
        self.assertEqual(scene.kept(Need("m")), "a")
        scene.hear("a", slots=2, busy=1, models=("n",))
        self.assertIsNone(scene.kept(Need("m")))
        self.assertEqual(scene.has(scene.ask()), "a")

    def test_before_one_that_came_earlier(self) -> None:
        """What is kept for a head does not keep those away who came before it."""
        scene = Scene()
        scene.hear("a", slots=2, models=("m",))
        running = [scene.ask(), scene.ask()]
        light, heavy = scene.ask(), scene.ask(2, model="m")
        scene.end(running[0])
        self.assertEqual((scene.has(light), scene.has(heavy)), ("a", None))
