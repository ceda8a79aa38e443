"""Tests for paddler.balancer.ticks."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.ticks import Ticks

__all__ = ["TicksTests"]


class TicksTests(SynchronousTestCase):
    """`Ticks`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.times: list[float] = []
        self.broken = False
        self.ticks = Ticks(self.clock, 2.0, "at it", self.tick)
        self.ticks.startService()

    def tick(self) -> None:
        """Note when, and perhaps fail."""
        self.times.append(self.clock.seconds())
        if self.broken:
            raise RuntimeError("a mistake")

    def test_interval(self) -> None:
        """At once, and at each interval until it is stopped."""
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.times, [0.0, 2.0, 4.0])
        for _ in range(2):
            self.successResultOf(self.ticks.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_mistakes(self) -> None:
        """Mistakes don't end it; those in a row are logged once."""
        for broken in (True, True, False, True):
            self.broken = broken
            self.clock.advance(2.0)
        self.assertEqual(self.times, [0.0, 2.0, 4.0, 6.0, 8.0])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.ticks.stopService()

    def test_never_started(self) -> None:
        """It may be stopped before it has begun."""
        ticks = Ticks(self.clock, 2.0, "at it", self.tick)
        self.successResultOf(ticks.stopService())
        self.ticks.stopService()
