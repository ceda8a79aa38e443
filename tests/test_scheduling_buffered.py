"""How many requests sat in the buffer: counted by `paddler.scheduling.waiting`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.lines import Waiter
from paddler.scheduling.waiting import WaitingQueue

__all__ = ["BufferedTests"]


class BufferedTests(SynchronousTestCase):
    """`ever_stayed` and `count_stayed`."""

    def setUp(self) -> None:
        self.queue = WaitingQueue()

    def enter(self, waiter: Waiter | None = None) -> Waiter:
        """Someone who has to wait."""
        waiter = waiter or Waiter(1, 0.0)
        self.queue.enter(waiter)
        self.queue.stay(waiter)
        return waiter

    def test_came_and_went(self) -> None:
        """Who came and went between two counts is in the second."""
        self.assertEqual(self.queue.count_stayed(), 0)
        self.queue.leave(self.enter())
        self.assertEqual([self.queue.count_stayed() for _ in range(2)], [1, 0])

    def test_served_at_once(self) -> None:
        """Who is served in the step that it comes in has not waited."""
        waiter = Waiter(1, 0.0)
        self.queue.enter(waiter)
        self.queue.leave(waiter)
        self.assertEqual((self.queue.count_stayed(), self.queue.ever_stayed), (0, 0))
        # It failed at its server and comes back: now it waits.
        self.enter(waiter)
        self.assertEqual((self.queue.count_stayed(), self.queue.ever_stayed), (1, 1))

    def test_still_waiting(self) -> None:
        """Who waits on is in every count, and so in the one in which it goes."""
        waiter = self.enter()
        self.assertEqual([self.queue.count_stayed() for _ in range(3)], [1, 1, 1])
        self.queue.leave(waiter)
        self.assertEqual([self.queue.count_stayed() for _ in range(2)], [1, 0])

    def test_twice(self) -> None:
        """Who waits twice between two counts is one request; later it counts again."""
        waiter = self.enter()
        self.queue.leave(waiter)
        self.enter(waiter)
        self.assertEqual(self.queue.count_stayed(), 1)
        self.queue.leave(waiter)
        self.enter(waiter)
        self.queue.leave(waiter)
        self.assertEqual([self.queue.count_stayed() for _ in range(2)], [1, 0])
        self.enter(waiter)
        self.assertEqual(self.queue.count_stayed(), 1)
        self.assertEqual(self.queue.ever_stayed, 1)
