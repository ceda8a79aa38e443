"""With no prompt to know both policies choose alike: the same servers, in the same order."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.lines import Need, Waiter
from paddler.scheduling.policies import IdleSlots, Prefix
from paddler.scheduling.scheduler import Scheduler
from tests.scenes import QUARANTINE, Scene


class AlikeTests(SynchronousTestCase):
    """The same happens to two schedulers, which have the same dice."""

    def test_alike(self) -> None:
        """Whatever comes, ends, leaves and is reported."""
        for seed in range(8):
            grants = [self.walk(policy, seed) for policy in (IdleSlots(), Prefix())]
            self.assertEqual(grants[0], grants[1], seed)
            self.assertGreater(len(grants[0]), 50, seed)

    def walk(self, policy: IdleSlots | Prefix, seed: int) -> list[tuple[int, str | None]]:
        """Some hundred steps; the requests in the order of their grants, and who got each."""
        scene, random, asked = Scene(), Random(seed), list[Waiter]()
        scene.scheduler = Scheduler(policy, Random(seed), 1000, 3, QUARANTINE)
        ended: set[Waiter] = set()
        for name in "abcd":
            self.hear(scene, name, random)
        for _ in range(400):
            scene.now += random.choice((0.0, 0.01, 0.3, 40.0))
            kind, pick = random.random(), random.random()
            running = [w for w in scene.order if w not in ended]
            waiting = [w for w in asked if w.waiting]
            if kind < 0.45:
                asked.append(self.ask(scene, random))
            elif kind < 0.8 and running:
                waiter = running[int(pick * len(running))]
                ended.add(waiter)
                if random.random() < 0.1:
                    scene.abandon(waiter)
                else:
                    scene.scheduler.answers(scene.leases[waiter], scene.now)
                    scene.end(waiter)
            elif kind < 0.85 and waiting:
                scene.cancel(waiting[int(pick * len(waiting))])
            else:
                self.hear(scene, random.choice("abcd"), random)
            scene.took(scene.scheduler.pass_time(scene.now))
        return [(asked.index(waiter), scene.has(waiter)) for waiter in scene.order]

    def hear(self, scene: Scene, name: str, random: Random) -> None:
        """A report, of servers some of which have other models, sleep, or are not well."""
        issues = random.choice(((), (), (), (), ("unreachable",)))
        sleeping = random.random() < 0.1
        models = ("m", "n") if name in "ab" else ("n",)
        scene.hear(name, 3, None, issues=issues, sleeping=sleeping, models=models, interval_s=600.0)

    def ask(self, scene: Scene, random: Random) -> Waiter:
        """A request comes, in the way in which the balancer asks."""
        need = Need(random.choice((None, "m", "n")))
        waiter = Waiter(random.choice((1, 1, 1, 2, 5)), scene.now, need)
        lease = scene.scheduler.grant_at_once(waiter, scene.now)
        if lease is None:
            scene.took(scene.scheduler.request(waiter, scene.now))
        else:
            scene.leases[waiter] = lease
            scene.order.append(waiter)
        return waiter
