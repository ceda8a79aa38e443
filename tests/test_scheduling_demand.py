"""The load by model: `paddler.scheduling.demand`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.demand import ModelDemand
from paddler.scheduling.routing import Routing
from paddler.values import Model
from tests.scenes import Scene, scheduler

__all__ = ["DemandTests"]

_M = (Model("m", ("chat",)),)
_N = (Model("n", ("chat", "other")),)


class DemandTests(SynchronousTestCase):
    """Each model's servers, and who waits for it."""

    def loads(self, scene: Scene) -> dict[str, tuple[int, int, int]]:
        """Slots in all, those in use and those who wait, of each model."""
        return {
            name: (load.slots_total, load.slots_processing, load.requests_waiting)
            for name, load in scene.scheduler.demands().items()
        }

    def one(self, scene: Scene, name: str) -> tuple[int, int, int]:
        """The same of what a name stands for."""
        load = scene.scheduler.demand(name)
        return load.slots_total, load.slots_processing, load.requests_waiting

    def test_nobody(self) -> None:
        """Nothing is known of a name that nobody has, and nothing is wanted of it."""
        scene = Scene()
        self.assertEqual(scene.scheduler.demand("x"), ModelDemand())
        self.assertEqual(scene.scheduler.demands(), {})

    def test_servers(self) -> None:
        """Each model has the slots of those that serve it; an alias of two stands for both."""
        scene = Scene()
        scene.hear("a", slots=2, model_details=_M)
        scene.hear("b", slots=4, model_details=_M)
        scene.hear("c", slots=8, model_details=_N)
        scene.ask(model="other")
        self.assertEqual(self.loads(scene), {"m": (6, 0, 0), "n": (8, 1, 0)})
        self.assertEqual([self.one(scene, name)[0] for name in ("m", "n")], [14, 14])
        scene.hear("c", slots=8, model_details=(Model("n", ("other",)),))
        self.assertEqual(self.one(scene, "m")[0], 6)
        self.assertEqual(self.one(scene, "chat"), (6, 0, 0))
        self.assertEqual((self.one(scene, "n"), self.one(scene, "other")), ((8, 1, 0), (8, 1, 0)))

    def test_waiting(self) -> None:
        """Who waits counts for what its name stands for, those without a name for none."""
        scene = Scene()
        scene.hear("a", slots=1, model_details=_M)
        scene.ask()
        first = scene.ask(model="chat")
        scene.now += 1
        for model in ("m", "m", None):
            scene.ask(model=model)
        load = scene.scheduler.demands()["m"]
        self.assertEqual((load.requests_waiting, load.demand, load.agents), (3, 4, 1))
        self.assertEqual(load.first_came, first.arrived_at)
        self.assertEqual(scene.scheduler.queue(scene.now).models, {"chat": 1, "m": 2})

    def test_from_zero_and_back(self) -> None:
        """A model whose servers are gone is told of, and comes down to nothing."""
        scene = Scene()
        scene.scheduler = scheduler(100, 1, Routing("auto", ("later",)))
        scene.hear("a", slots=1, model_details=_M)
        scene.leave("a")
        waiter, later = scene.ask(model="m"), scene.ask(model="later")
        self.assertEqual(self.loads(scene), {"later": (0, 0, 1), "m": (0, 0, 1)})
        for each in (waiter, later):
            scene.cancel(each)
        self.assertEqual(self.loads(scene), {"later": (0, 0, 0), "m": (0, 0, 0)})
        self.assertIsNone(scene.scheduler.demand("m").first_came)
