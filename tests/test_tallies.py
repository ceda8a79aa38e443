"""Tests for paddler.balancer.tallies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.tallies import BOUNDS, FEW, Histogram, Tallies
from tests.accounting import ended

__all__ = ["HistogramTests", "TalliesTests"]


class HistogramTests(SynchronousTestCase):
    """`Histogram`."""

    def test_bounds(self) -> None:
        """From 5 ms to ten minutes, in order."""
        self.assertEqual((BOUNDS[0], BOUNDS[-1], list(BOUNDS)), (0.005, 600.0, sorted(BOUNDS)))

    def test_observe(self) -> None:
        """A duration counts in the first bucket that it does not exceed."""
        histogram = Histogram()
        for seconds in (0.0, 0.005, 0.0051, 600.0, 600.1):
            histogram.observe(seconds)
        self.assertEqual(histogram.counts[:2] + histogram.counts[-2:], [2, 1, 1, 1])
        self.assertEqual((sum(histogram.counts), len(histogram.counts)), (5, len(BOUNDS) + 1))
        self.assertAlmostEqual(histogram.sum, 1200.1101)


class TalliesTests(SynchronousTestCase):
    """`Tallies`."""

    def setUp(self) -> None:
        self.there = {"gpu"}
        self.tallies = Tallies(lambda: self.there)

    def counts(self) -> tuple[int, int, int]:
        """How many durations are in each histogram."""
        tallies = self.tallies
        each = (tallies.queue_wait, tallies.first_byte, tallies.duration)
        wait, first, duration = (sum(histogram.counts) for histogram in each)
        return wait, first, duration

    def test_answered(self) -> None:
        """By status and agent, and its times."""
        for code in (200, 200, 400):
            self.tallies.finished(ended(code=code))
        self.assertEqual(self.tallies.requests, {("200", "gpu"): 2, ("400", "gpu"): 1})
        self.assertEqual(self.counts(), (3, 2, 3))

    def test_odd_codes(self) -> None:
        """A server that answers with any number makes no series for each, and no good answers."""
        for code in (*range(600, 5000), 99, 1, -5):
            self.tallies.finished(ended(code=code))
        self.assertEqual(self.tallies.requests, {("other", "gpu"): 4403})
        self.assertEqual(self.counts(), (4403, 0, 4403))

    def test_without_slot(self) -> None:
        """A page's files say nothing of how fast tokens come."""
        self.tallies.finished(ended(waited=None))
        self.assertEqual(self.counts(), (0, 0, 1))

    def test_turned_away(self) -> None:
        """One that found the buffer full did not wait; a server's own 429 is an answer."""
        self.tallies.finished(ended(code=429, agent=None, first_byte=None))
        self.assertEqual((self.counts(), self.tallies.requests), ((0, 0, 1), {("429", ""): 1}))
        self.tallies.finished(ended(code=429))
        self.assertEqual(self.counts(), (1, 0, 2))

    def test_client_left(self) -> None:
        """By where it was."""
        self.tallies.finished(ended(code=0, agent=None, first_byte=None, left="waiting"))
        self.tallies.finished(ended(left="streaming"))
        self.assertEqual(self.tallies.disconnects, {"waiting": 1, "prefill": 0, "streaming": 1})
        self.assertEqual(self.tallies.requests, {("0", ""): 1, ("200", "gpu"): 1})

    def test_retried(self) -> None:
        """By what the server did."""
        self.tallies.retried("died")
        self.tallies.retried("context")
        self.assertEqual(
            self.tallies.retries, {"refused": 0, "died": 1, "loading": 0, "error": 0, "context": 1}
        )

    def test_gone(self) -> None:
        """The series of an agent that has gone are dropped, and no others."""
        for agent in ("gpu", "old", None):
            self.tallies.finished(ended(agent=agent))
        self.tallies.keep(self.there)
        self.assertEqual(self.tallies.requests, {("200", "gpu"): 1, ("200", ""): 1})

    def test_bounded(self) -> None:
        """Without anybody who looks, those of agents that come and go don't add up."""
        for number in range(10_000):
            self.there = {f"a{number}"}
            self.tallies.finished(ended(agent=f"a{number}"))
        self.assertLessEqual(len(self.tallies.requests), FEW)
        self.assertEqual(self.tallies.requests["200", "a9999"], 1)

    def test_many(self) -> None:
        """Agents that are there keep theirs, however many they are."""
        self.there = {f"a{number}" for number in range(1000)}
        for name in self.there:
            self.tallies.finished(ended(agent=name))
        self.assertEqual(self.tallies.requests, {("200", name): 1 for name in self.there})
