"""Tests for paddler.balancer.history."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.history import POINTS, STEP, Durations, History, HistoryService, Point
from paddler.facts import Facts
from tests.accounting import ended
from tests.managing import STARTED, ManagementCase

__all__ = ["DurationsTests", "HistoryApiTests", "HistoryTests"]

_FIELDS = (
    "time slots_processing slots_total requests_waiting oldest_wait_seconds requests "
    "ttfb_p50 ttfb_p95 errors prompt_tokens cached_tokens"
).split()


class DurationsTests(SynchronousTestCase):
    """`Durations`."""

    def test_none(self) -> None:
        """Of nothing there is no quantile."""
        self.assertIsNone(Durations().quantile(0.5))

    def test_near(self) -> None:
        """Quantiles are right within three percent, whatever the scale."""
        random = Random(1)
        for scale in (0.005, 0.1, 2.0, 60.0):
            durations, true = Durations(), [scale * (1 + random.random()) for _ in range(999)]
            for each in true:
                durations.add(each)
            true.sort()
            for share, nth in ((0.5, 499), (0.95, 949), (1.0, 998)):
                found = durations.quantile(share)
                assert found is not None
                self.assertLess(abs(found / true[nth] - 1), 0.03)

    def test_shortest(self) -> None:
        """Nothing is told from a millisecond that is shorter."""
        durations = Durations()
        durations.add(0.0)
        self.assertEqual(durations.quantile(0.5), 0.001)


class HistoryTests(SynchronousTestCase):
    """`History`."""

    def setUp(self) -> None:
        self.history = History()

    def look(self, now: float, **fields: Any) -> None:
        """Look at a fleet."""
        shown = {"processing": 0, "total": 0, "waiting": 0, "oldest_wait": 0.0, **fields}
        self.history.look(now, **shown)

    def test_not_over(self) -> None:
        """A point is there once it is over, and not before."""
        self.look(1000.0)
        self.look(1004.9)
        self.assertEqual(self.history.points, ())
        self.look(1005.0)
        self.assertEqual([point.time for point in self.history.points], [1005])

    def test_fleet(self) -> None:
        """The mean of the slots in use, all slots at the end, the most that waited."""
        self.look(1001.0, processing=2, total=4, waiting=9, oldest_wait=2.12345)
        self.look(1004.0, processing=3, total=8, waiting=1, oldest_wait=0.5)
        self.look(1006.0)
        self.assertEqual(
            self.history.points,
            (Point(1005, 2.5, 8, 9, 2.123, 0, None, None, {}),),
        )

    def test_requests(self) -> None:
        """Answers, times to first byte of those that a slot served, and errors."""
        self.look(1000.0)
        for request in (
            *[ended(first_byte=0.1)] * 18,
            *[ended(first_byte=9.0)] * 2,
            ended(waited=None, first_byte=0.001),
            ended(code=400, first_byte=0.001),
            ended(code=504, agent=None, first_byte=None),
            ended(code=504, agent=None, first_byte=None),
            ended(cut=True, first_byte=0.001),
            ended(code=0, left="waiting", agent=None, first_byte=None),
        ):
            self.history.finished(request)
        self.history.retried("died")
        self.look(1005.0)
        (point,) = self.history.points
        self.assertEqual(point.requests, 25)
        self.assertEqual(point.errors, {"400": 1, "504": 2, "cut": 1})
        assert point.ttfb_p50 is not None and point.ttfb_p95 is not None
        self.assertLess(abs(point.ttfb_p50 - 0.1), 0.003)
        self.assertLess(abs(point.ttfb_p95 - 9.0), 0.25)
        # The next point begins with nothing.
        self.look(1010.0)
        self.assertEqual(self.history.points[-1], Point(1010, 0.0, 0, 0, 0.0, 0, None, None, {}))

    def test_prompts(self) -> None:
        """What was cached of prompts, of those answers that say so."""
        self.look(1000.0)
        for facts in (Facts(30, 70, 5), Facts(0, 20, 5), Facts(0, None, 5), None):
            self.history.finished(ended(facts=facts))
        self.look(1005.0)
        (point,) = self.history.points
        self.assertEqual((point.prompt_tokens, point.cached_tokens), (120, 30))

    def test_odd_codes(self) -> None:
        """Whatever a server answers with, there are not many kinds of errors."""
        self.look(1000.0)
        for code in (*range(600, 700), 99, -5, 204):
            self.history.finished(ended(code=code))
        self.look(1005.0)
        (point,) = self.history.points
        self.assertEqual((point.requests, point.errors), (103, {"other": 102}))

    def test_fifteen_minutes(self) -> None:
        """So many points are kept and no more."""
        for number in range(POINTS + 50):
            self.look(1000.0 + STEP * number)
        times = [point.time for point in self.history.points]
        self.assertEqual(times, [1000 + STEP * n for n in range(50, POINTS + 50)])
        self.assertEqual(times[-1] - times[0] + STEP, 900)

    def test_gap(self) -> None:
        """For a time in which nobody looked there are no points."""
        self.look(1000.0)
        self.look(1100.0)
        self.look(1105.0)
        self.assertEqual([point.time for point in self.history.points], [1005, 1105])

    def test_clock_set_back(self) -> None:
        """The points are in order, whatever the clock does."""
        for now in (1000.0, 1005.0, 1010.0, 1003.0, 1008.0, 1011.0):
            self.look(now)
        self.assertEqual([point.time for point in self.history.points], [1005, 1010])


class HistoryApiTests(ManagementCase):
    """The service, and what the API shows."""

    def setUp(self) -> None:
        super().setUp()
        self.service = HistoryService(self.clock, self.admission, self.history)
        self.service.startService()

    def tearDown(self) -> None:
        """It stops."""
        self.service.stopService()
        self.service.stopService()
        super().tearDown()

    def test_empty(self) -> None:
        """At first there is nothing."""
        self.assertEqual(self.ask("GET", "/api/v1/history").json, {"points": []})
        self.assertEqual(self.ask("HEAD", "/api/v1/history").body, b"")

    def test_points(self) -> None:
        """The contract's fields, a point each five seconds."""
        self.report()
        lease = self.successResultOf(self.acquire())
        waiting = [self.acquire() for _ in range(4)]
        self.admission.release(lease)
        self.clock.pump([1.0] * 10)
        points = self.ask("GET", "/api/v1/history").json["points"]
        self.assertEqual([sorted(point) for point in points], [sorted(_FIELDS)] * 2)
        self.assertEqual([point["time"] for point in points], [STARTED + 5, STARTED + 10])
        last = points[-1]
        self.assertEqual((last["slots_processing"], last["slots_total"]), (4.0, 4))
        self.assertEqual((last["requests_waiting"], last["oldest_wait_seconds"]), (1, 9.0))
        self.assertEqual(len(waiting), 4)

    def test_mistake(self) -> None:
        """A look that fails costs that look, and no later ones."""
        self.service._admission = None  # type: ignore[assignment]
        self.clock.pump([1.0] * 2)
        self.service._admission = self.admission
        self.clock.pump([1.0] * 4)
        self.assertEqual(len(self.ask("GET", "/api/v1/history").json["points"]), 1)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
