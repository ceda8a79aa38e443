"""Where models' names lead: `paddler.scheduling.routing`, and the scheduler that asks it."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from paddler.errors import ModelNotFound
from paddler.scheduling.lines import ANYTHING, Need, Waiter
from paddler.scheduling.routing import LONGEST_NAME, MOST_NAMES, SETTLING, Mode, Routing
from paddler.values import Model
from tests.scenes import Scene, report, scheduler

__all__ = ["RoutingTests", "SettlingTests", "ViewTests"]


class _Case(SynchronousTestCase):
    """A scheduler whose requests name models."""

    def scene(self, mode: Mode = "auto", *listed: str, limit: int = 1000) -> Scene:
        """A scheduler of nobody."""
        scene = Scene(limit)
        scene.scheduler = scheduler(limit, 1, Routing(mode, listed))
        return scene

    def settle(self, scene: Scene) -> None:
        """All agents that there are have reported."""
        scene.wait(SETTLING)

    def need(self, scene: Scene, model: str | None) -> Need | str:
        """What a request for a model needs, or why there is no such model."""
        try:
            return scene.scheduler.need(model, scene.now)
        except ModelNotFound as error:
            return str(error)

    def ask(self, scene: Scene, model: str) -> Waiter:
        """A request for a model."""
        return scene.ask(model=scene.scheduler.need(model, scene.now).model)


class RoutingTests(_Case):
    """Names, once all agents have reported."""

    def test_served(self) -> None:
        """A name that is served, be it an alias, leads to who serves it."""
        for mode in ("auto", "strict"):
            scene = self.scene(mode)
            scene.hear("a", models=("m", "chat"), model_details=(Model("m", ("chat",)),))
            scene.hear("b", models=("n",))
            self.settle(scene)
            for name in ("m", "chat", "n"):
                self.assertEqual(self.need(scene, name), Need(name))

    def test_none(self) -> None:
        """Who names none goes anywhere, and who gives an empty name."""
        for mode in ("auto", "strict", "off"):
            scene = self.scene(mode)
            scene.hear("a", models=("m",))
            scene.hear("b", models=("n",))
            self.settle(scene)
            self.assertEqual([self.need(scene, model) for model in (None, "")], [ANYTHING] * 2)

    def test_auto_with_one_model(self) -> None:
        """With one model in all, by whatever names, an unknown name goes anywhere."""
        scene = self.scene()
        scene.hear("a", models=("m", "chat"), model_details=(Model("m", ("chat",)),))
        scene.hear("b", models=("m", "other"), model_details=(Model("m", ("other",)),))
        scene.hear("c", models=())
        self.settle(scene)
        self.assertEqual(self.need(scene, "gpt-4"), ANYTHING)

    def test_auto_with_several(self) -> None:
        """With more than one model an unknown name is refused, and told what there is."""
        scene = self.scene()
        scene.hear("a", models=("m", "chat"), model_details=(Model("m", ("chat",)),))
        scene.hear("b", models=("n",))
        self.settle(scene)
        expected = "no server has the model 'gpt-4'; there is 'm', 'n'"
        self.assertEqual(self.need(scene, "gpt-4"), expected)

    def test_names_without_details(self) -> None:
        """Where an agent does not tell them apart each name is a model of its own."""
        scene = self.scene()
        scene.hear("a", models=("m", "chat"))
        self.settle(scene)
        self.assertEqual(self.need(scene, "x"), "no server has the model 'x'; there is 'chat', 'm'")

    def test_nothing_known(self) -> None:
        """Where no agent says what is served, any name goes anywhere."""
        scene = self.scene()
        scene.hear("a")
        self.settle(scene)
        self.assertEqual(self.need(scene, "m"), ANYTHING)

    def test_strict(self) -> None:
        """Unknown names are refused, also with one model."""
        scene = self.scene("strict")
        scene.hear("a", models=("m",))
        self.settle(scene)
        self.assertEqual(self.need(scene, "x"), "no server has the model 'x'; there is 'm'")
        scene.leave("a")
        scene.hear("b")
        self.assertEqual(self.need(scene, "x"), "no server has the model 'x'; there is none")

    def test_off(self) -> None:
        """Names mean nothing."""
        scene = self.scene("off")
        scene.hear("a", models=("m",))
        scene.hear("b", models=("n",))
        self.settle(scene)
        self.assertEqual([self.need(scene, name) for name in ("m", "x")], [ANYTHING] * 2)

    def test_gone(self) -> None:
        """A model that was served once is waited for when its servers are gone."""
        scene = self.scene()
        scene.hear("a", models=("m",))
        scene.hear("b", models=("n",))
        scene.hear("c", models=("o",))
        self.settle(scene)
        scene.leave("a")
        waiter = self.ask(scene, "m")
        self.assertTrue(waiter.waiting)
        scene.hear("d", models=("m",))
        self.assertEqual(scene.has(waiter), "d")

    def test_listed(self) -> None:
        """A model that is listed is waited for although nobody has ever served it."""
        scene = self.scene("strict", "later")
        scene.hear("a", models=("m",))
        self.settle(scene)
        waiter = self.ask(scene, "later")
        self.assertTrue(waiter.waiting)
        scene.hear("b", models=("later",))
        self.assertEqual(scene.has(waiter), "b")

    def test_empty_fleet(self) -> None:
        """Nobody is refused while there is no server at all."""
        for mode in ("auto", "strict"):
            scene = self.scene(mode)
            self.assertEqual(self.need(scene, "x"), Need("x"))
            scene.hear("a", models=("m",))
            self.settle(scene)
            scene.leave("a")
            self.assertEqual(self.need(scene, "x"), Need("x"))

    def test_many_names(self) -> None:
        """The names that are known are bounded, and the oldest go first."""
        scene = self.scene()
        routing = scene.scheduler._routing
        for number in range(17):
            names = tuple(f"{number}-{i}" for i in range(4096))
            routing.heard(report(models=names), scene.now)
        self.assertEqual(len(routing.known), MOST_NAMES)
        self.assertNotIn("0-0", routing.known)
        self.assertIn("16-4095", routing.known)

    def test_forgotten_name(self) -> None:
        """A name that was forgotten among many is refused neither while it is served nor listed."""
        scene = self.scene("strict", "listed")
        scene.hear("a", models=("m",))
        scene.hear("b", models=("n",))
        for number in range(17):
            names = tuple(f"{number}-{i}" for i in range(4096))
            scene.scheduler._routing.heard(report(models=names), scene.now)
        self.settle(scene)
        self.assertFalse({"m", "listed"} & scene.scheduler._routing.known.keys())
        self.assertEqual(
            [self.need(scene, n) for n in ("m", "listed")], [Need("m"), Need("listed")]
        )

    def test_endless_name(self) -> None:
        """What is remembered of a request's model is bounded, also where it is not known yet."""
        scene = self.scene()
        need = scene.scheduler.need("x" * 1_000_000, scene.now)
        self.assertEqual(need.model, "x" * (LONGEST_NAME + 1))
        waiter = scene.ask(model=need.model)
        scene.hear("a", models=("m",))
        self.settle(scene)
        self.assertFalse(waiter.waiting)

    def test_who_is_judged(self) -> None:
        """When it is told who waits for unknown names not every name that is known is looked at."""

        class Names(dict[str, float]):
            def __iter__(self) -> Iterator[str]:
                raise AssertionError("all names were looked at")

            keys = __iter__  # type: ignore[assignment]

        scene = self.scene()
        scene.hear("a", slots=1, models=("m",))
        routing = scene.scheduler._routing
        routing.known = Names(routing.known)
        waiters = [self.ask(scene, "m") for _ in range(2)]
        self.assertTrue(waiters[1].waiting)
        self.assertIsNone(routing.judges_at(scene.scheduler._queue))
        self.ask(scene, "x")
        self.assertEqual(routing.judges_at(scene.scheduler._queue), routing.settled_at)

    def test_long_list(self) -> None:
        """A refusal tells of some models, and how many more there are."""
        scene = self.scene()
        scene.hear("a", models=tuple(f"m{i:02}" for i in range(50)))
        self.settle(scene)
        said = self.need(scene, "x" * 9999)
        self.assertIn("'m19' and 30 more", str(said))
        self.assertLess(len(str(said)), 1000)

    def test_no_slot(self) -> None:
        """A request that needs no slot goes to who serves its model; it never waits."""
        scene = self.scene()
        scene.hear("a", models=("m",))
        found = scene.scheduler.any_healthy("x", scene.now)
        self.assertEqual(found and found.name, "a")
        scene.hear("b", models=("n",))
        self.settle(scene)
        for name, expected in (("m", {"a"}), ("n", {"b"}), (None, {"a", "b"})):
            chosen = {scene.scheduler.any_healthy(name, scene.now) for _ in range(40)}
            self.assertEqual({upstream and upstream.name for upstream in chosen}, expected)
        self.assertRaises(ModelNotFound, scene.scheduler.any_healthy, "x", scene.now)
        scene.leave("b")
        self.assertIsNone(scene.scheduler.any_healthy("n", scene.now))


class SettlingTests(_Case):
    """Names that are unknown while agents may still be on their way."""

    def test_waits_for_its_agent(self) -> None:
        """An unknown name waits for its own server, and is not given to the first that comes."""
        scene = self.scene()
        waiting = self.ask(scene, "n"), self.ask(scene, "m")
        scene.hear("a", models=("m",))
        self.assertEqual([scene.has(w) for w in waiting], [None, "a"])
        late = self.ask(scene, "n")
        scene.wait(SETTLING / 2)
        scene.hear("b", models=("n",))
        self.assertEqual([scene.has(waiting[0]), scene.has(late)], ["b", "b"])

    def test_goes_anywhere_then(self) -> None:
        """With one model it goes anywhere once all have reported, in its place in line."""
        scene = self.scene()
        first = self.ask(scene, "x")
        scene.hear("a", slots=1, models=("m",))
        self.assertEqual(scene.scheduler.next_event, scene.now + SETTLING)
        busy, second = self.ask(scene, "m"), self.ask(scene, "m")
        self.settle(scene)
        self.assertIsNone(scene.has(first))
        scene.end(busy)
        self.assertEqual((scene.has(first), scene.has(second)), ("a", None))

    def test_refused_then(self) -> None:
        """With several it is refused once all have reported."""
        scene = self.scene()
        waiters = [self.ask(scene, "x"), self.ask(scene, "x"), self.ask(scene, "later")]
        scene.hear("a", models=("m",))
        scene.hear("b", models=("n",))
        scene.now += SETTLING
        outcome = scene.scheduler.pass_time(scene.now)
        self.assertEqual([refusal.waiter for refusal in outcome.refused], waiters)
        self.assertEqual(
            [str(refusal.error)[:30] for refusal in outcome.refused[1:]],
            ["no server has the model 'x'; t", "no server has the model 'later"],
        )
        self.assertFalse(any(waiter.waiting for waiter in waiters))
        self.assertEqual(scene.scheduler.queue(scene.now).requests_waiting, 0)

    def test_after_an_empty_fleet(self) -> None:
        """Who waited through an empty fleet is judged when the first server is there."""
        scene = self.scene("strict")
        scene.hear("a", models=("m",))
        self.settle(scene)
        scene.leave("a")
        unknown, known = self.ask(scene, "x"), self.ask(scene, "m")
        outcome = scene.scheduler.report("b", report("b", models=("n",)), scene.now)
        self.assertEqual([refusal.waiter for refusal in outcome.refused], [unknown])
        self.assertTrue(known.waiting)

    def test_nobody_unknown(self) -> None:
        """Where nobody waits for an unknown name there is nothing to judge."""
        scene = self.scene()
        scene.hear("a", slots=1, interval_s=60.0, models=("m",))
        self.ask(scene, "m")
        self.ask(scene, "m")
        self.assertGreater(scene.scheduler.next_event or 0, scene.now + SETTLING)


class ViewTests(_Case):
    """The models, as all see them."""

    def test_merged(self) -> None:
        """Each model once, with what all servers call it, and the largest context's details."""
        scene = self.scene("auto", "later", "chat")
        scene.hear("a", model_details=(Model("m", ("chat",), meta={"n_ctx": 1, "n_vocab": 5}),))
        scene.wait(1)
        scene.hear("b", model_details=(Model("m", ("talk",), meta={"n_ctx": 2}),))
        scene.hear("c", models=("z", "a"))
        views = scene.scheduler.models()
        self.assertEqual([view.id for view in views], ["a", "later", "m", "z"])
        self.assertEqual((views[2].aliases, dict(views[2].meta)), (("chat", "talk"), {"n_ctx": 2}))
        self.assertEqual((views[0].since, views[1].since), (scene.now, 0.0))

    def test_nobody(self) -> None:
        """No server, no model."""
        self.assertEqual(self.scene().scheduler.models(), ())
