"""Who holds a llama-server's slots, by reports and our own count: `paddler.scheduling.slots`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.history import SPAN
from paddler.scheduling.slots import LEFT_WITHOUT_SAMPLE, Lease, Upstream
from paddler.values import BLOCKING_ISSUES
from tests.scenes import new_upstream, report

__all__ = ["LeaseCountTests", "SampleTests", "StateTests", "ClientLeftTests", "PromisedTests"]


def _upstream(slots: int = 4, busy: int | None = 0, now: float = 100.0, **more: Any) -> Upstream:
    told = report("a", slots, busy, **more)
    made = new_upstream(told, now)
    made.hear(told, now)
    return made


def _hear(upstream: Upstream, now: float, busy: int | None, slots: int = 4, **more: Any) -> None:
    upstream.hear(report("a", slots, busy, **more), now)


def _numbers(upstream: Upstream) -> tuple[int, int, int, int]:
    """In flight, foreign busy, client left, free."""
    return upstream.in_flight, upstream.foreign_busy, upstream.client_left, upstream.free


class LeaseCountTests(SynchronousTestCase):
    """Our own count."""

    def test_take_and_give_back(self) -> None:
        """A slot is taken when it is promised and free when it is given back."""
        upstream = _upstream()
        lease = upstream.take(1, 100)
        self.assertEqual(_numbers(upstream), (1, 0, 0, 3))
        upstream.give_back(lease, 101, client_left=False)
        self.assertEqual(_numbers(upstream), (0, 0, 0, 4))
        self.assertTrue(lease.ended)

    def test_cost(self) -> None:
        """A request costs its weight, and never more than the server has."""
        upstream = _upstream(slots=4)
        self.assertEqual([upstream.cost(weight) for weight in (1, 3, 4, 5, 99)], [1, 3, 4, 4, 4])
        self.assertEqual(upstream.take(99, 100).slots, 4)

    def test_reports_never_touch_it(self) -> None:
        """Whatever a report says, what is in flight stays as it was promised."""
        upstream = _upstream()
        upstream.take(2, 100)
        for now, busy in ((100.1, 0), (103, 0), (106, 4), (109, None), (112, 99)):
            _hear(upstream, now, busy)
            self.assertEqual(upstream.in_flight, 2)
            self.assertLessEqual(upstream.free, 2)

    def test_fewer_slots_than_in_flight(self) -> None:
        """A server restarted with fewer slots is full until enough is given back."""
        upstream = _upstream(slots=4)
        leases = [upstream.take(1, 100) for _ in range(4)]
        _hear(upstream, 103, 4, slots=2)
        self.assertEqual((upstream.free, upstream.state), (0, "full"))
        for lease, free in zip(leases, (0, 0, 1, 2), strict=True):
            upstream.give_back(lease, 104, client_left=False)
            self.assertEqual(upstream.free, free)

    def test_lease_keeps_its_size(self) -> None:
        """A lease gives back what it took, whatever the server has by then."""
        upstream = _upstream(slots=4)
        lease = upstream.take(4, 100)
        for slots in (1, 8):
            _hear(upstream, 101, 1, slots=slots)
            self.assertEqual(lease.slots, 4)
        upstream.give_back(lease, 102, client_left=False)
        self.assertEqual((upstream.in_flight, upstream.free), (0, 8))


class SampleTests(SynchronousTestCase):
    """What others hold, told from samples."""

    def test_others(self) -> None:
        """What a sample shows beyond our own count is others' work."""
        for own, busy, foreign in (
            (0, 0, 0),
            (0, 3, 3),
            (1, 3, 2),
            (2, 2, 0),
            (3, 1, 0),
            (4, 4, 0),
        ):
            upstream = _upstream()
            for _ in range(own):
                upstream.take(1, 100)
            _hear(upstream, 110, busy)
            self.assertEqual(upstream.foreign_busy, foreign, (own, busy))
            self.assertEqual(upstream.free, 4 - own - foreign)

    def test_held_against_its_own_time(self) -> None:
        """A sample is held against what was in flight when it was taken, not against now."""
        upstream = _upstream()
        leases = [upstream.take(1, 100) for _ in range(3)]
        for lease in leases:
            upstream.give_back(lease, 105, client_left=False)
        _hear(upstream, 106, 3, slots_age_s=2.0)
        self.assertEqual(_numbers(upstream), (0, 0, 0, 4))
        _hear(upstream, 107, 3, slots_age_s=0.5)
        self.assertEqual(_numbers(upstream), (0, 3, 0, 1))

    def test_a_sample_before_the_grants(self) -> None:
        """Work that was there before we sent any is others', however much we sent since."""
        upstream = _upstream(busy=2)
        upstream.take(2, 101)
        _hear(upstream, 102, 2, slots_age_s=2.0)
        self.assertEqual(_numbers(upstream), (2, 2, 0, 0))

    def test_within_the_slack(self) -> None:
        """Within 250 ms the largest own count is taken, so a race is never others' work."""
        for given_back_at in (105.8, 106.0, 106.2):
            upstream = _upstream()
            lease = upstream.take(2, 100)
            upstream.give_back(lease, given_back_at, client_left=False)
            _hear(upstream, 106.4, 2, slots_age_s=0.4)
            self.assertEqual(upstream.foreign_busy, 0, given_back_at)

    def test_same_sample_again(self) -> None:
        """A sample that is reported twice says the same twice."""
        upstream = _upstream()
        lease = upstream.take(1, 100)
        _hear(upstream, 102, 3)
        upstream.give_back(lease, 102.5, client_left=False)
        _hear(upstream, 103, 3, slots_age_s=1.0)
        self.assertEqual(_numbers(upstream), (0, 2, 0, 2))

    def test_others_go(self) -> None:
        """The next sample frees what others held."""
        upstream = _upstream(busy=4)
        self.assertEqual((upstream.free, upstream.state), (0, "full"))
        _hear(upstream, 102, 1)
        self.assertEqual((upstream.free, upstream.state), (3, "ready"))

    def test_no_samples(self) -> None:
        """Without samples nothing is known of others, and our own count decides."""
        upstream = _upstream(busy=3)
        upstream.take(1, 100)
        _hear(upstream, 102, None)
        self.assertEqual(_numbers(upstream), (1, 0, 0, 3))

    def test_too_old(self) -> None:
        """A sample from before what is remembered of our own count is as good as none."""
        upstream = _upstream(busy=2)
        upstream.give_back(upstream.take(2, 101), 102, client_left=False)
        _hear(upstream, 120, 2, slots_age_s=SPAN + 0.1)
        self.assertEqual(_numbers(upstream), (0, 0, 0, 4))
        _hear(upstream, 120, 2, slots_age_s=SPAN)
        self.assertEqual(_numbers(upstream), (0, 2, 0, 2))

    def test_more_busy_than_slots(self) -> None:
        """A report that contradicts itself leaves no less than nothing free."""
        upstream = _upstream(slots=2, busy=9)
        self.assertEqual((upstream.free, upstream.foreign_busy), (0, 9))


class ClientLeftTests(SynchronousTestCase):
    """Slots whose clients went away."""

    def left(self, weight: int = 1, at: float = 105.0) -> Upstream:
        """An upstream of which a client went away then."""
        upstream = _upstream()
        upstream.give_back(upstream.take(weight, 100), at, client_left=True)
        return upstream

    def test_busy(self) -> None:
        """The slot is not free, and is not in flight either."""
        self.assertEqual(_numbers(self.left(2)), (0, 0, 2, 2))

    def test_older_sample(self) -> None:
        """A sample from before the client went says nothing, idle or busy."""
        for busy in (0, 1):
            upstream = self.left()
            _hear(upstream, 106, busy, slots_age_s=2.0)
            self.assertEqual(_numbers(upstream), (0, 0, 1, 3), busy)

    def test_idle(self) -> None:
        """A younger sample that shows it idle frees it."""
        upstream = self.left()
        _hear(upstream, 105.5, 0)
        self.assertEqual(_numbers(upstream), (0, 0, 0, 4))

    def test_still_busy(self) -> None:
        """A younger sample that shows it busy keeps it, and it is counted once."""
        upstream = self.left()
        for now in (106, 108, 200):
            _hear(upstream, now, 1)
            self.assertEqual(_numbers(upstream), (0, 0, 1, 3))
        _hear(upstream, 202, 0)
        self.assertEqual(_numbers(upstream), (0, 0, 0, 4))

    def test_counted_once_at_any_distance(self) -> None:
        """However close a sample is to the close, the slot is counted once."""
        for hundredths in range(100):
            upstream = self.left(at=105.013)
            _hear(upstream, 105.013 + hundredths / 100, 1)
            self.assertEqual(_numbers(upstream), (0, 0, 1, 3), hundredths)

    def test_before_others(self) -> None:
        """What is beyond our own count is theirs first, the rest is others'."""
        for busy, left, foreign in ((0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 2, 2)):
            upstream = self.left(2)
            _hear(upstream, 107, busy)
            self.assertEqual((upstream.client_left, upstream.foreign_busy), (left, foreign), busy)

    def test_partly_idle(self) -> None:
        """Of several the oldest are free first."""
        upstream = self.left(2, at=105.0)
        upstream.give_back(upstream.take(1, 105), 106, client_left=True)
        _hear(upstream, 108, 2)
        self.assertEqual(upstream.client_left, 2)
        self.assertEqual(
            [(left.slots, left.closed_at) for left in upstream._left], [(1, 105), (1, 106)]
        )

    def test_young_beside_old(self) -> None:
        """A sample judges those it can judge; younger ones wait for the next."""
        upstream = self.left(1, at=105.0)
        upstream.give_back(upstream.take(1, 105), 107.9, client_left=True)
        _hear(upstream, 108, 1)
        self.assertEqual(_numbers(upstream), (0, 0, 1, 3))
        self.assertEqual(upstream._left[0].closed_at, 107.9)

    def test_beside_our_own(self) -> None:
        """Requests of ours that run beside it hide nothing and free nothing of it."""
        upstream = self.left()
        upstream.take(1, 105)
        _hear(upstream, 107, 2)
        self.assertEqual(_numbers(upstream), (1, 0, 1, 2))
        _hear(upstream, 109, 1)
        self.assertEqual(_numbers(upstream), (1, 0, 0, 3))

    def test_without_samples(self) -> None:
        """Where no samples are to be had it is free after half a minute."""
        upstream = self.left(at=105.0)
        _hear(upstream, 106, None)
        self.assertEqual(upstream.left_until, 105 + LEFT_WITHOUT_SAMPLE)
        upstream.pass_time(105 + LEFT_WITHOUT_SAMPLE - 0.1)
        self.assertEqual(upstream.client_left, 1)
        upstream.pass_time(105 + LEFT_WITHOUT_SAMPLE)
        self.assertEqual((upstream.client_left, upstream.left_until), (0, None))

    def test_samples_that_stop(self) -> None:
        """The half minute runs from the last sample that showed it busy."""
        upstream = self.left(at=105.0)
        _hear(upstream, 120, 1)
        _hear(upstream, 121, None)
        self.assertEqual(upstream.left_until, 120 + LEFT_WITHOUT_SAMPLE)

    def test_asleep(self) -> None:
        """One that sleeps works for nobody: what left before its agent can have looked is free."""
        upstream = self.left(at=105.0)
        upstream.give_back(upstream.take(1, 105), 109.0, client_left=True)
        _hear(upstream, 110.0, None, sleeping=True)
        self.assertEqual((upstream.client_left, upstream.left_until), (1, 139.0))
        _hear(upstream, 110.3, None, sleeping=True)
        self.assertEqual(_numbers(upstream), (0, 0, 0, 4))

    def test_more_than_there_are_slots(self) -> None:
        """With those of a larger server left, a smaller one is full and not below."""
        upstream = self.left(4)
        _hear(upstream, 105.1, 2, slots=2)
        self.assertEqual((upstream.free, upstream.state), (0, "full"))


class PromisedTests(SynchronousTestCase):
    """The part of what is in flight that no report has shown."""

    def test_until_shown(self) -> None:
        """A lease is promised until a sample shows it."""
        upstream = _upstream()
        lease = upstream.take(1, 100)
        self.assertEqual(upstream.promised, 1)
        _hear(upstream, 100.5, 0)
        self.assertEqual(upstream.promised, 1)
        _hear(upstream, 102, 1)
        self.assertEqual(upstream.promised, 0)
        upstream.give_back(lease, 103, client_left=False)
        self.assertEqual(upstream.promised, 0)

    def test_older_sample(self) -> None:
        """A sample from before the grant can't have shown it."""
        upstream = _upstream()
        upstream.take(1, 100)
        _hear(upstream, 101, 1, slots_age_s=2.0)
        self.assertEqual(upstream.promised, 1)

    def test_oldest_first(self) -> None:
        """What a sample shows are the oldest ones."""
        upstream = _upstream()
        leases = [upstream.take(1, 100 + i) for i in range(3)]
        _hear(upstream, 110, 2)
        self.assertEqual(upstream.promised, 1)
        upstream.give_back(leases[0], 111, client_left=False)
        self.assertEqual(upstream.promised, 1)
        upstream.give_back(leases[2], 111, client_left=False)
        self.assertEqual(upstream.promised, 0)

    def test_given_back_unseen(self) -> None:
        """A lease that ends before any report is promised no more."""
        for client_left in (False, True):
            upstream = _upstream()
            upstream.give_back(upstream.take(2, 100), 100.2, client_left=client_left)
            self.assertEqual(upstream.promised, 0)

    def test_no_samples(self) -> None:
        """Where samples can't be had, any report shows what there is."""
        upstream = _upstream(busy=None)
        upstream.take(3, 100)
        _hear(upstream, 101, None)
        self.assertEqual((upstream.in_flight, upstream.promised), (3, 0))


class StateTests(SynchronousTestCase):
    """The one word for it."""

    def test_ready_and_full(self) -> None:
        """Ready with a free slot, full without."""
        upstream = _upstream(slots=1)
        self.assertEqual(upstream.state, "ready")
        upstream.take(1, 100)
        self.assertEqual((upstream.state, upstream.healthy), ("full", True))

    def test_issues(self) -> None:
        """Issues that block keep requests away, the others do not."""
        states = {
            "unreachable": "unreachable",
            "loading": "loading",
            "bad_status": "unreachable",
            "bad_json": "unreachable",
            "timeout": "unreachable",
            "unauthorized": "ready",
            "slots_disabled": "ready",
        }
        for issue, state in states.items():
            upstream = _upstream(issues=(issue,))
            self.assertEqual(upstream.state, state, issue)
            self.assertEqual(upstream.healthy, issue not in BLOCKING_ISSUES, issue)

    def test_no_slots(self) -> None:
        """A server that has no slots, or whose slots are not known, gets nothing."""
        for issue in ("no_slots", "unauthorized"):
            upstream = _upstream(slots=0, busy=None, issues=(issue,))
            self.assertEqual((upstream.state, upstream.free), ("unreachable", 0), issue)

    def test_many_slots(self) -> None:
        """A server with a hundred slots has a hundred."""
        upstream = _upstream(slots=100)
        leases: list[Lease] = [upstream.take(1, 100) for _ in range(100)]
        self.assertEqual((upstream.free, upstream.state), (0, "full"))
        upstream.give_back(leases[50], 101, client_left=False)
        self.assertEqual((upstream.free, upstream.state), (1, "ready"))

    def test_order(self) -> None:
        """What keeps requests away comes first."""
        upstream = _upstream(sleeping=True, busy=None, issues=("loading",))
        upstream.draining = True
        upstream.stale_since = 100.0
        self.assertEqual(upstream.state, "stale")
        upstream.stale_since = None
        self.assertEqual(upstream.state, "loading")
        _hear(upstream, 101, None, sleeping=True)
        self.assertEqual(upstream.state, "draining")
        upstream.draining = False
        self.assertEqual(upstream.state, "sleeping")

    def test_issues_since(self) -> None:
        """An issue is known since it was first reported, and again since it came back."""
        upstream = _upstream(issues=("timeout",))
        _hear(upstream, 105, None, issues=("unreachable", "timeout"))
        self.assertEqual(upstream.issues_since, {"unreachable": 105, "timeout": 100})
        _hear(upstream, 106, 0)
        _hear(upstream, 107, None, issues=("timeout",))
        self.assertEqual(upstream.issues_since, {"timeout": 107})

    def test_woken(self) -> None:
        """A sleeping server shows as working while it does, and is asleep until reported awake."""
        upstream = _upstream(sleeping=True, busy=None)
        self.assertEqual((upstream.state, upstream.asleep), ("sleeping", True))
        lease = upstream.take(1, 100)
        for now in (100.1, 101, 109):
            _hear(upstream, now, None, sleeping=True)
            self.assertEqual((upstream.state, upstream.asleep), ("ready", True), now)
        rest = upstream.take(3, 109)
        self.assertEqual((upstream.state, upstream.grantable), ("full", 0))
        upstream.give_back(lease, 110, client_left=False)
        upstream.give_back(rest, 110, client_left=False)
        self.assertEqual((upstream.state, upstream.grantable), ("sleeping", 4))
        _hear(upstream, 111, 0)
        self.assertEqual((upstream.state, upstream.asleep), ("ready", False))

    def test_trust(self) -> None:
        """A failure of a request of ours keeps others away, an issue of its agent's before it."""
        upstream = _upstream()
        upstream.trust.fault("loading", 1, 100, alone=False)
        self.assertEqual((upstream.state, upstream.grantable), ("loading", 0))
        upstream.trust.fault("died", 1, 100, alone=False)
        self.assertEqual((upstream.state, upstream.grantable), ("unreachable", 0))
        _hear(upstream, 101, None, issues=("loading",))
        self.assertEqual(upstream.state, "loading")
        _hear(upstream, 102, 0, slots=0)
        self.assertEqual(upstream.trust.waits_for_report, "unreachable")
        _hear(upstream, 103, 0)
        self.assertEqual((upstream.state, upstream.grantable), ("ready", 4))

    def test_doubt(self) -> None:
        """Doubted while its agent, which still reports, says so; of both the graver counts."""
        for issues, doubt in (
            ((), None),
            (("loading", "bad_status", "bad_json", "unauthorized"), None),
            (("timeout",), "timeout"),
            (("timeout", "unreachable"), "unreachable"),
        ):
            upstream = _upstream(busy=None, issues=issues)
            self.assertEqual(upstream.doubt, doubt)
            upstream.stale_since = 200.0
            self.assertIsNone(upstream.doubt)

    def test_stale_at(self) -> None:
        """It is stale when it has missed as many reports as it may, by its own interval."""
        self.assertEqual(_upstream(interval_s=1.0).stale_at, 103.5)
        self.assertEqual(_upstream(interval_s=20.0).stale_at, 170.0)
