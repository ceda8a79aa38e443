"""The buffer's order: `paddler.scheduling.waiting`."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.lines import ANYTHING, HEAVIEST, Need, Waiter
from paddler.scheduling.waiting import WaitingQueue

__all__ = ["WaitingQueueTests"]


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
