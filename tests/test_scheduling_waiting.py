"""The buffer's order: `paddler.scheduling.waiting`."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.lines import ANYTHING, HEAVIEST, Need, Waiter
from paddler.scheduling.slots import Upstream
from paddler.scheduling.waiting import WaitingQueue
from tests.scenes import Scene

__all__ = ["PlacesTests", "WaitingQueueTests"]


def _queue(*weights: int) -> tuple[WaitingQueue, list[Waiter]]:
    queue, waiters = WaitingQueue(), [Waiter(weight, 0.0) for weight in weights]
    for waiter in waiters:
        queue.enter(waiter)
    return queue, waiters


class WaitingQueueTests(SynchronousTestCase):
    """`WaitingQueue`."""

    def test_empty(self) -> None:
        """Nobody is first in an empty line."""
        queue = WaitingQueue()
        self.assertEqual((len(queue), queue.first(), list(queue.lines)), (0, None, []))

    def test_first_come(self) -> None:
        """Whoever came first is next, whatever the weight."""
        queue, waiters = _queue(2, 1, 3, 1)
        left = []
        while (waiter := queue.first()) is not None:
            queue.leave(waiter)
            left.append(waiter)
        self.assertEqual(left, waiters)

    def test_lighter(self) -> None:
        """The first among those below a weight is found too."""
        queue, (two, one, three, _) = _queue(2, 1, 3, 1)
        (line,) = queue.lines
        self.assertIs(line.first(), two)
        self.assertIs(line.first(lighter_than=2), one)
        self.assertIsNone(line.first(lighter_than=1))
        queue.leave(two)
        self.assertIs(line.first(lighter_than=9), one)
        queue.leave(one)
        self.assertIs(line.first(), three)

    def test_lines(self) -> None:
        """Who needs something else stands in another line, and one order is over all."""
        queue = WaitingQueue()
        needs = (Need("a"), ANYTHING, Need("b"), Need("a"), Need("a", 4096))
        waiters = [Waiter(1, 0.0, need) for need in needs]
        for waiter in waiters:
            queue.enter(waiter)
        lines = {line.need: line for line in queue.lines}
        self.assertEqual(list(lines), list(dict.fromkeys(needs)))
        self.assertEqual(lines[Need("a")].size, 2)
        self.assertIs(lines[Need("a")].first(), waiters[0])
        self.assertIs(queue.first(), waiters[0])
        queue.leave(waiters[0])
        self.assertIs(queue.first(), waiters[1])
        self.assertIs(lines[Need("a")].first(), waiters[3])
        queue.leave(waiters[3])
        self.assertNotIn(Need("a"), [line.need for line in queue.lines])
        queue.enter(waiters[0])
        self.assertIs(queue.first(), waiters[0])
        self.assertEqual(len(queue), 4)

    def test_heaviest(self) -> None:
        """The heaviest share a row, however many weights there are, and are no lighter ones."""
        queue, (first, *_, light) = _queue(*range(9000, HEAVIEST - 1, -1), 2)
        (line,) = queue.lines
        self.assertEqual(set(line._rows), {HEAVIEST, 2})
        self.assertIs(queue.first(), first)
        for weight in (HEAVIEST, HEAVIEST + 1, 9000):
            self.assertIs(line.first(lighter_than=weight), light)
        queue.leave(light)
        self.assertIsNone(line.first(lighter_than=9000))
        self.assertIs(queue.first(), first)

    def test_leave_twice(self) -> None:
        """Who is not in line can't leave it again."""
        queue, (waiter,) = _queue(1)
        queue.leave(waiter)
        queue.leave(waiter)
        queue.leave(Waiter(1, 0.0))
        self.assertEqual((len(queue), waiter.waiting), (0, False))

    def test_place_kept(self) -> None:
        """One that comes back gets its old place, before those who came after it."""
        queue, (first, second) = _queue(1, 1)
        queue.leave(first)
        self.assertIs(queue.first(), second)
        queue.enter(first)
        self.assertIs(queue.first(), first)
        self.assertEqual(len(queue), 2)

    def test_random_walk(self) -> None:
        """Whatever comes, leaves and returns, the order is that of a sorted list."""
        random = Random(3)
        queue, live, gone = WaitingQueue(), [], []
        for _ in range(5000):
            choice = random.random()
            if choice < 0.5 or not live:
                waiter = (
                    gone.pop() if gone and choice < 0.1 else Waiter(random.choice((1, 1, 2, 5)), 0)
                )
                queue.enter(waiter)
                live.append(waiter)
            else:
                waiter = live.pop(random.randrange(len(live)))
                queue.leave(waiter)
                gone.append(waiter)
            ordered = sorted(live, key=lambda waiter: waiter.place)
            self.assertIs(queue.first(), ordered[0] if ordered else None)
            light = [waiter for waiter in ordered if waiter.weight < 5]
            for line in queue.lines:
                self.assertIs(line.first(5), light[0] if light else None)
            self.assertEqual(len(queue), len(live))

    def test_dead_entries_go(self) -> None:
        """Those who left from the middle of the line are not kept for ever."""
        queue, (head, *_) = _queue(*[1] * 10)
        for _ in range(10_000):
            waiter = Waiter(1, 0.0)
            queue.enter(waiter)
            queue.leave(waiter)
        self.assertIs(queue.first(), head)
        (line,) = queue.lines
        self.assertLess(sum(map(len, line._rows.values())), 200)


class PlacesTests(SynchronousTestCase):
    """Lines for one upstream each: Note [Places]."""

    def setUp(self) -> None:
        self.scene = Scene()
        self.asked: list[Waiter] = []

    def hear(self, name: str, **more: Any) -> None:
        """A report of one with one slot."""
        self.scene.hear(name, 1, None, **{"interval_s": 60.0, **more})

    def at(self, name: str) -> Upstream:
        """The upstream of an agent."""
        return self.scene.scheduler._fleet.find(name)

    def ask(self, where: Upstream | None, model: str | None = None, weight: int = 1) -> Waiter:
        """A request for one place."""
        waiter = Waiter(weight, self.scene.now, Need(model, 0, where))
        self.asked.append(waiter)
        self.scene.took(self.scene.scheduler.request(waiter, self.scene.now))
        return waiter

    def within_reach(self) -> list[Need]:
        """The lines that are looked at."""
        scheduler = self.scene.scheduler
        return [line.need for line in scheduler._queue.within_reach(scheduler._fleet.kinds)]

    def test_full(self) -> None:
        """A line for a full place is not looked at, until something is idle there."""
        for n in range(50):
            self.hear(f"gpu-{n}")
        places = [self.at(f"gpu-{n}") for n in range(50)]
        running = [self.ask(place) for place in places]
        waits = [self.ask(place) for place in places]
        self.assertEqual(self.within_reach(), [])
        self.scene.end(running[7])
        self.assertEqual(self.scene.has(waits[7]), "gpu-7")
        self.assertEqual(self.within_reach(), [])
        self.scene.drain("gpu-9")
        self.assertEqual(self.within_reach(), [waits[9].need])
        self.scene.drain("gpu-9", draining=False)
        self.assertEqual(self.within_reach(), [])

    def test_kept_elsewhere(self) -> None:
        """What was kept for it elsewhere is given up when its own place is back."""
        for name in "ab":
            self.scene.hear(name, 2, None, interval_s=60.0)
            self.ask(self.at(name), weight=2)
        waits = self.ask(self.at("a"), weight=2)
        line = self.scene.scheduler._queue._lines[waits.need]
        self.scene.drain("a")
        self.assertIs(line.kept, self.at("b"))
        self.scene.drain("a", draining=False)
        self.assertEqual(self.within_reach(), [])
        self.assertIsNone(line.kept)

    def test_gone(self) -> None:
        """Whose place can't serve it any more gets what others have."""
        for change in ("leaves", "drains", "dies", "silent", "other model", "unreachable"):
            self.setUp()
            self.hear("a", models=("m",), interval_s=1.0)
            self.ask(self.at("a"), "m")
            waits = self.ask(self.at("a"), "m")
            self.hear("b", models=("m",))
            self.assertIsNone(self.scene.has(waits))
            if change == "leaves":
                self.scene.leave("a")
            elif change == "drains":
                self.scene.drain("a")
            elif change == "dies":
                self.scene.fail(self.asked[0])
            elif change == "silent":
                self.scene.wait(5.0)
            elif change == "other model":
                self.hear("a", models=("n",))
            else:
                self.hear("a", models=("m",), issues=("unreachable",))
            self.assertEqual(self.scene.has(waits), "b", change)

    def test_whatever_happens(self) -> None:
        """Everybody for whom something may be idle is within reach, and nothing is left over."""
        for seed in range(6):
            self.setUp()
            self.walk(Random(seed))

    def walk(self, random: Random) -> None:
        """Some hundred steps."""
        scene, scheduler, ended = self.scene, self.scene.scheduler, set[Waiter]()
        for name in "abcd":
            self.hear(name, models=("m",))
        for step in range(400):
            kind, name = random.random(), random.choice("abcd")
            running = [w for w in scene.leases if w not in ended]
            here = [u for u in scheduler._fleet.upstreams if u.name == name]
            if kind < 0.15:
                issues = random.choice(((), (), ("unreachable",), ("loading",)))
                models = random.choice((("m",), ("m",), ("n",)))
                sleeping = random.random() < 0.2
                self.hear(name, issues=issues, models=models, sleeping=sleeping)
            elif kind < 0.55 and here and len(scheduler._queue) < 30:
                where = random.choice((here[0], here[0], None))
                self.ask(where, random.choice(("m", None)), random.choice((1, 1, 2)))
            elif kind < 0.6 and here:
                scene.drain(name, random.random() < 0.5)
            elif kind < 0.63 and here:
                scene.leave(name)
            elif kind < 0.7 and running:
                waiter = random.choice(running)
                if random.random() < 0.5:
                    ended.add(waiter)
                    scene.abandon(waiter)
                else:
                    scene.fail(waiter, random.choice(("died", "error", "loading")), back=True)
            elif kind < 0.75:
                scene.wait(random.choice((0.1, 5.0, 20.0)))
            elif kind < 0.8 and len(scheduler._queue):
                scene.cancel(random.choice([w for w in self.asked if w.waiting]))
            elif running:
                ended.add(waiter := random.choice(running))
                scene.answers(waiter)
                scene.end(waiter)
            kinds, near = scheduler._fleet.kinds, self.within_reach()
            for line in scheduler._queue.lines:
                if kinds.servers(line.need).some_idle:
                    self.assertIn(line.need, near, step)
        for waiter in self.asked:
            scene.cancel(waiter)
        queue = scheduler._queue
        left: Any = (queue._lines, queue._anywhere, queue._places, queue._unsure)
        self.assertEqual(left, ({}, {}, {}, {}))
