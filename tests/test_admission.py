"""Waiting for a slot is a Deferred: `paddler.balancer.admission`."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.admission import Admission
from paddler.errors import NoSuchAgent, QueueFull, Stopping, WaitedTooLong
from paddler.facts import Facts
from paddler.scheduling.granting import KEPT
from paddler.scheduling.lines import Waiter
from paddler.scheduling.policies import Prefix
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease
from paddler.scheduling.trust import Fault
from tests.scenes import report, scheduler

__all__ = [
    "AgainTests",
    "DeadlineTests",
    "LogTests",
    "MistakeTests",
    "ReentrantTests",
    "StopTests",
    "TimerTests",
    "WaitingTests",
]


class QuickClock(Clock):
    """A clock for ten thousand calls, which all come in the order of their times."""

    def _sortCalls(self) -> None:
        """There is nothing to sort."""


class AdmissionTestCase(SynchronousTestCase):
    """An admission with a clock, which is left without a timer and without a lease."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.admission = self.make()
        self.held: list[Lease] = []
        self.addCleanup(self.all_is_over)

    def make(self, limit: int = 100_000) -> Admission:
        """An admission of requests that may wait for a minute."""
        return Admission(self.clock, scheduler(limit), 60.0)

    def all_is_over(self) -> None:
        """Give back what is held, stop, and see that nothing is left."""
        for lease in self.held:
            if not lease.ended:
                self.admission.release(lease)
        self.admission.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([view.in_flight for view in self.admission.agents() if view.in_flight], [])
        self.assertEqual(self.admission.queue().requests_waiting, 0)
        self.assertEqual((self.admission._pending, self.admission._granted), ({}, {}))

    def hear(self, agent_id: str = "a", slots: int = 2, **more: Any) -> None:
        """A report; by default of an agent that reports so seldom that it never goes stale."""
        more.setdefault("interval_s", 3600.0)
        self.admission.report(agent_id, report(agent_id, slots, **more))

    def ask(self, weight: int = 1) -> Deferred[Lease]:
        """A request for slots; what it is granted is held."""
        waiting = self.acquire(weight)

        def keep(lease: Lease) -> Lease:
            self.held.append(lease)
            return lease

        return waiting.addCallback(keep)

    def acquire(self, weight: int = 1) -> Deferred[Lease]:
        """A request for slots; what it is granted is for the test to end."""
        return self.admission.acquire(self.admission.waiter(weight))

    def in_flight(self) -> int:
        """Slots that are promised."""
        return sum(view.in_flight for view in self.admission.agents())


class WaitingTests(AdmissionTestCase):
    """Leases at once or later."""

    def test_at_once(self) -> None:
        """Where there is room the lease is there at once, without a timer."""
        self.hear()
        timers = self.clock.getDelayedCalls()
        lease = self.successResultOf(self.ask())
        self.assertEqual(lease.upstream.name, "a")
        self.assertEqual(self.clock.getDelayedCalls(), timers)

    def test_waits(self) -> None:
        """Where there is none it comes with the slot, and its timer goes."""
        waiting = self.ask()
        self.assertNoResult(waiting)
        self.assertEqual(self.admission.queue().requests_waiting, 1)
        self.clock.advance(59)
        self.hear()
        self.assertIs(self.successResultOf(waiting), self.held[0])

    def test_order(self) -> None:
        """Slots come in the order of asking, one for each that is given back."""
        self.hear(slots=1)
        asked = [self.ask() for _ in range(20)]
        for turn in range(20):
            lease = self.successResultOf(asked[turn])
            if turn < 19:
                self.assertNoResult(asked[turn + 1])
            self.admission.release(lease)

    def test_queue_full(self) -> None:
        """One too many is refused by its Deferred."""
        self.admission = self.make(limit=1)
        waiting = self.ask()
        error = self.failureResultOf(self.acquire(), QueueFull).value
        self.assertEqual(error.limit, 1)
        self.assertNoResult(waiting)
        self.hear()
        self.successResultOf(waiting)

    def test_body_sizes(self) -> None:
        """The bytes of those who wait are shown; one for which they have no room is told so."""
        self.admission.bodies.limit = 100
        self.admission.bodies.used += 77
        self.assertEqual(self.admission.queue().bytes_waiting, 77)
        error = self.admission.no_room_for_body()
        self.assertEqual((error.limit, error.unit, error.retry_after), (100, "bytes", 5))

    def test_cancel(self) -> None:
        """A client that leaves while it waits is gone at once, with its timer and its place."""
        self.hear(slots=1)
        running, gone, next_one = self.ask(), self.ask(), self.ask()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertEqual(self.admission.queue().requests_waiting, 1)
        self.admission.release(self.successResultOf(running))
        self.successResultOf(next_one)

    def test_cancel_frees_those_behind(self) -> None:
        """When a heavy request leaves, those behind it get what was kept for it."""
        self.hear(slots=2)
        self.successResultOf(self.ask())
        heavy, light = self.ask(2), self.ask()
        self.assertNoResult(light)
        heavy.cancel()
        self.failureResultOf(heavy, CancelledError)
        self.successResultOf(light)

    def test_cancel_after_the_grant(self) -> None:
        """Cancelling what has its lease already changes nothing: the lease is its owner's."""
        self.hear(slots=1)
        waiting = self.ask()
        waiting.cancel()
        self.assertFalse(self.successResultOf(waiting).ended)
        self.assertEqual(self.in_flight(), 1)

    def test_abandon(self) -> None:
        """A slot whose client left running comes back with a sample."""
        self.hear(slots=1)
        running, waiting = self.ask(), self.ask()
        self.admission.abandon(self.successResultOf(running))
        self.assertNoResult(waiting)
        self.clock.advance(1)
        self.hear(slots=1)
        self.successResultOf(waiting)

    def test_agents(self) -> None:
        """Goodbyes and drains reach the scheduler; unknown agents are said to be so."""
        self.hear()
        self.admission.drain("a", True)
        waiting = self.ask()
        self.assertIsNone(self.admission.any_healthy())
        self.admission.drain("a", False)
        self.successResultOf(waiting)
        self.assertEqual(self.admission.fleet().agents, 1)
        self.assertRaises(NoSuchAgent, self.admission.leave, "b")
        self.assertRaises(NoSuchAgent, self.admission.drain, "b", True)
        self.admission.release(self.held[0])
        self.admission.leave("a")
        self.assertEqual(self.admission.agents(), ())


class DeadlineTests(AdmissionTestCase):
    """The deadline is on waiting alone."""

    def test_waited_too_long(self) -> None:
        """One that waited its time is told so, and its place is free."""
        waiting = self.ask()
        self.clock.advance(59.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        error = self.failureResultOf(waiting, WaitedTooLong).value
        self.assertEqual((error.seconds, error.retry_after), (60.0, 5))
        self.hear()
        self.assertEqual(self.in_flight(), 0)

    def test_not_after_the_grant(self) -> None:
        """Neither at once nor after a wait does it touch what has its lease."""
        self.hear(slots=1)
        first, second = self.ask(), self.ask()
        self.clock.advance(59)
        self.admission.release(self.successResultOf(first))
        lease = self.successResultOf(second)
        self.clock.advance(1000)
        self.assertFalse(lease.ended)
        self.assertEqual(self.in_flight(), 1)

    def test_frees_those_behind(self) -> None:
        """When a heavy request has waited too long, those behind it get what was kept."""
        self.hear(slots=2)
        self.successResultOf(self.ask())
        heavy = self.ask(2)
        self.clock.advance(1)
        light = self.ask()
        self.clock.advance(59)
        self.failureResultOf(heavy, WaitedTooLong)
        self.successResultOf(light)

    def test_own_cancel_is_no_deadline(self) -> None:
        """Who leaves before the deadline is cancelled, not late."""
        waiting = self.ask()
        self.clock.advance(30)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_all_at_once(self) -> None:
        """Many that run out together each get their own error."""
        asked = [self.ask() for _ in range(100)]
        self.clock.advance(60)
        for waiting in asked:
            self.failureResultOf(waiting, WaitedTooLong)


class AgainTests(AdmissionTestCase):
    """Requests whose upstream failed them."""

    def again(
        self, waiter: Waiter, lease: Lease, fault: Fault = "died", cause: object = None
    ) -> Deferred[Lease]:
        """Other slots for a request; what it is granted is held."""
        waiting = self.admission.again(waiter, lease, fault, cause or waiter, "it broke")

        def keep(lease: Lease) -> Lease:
            self.held.append(lease)
            return lease

        return waiting.addCallback(keep)

    def granted(self, weight: int = 1) -> tuple[Waiter, Lease]:
        """A request that has its lease."""
        waiter = self.admission.waiter(weight)
        lease = self.successResultOf(self.admission.acquire(waiter))
        self.held.append(lease)
        return waiter, lease

    def test_elsewhere_at_once(self) -> None:
        """Where there is room elsewhere the lease moves in one step, without a timer."""
        self.hear("a", slots=1)
        waiter, lease = self.granted()
        self.hear("b", slots=1)
        timers = self.clock.getDelayedCalls()
        other = self.successResultOf(self.again(waiter, lease))
        self.assertEqual((other.upstream.name, lease.ended, self.in_flight()), ("b", True, 1))
        self.assertEqual(self.clock.getDelayedCalls(), timers)

    def test_waits_in_its_place(self) -> None:
        """Without room it waits before those who came later, for the rest of its time."""
        self.hear(slots=1)
        waiter, lease = self.granted()
        self.clock.advance(50)
        later = self.ask()
        waiting = self.again(waiter, lease)
        self.hear("b", slots=1)
        self.successResultOf(waiting)
        self.assertNoResult(later)
        self.admission.release(self.held[-1])
        self.successResultOf(later)

    def test_same_deadline(self) -> None:
        """Its deadline is the one it came with."""
        self.hear(slots=1)
        waiter, lease = self.granted()
        self.clock.advance(50)
        waiting = self.again(waiter, lease)
        self.clock.advance(9.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.failureResultOf(waiting, WaitedTooLong)
        self.assertEqual(self.in_flight(), 0)

    def test_deadline_over(self) -> None:
        """When its time is over it is granted at once where there is room, else it is late."""
        self.hear("a", slots=1)
        waiter, lease = self.granted()
        self.clock.advance(1000)
        self.hear("b", slots=1)
        lease = self.successResultOf(self.again(waiter, lease))
        waiting = self.again(waiter, lease)
        self.assertNoResult(waiting)
        self.clock.advance(0)
        self.failureResultOf(waiting, WaitedTooLong)
        self.assertEqual((self.in_flight(), self.admission.queue().requests_waiting), (0, 0))

    def test_deadline_over_in_a_crowd(self) -> None:
        """So it is when what it gives back goes to another in the same step."""
        self.hear("a", slots=1)
        waiter, lease = self.granted()
        self.clock.advance(1000)
        heavy, light = self.ask(2), self.ask()
        self.hear("b", slots=2, busy=None, issues=("loading",))
        waiting = self.again(waiter, lease, "loading")
        self.hear("b", slots=4)
        self.successResultOf(waiting)
        self.successResultOf(heavy)
        self.successResultOf(light)

    def test_never_full(self) -> None:
        """There is room for it where nobody else may wait."""
        self.admission = self.make(limit=0)
        self.hear(slots=2)
        running = [self.granted(), self.granted()]
        waiting = [self.again(*one) for one in running]
        self.assertEqual(self.admission.queue().requests_waiting, 2)
        self.failureResultOf(self.acquire(), QueueFull)
        self.hear("b")
        for deferred in waiting:
            self.successResultOf(deferred)

    def test_cancel(self) -> None:
        """A client that leaves while it waits again is gone at once."""
        self.hear(slots=1)
        waiting = self.again(*self.granted())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.hear("b")
        self.assertEqual((self.in_flight(), self.admission.queue().requests_waiting), (0, 0))

    def test_stopped(self) -> None:
        """After the stop it is told so, and its lease has ended."""
        self.hear(slots=1)
        waiter, lease = self.granted()
        self.hear("b", slots=1)
        self.admission.stop()
        self.failureResultOf(self.again(waiter, lease), Stopping)
        self.assertEqual((lease.ended, self.in_flight()), (True, 0))
        self.assertEqual(lease.upstream.error, "it broke")

    def test_stop_while_it_waits(self) -> None:
        """A stop ends its second wait as it ends a first."""
        self.hear(slots=1)
        waiting = self.again(*self.granted())
        self.admission.stop()
        self.failureResultOf(waiting, Stopping)

    def test_while_granted(self) -> None:
        """One that fails in the callback of its own grant waits again, behind nobody later."""
        waiter = self.admission.waiter(1)
        told: list[Deferred[Lease]] = []
        first = self.admission.acquire(waiter)
        first.addCallback(lambda lease: told.append(self.again(waiter, lease, "refused")))
        second = self.ask()
        self.hear(slots=1)
        self.assertNoResult(told[0])
        self.assertNoResult(second)
        self.hear("b", slots=1)
        self.successResultOf(told[0])
        self.assertNoResult(second)
        self.admission.release(self.held[-1])
        self.successResultOf(second)

    def test_fault(self) -> None:
        """A failure that is an answer ends the lease; answers are forgiving."""
        self.hear()
        for number in range(3):
            waiter, lease = self.granted()
            self.admission.fault(lease.upstream, "error", number, "it broke", lease)
            self.assertTrue(lease.ended)
        self.assertEqual(self.admission.agents()[0].state, "quarantined")
        waiting, behind = self.ask(), self.ask()
        self.clock.advance(9.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        trial = self.successResultOf(waiting)
        self.assertNoResult(behind)
        self.admission.answered(trial.upstream, trial)
        self.successResultOf(behind)
        self.assertEqual(self.admission.agents()[0].error, None)

    def test_answered(self) -> None:
        """An answer of one that nothing is held against changes nothing."""
        self.hear()
        _, lease = self.granted()
        self.admission.answered(lease.upstream, lease)
        self.assertEqual(self.admission.agents()[0].state, "ready")

    def test_doubt(self) -> None:
        """Doubts are handed on: when they begin, and when their agent falls silent."""
        told: list[str | None] = []
        self.admission.on_doubt = lambda upstream: told.append(upstream.doubt)
        self.hear(interval_s=1.0)
        self.granted()
        for _ in range(2):
            self.hear(busy=None, issues=("timeout",), interval_s=1.0)
        self.assertEqual(told, ["timeout"])
        self.clock.advance(4)
        self.assertEqual(told, ["timeout", None])


class ReentrantTests(AdmissionTestCase):
    """What happens while a grant is being delivered."""

    def test_first_cancels_second(self) -> None:
        """A waiter cancelled while its grant is on the way hands the slot on."""
        first, second, third = self.acquire(), self.ask(), self.ask()

        def cancel_second(lease: Lease) -> None:
            self.held.append(lease)
            second.cancel()

        first.addCallback(cancel_second)
        self.hear(slots=2)
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.successResultOf(third)
        self.assertEqual(self.in_flight(), 2)

    def test_cancelled_in_flight_is_no_answer(self) -> None:
        """Nothing is learnt about how long requests take from one that was never sent."""
        self.hear("slow", slots=1)
        running = self.ask()
        self.clock.advance(40)
        self.admission.release(self.successResultOf(running))
        self.admission.leave("slow")
        first, second = self.acquire(), self.ask()

        def cancel_second(lease: Lease) -> None:
            self.held.append(lease)
            second.cancel()

        first.addCallback(cancel_second)
        self.hear(slots=2)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.admission._scheduler._mean_hold, 40.0)

    def test_released_at_once(self) -> None:
        """A request that ends in its own callback gives its slot to the next."""
        ended = []
        for number in range(3):
            waiting = self.acquire()
            waiting.addCallback(self.admission.release)
            waiting.addCallback(lambda _, number=number: ended.append(number))
        self.hear(slots=1)
        self.assertEqual((ended, self.in_flight()), ([0, 1, 2], 0))

    def test_ten_thousand(self) -> None:
        """Ten thousand that end at once are served in order, without exhausting the stack."""
        self.clock = QuickClock()
        self.admission = self.make()
        served: list[int] = []

        def serve(lease: Lease, number: int) -> None:
            served.append(number)
            self.admission.release(lease)

        for number in range(10_000):
            self.acquire().addCallback(serve, number)
        self.hear(slots=1)
        self.assertEqual(served, list(range(10_000)))

    def test_ask_while_granted(self) -> None:
        """A request made in a callback is served in its turn, after those already granted."""
        order = []
        first = self.acquire()

        def ask_again(lease: Lease) -> None:
            order.append("first")
            self.held.append(lease)
            self.ask().addCallback(lambda _: order.append("inner"))
            order.append("asked")

        first.addCallback(ask_again)
        second = self.ask().addCallback(lambda _: order.append("second"))
        self.hear(slots=3)
        self.successResultOf(second)
        self.assertEqual(order, ["first", "asked", "second", "inner"])

    def test_cancel_what_was_asked_while_granted(self) -> None:
        """One that asked in a callback and left in the same breath holds nothing."""
        first = self.acquire()

        def ask_and_leave(lease: Lease) -> None:
            self.held.append(lease)
            inner = self.acquire()
            inner.cancel()
            self.failureResultOf(inner, CancelledError)

        first.addCallback(ask_and_leave)
        self.hear(slots=5)
        self.successResultOf(first)
        self.assertEqual(self.in_flight(), 1)

    def test_report_while_granted(self) -> None:
        """An agent that leaves or reports in a callback is taken in at once."""
        first, second = self.acquire(), self.ask()

        def leave(lease: Lease) -> None:
            self.held.append(lease)
            self.admission.leave("a")
            self.hear("b", slots=1)

        first.addCallback(leave)
        self.hear("a", slots=1)
        self.assertEqual(self.successResultOf(second).upstream.name, "b")

    def test_failing_callback(self) -> None:
        """A request that fails in its callback takes nothing from the next."""
        first, second = self.acquire(), self.ask()

        def fail(lease: Lease) -> None:
            self.held.append(lease)
            raise ZeroDivisionError

        first.addCallback(fail)
        self.hear(slots=2)
        self.failureResultOf(first, ZeroDivisionError)
        self.successResultOf(second)

    def test_stop_while_granted(self) -> None:
        """A stop in a callback lets grants on their way arrive, and ends the rest."""
        first, second, third = self.acquire(), self.ask(), self.ask()

        def stop(lease: Lease) -> None:
            self.held.append(lease)
            self.admission.stop()

        first.addCallback(stop)
        self.hear(slots=2)
        self.successResultOf(second)
        self.failureResultOf(third, Stopping)


class StopTests(AdmissionTestCase):
    """The end."""

    def test_waiters(self) -> None:
        """Those who wait are told, in their order, and nobody new is taken."""
        told: list[int] = []
        asked = [self.ask() for _ in range(3)]
        for number, waiting in enumerate(asked):
            waiting.addErrback(lambda why, number=number: (told.append(number), why)[1])
        self.admission.stop()
        for waiting in asked:
            self.failureResultOf(waiting, Stopping)
        self.assertEqual(told, [0, 1, 2])
        self.failureResultOf(self.acquire(), Stopping)
        self.hear()
        self.failureResultOf(self.acquire(), Stopping)

    def test_no_timer(self) -> None:
        """No timer is left, and what comes after sets none."""
        self.hear(interval_s=1.0)
        running = self.ask()
        self.ask(2).addErrback(lambda why: why.trap(Stopping) and None)
        self.admission.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.hear(interval_s=1.0)
        self.admission.release(self.successResultOf(running))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_heavy_waiter_first(self) -> None:
        """What was kept for a heavy request is not granted to one that is being given up."""
        self.hear(slots=2)
        self.successResultOf(self.ask())
        heavy, light = self.ask(2), self.ask()
        self.admission.stop()
        self.failureResultOf(heavy, Stopping)
        self.failureResultOf(light, Stopping)
        self.assertEqual(self.in_flight(), 1)

    def test_kept_for_too_long(self) -> None:
        """Nor where another upstream would by now be kept for it."""
        self.hear("b", slots=3)
        self.successResultOf(self.ask())
        self.hear("b", slots=3, busy=3)
        self.hear("a", slots=8)
        for _ in range(4):
            self.successResultOf(self.ask())
        waiting = [self.ask(8), *(self.ask() for _ in range(4))]
        self.clock.advance(KEPT / 2)
        # Nearer by now, and full again; two more wait for what is kept.
        self.hear("b", slots=3, busy=1)
        self.assertEqual(self.in_flight(), 7)
        self.clock.advance(KEPT)
        self.admission.stop()
        for request in waiting[:1] + waiting[3:]:
            self.failureResultOf(request, Stopping)
        self.assertEqual(self.in_flight(), 7)

    def test_twice(self) -> None:
        """Stopping again changes nothing."""
        waiting = self.ask()
        self.admission.stop()
        self.failureResultOf(waiting, Stopping)
        self.admission.stop()
        self.assertEqual(self.admission.queue().requests_waiting, 0)

    def test_one_cancels_another(self) -> None:
        """A waiter that takes another with it when it is told breaks nothing."""
        first, second, third = self.acquire(), self.ask(), self.ask()
        first.addErrback(lambda _: second.cancel())
        self.admission.stop()
        self.failureResultOf(second, CancelledError)
        self.failureResultOf(third, Stopping)
        self.successResultOf(first)


class TimerTests(AdmissionTestCase):
    """The one timer."""

    def times(self) -> list[float]:
        """When the clock calls."""
        return [call.getTime() for call in self.clock.getDelayedCalls()]

    def test_one(self) -> None:
        """However many agents report how often, there is one timer, for what is next."""
        self.assertEqual(self.times(), [])
        for _ in range(5):
            for agent_id in "abc":
                self.hear(agent_id, interval_s=1.0)
            self.assertEqual(len(self.times()), 1)
            self.clock.advance(1)
        self.assertLessEqual(self.times()[0], self.clock.seconds() + 2.5)

    def test_nearer(self) -> None:
        """What is due before takes its place."""
        self.hear("slow", interval_s=100.0)
        self.assertEqual(self.times(), [1350.0])
        self.hear("quick", interval_s=1.0)
        self.assertEqual(self.times(), [1003.5])
        self.admission.leave("quick")
        self.clock.advance(3.5)
        self.assertEqual(self.times(), [1350.0])

    def test_none(self) -> None:
        """When nothing is to come there is no timer."""
        self.hear(interval_s=1.0)
        self.clock.advance(3.5)
        self.assertEqual(self.admission.agents()[0].state, "stale")
        self.clock.advance(60)
        self.assertEqual(self.admission.agents(), ())
        self.assertEqual(self.times(), [])

    def test_slots_without_samples(self) -> None:
        """Time alone frees a slot whose client left, and grants it."""
        self.hear(slots=1, busy=None)
        running, waiting = self.ask(), self.ask()
        self.admission.abandon(self.successResultOf(running))
        self.clock.advance(29.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.successResultOf(waiting)

    def test_odd_fractions(self) -> None:
        """Times that no float holds exactly come once, and not again and again."""
        self.clock.advance(0.1 + 1e8 / 3)
        self.hear(interval_s=0.1)
        self.clock.advance(0.35)
        self.clock.advance(1e-6)
        self.assertEqual(self.admission.agents()[0].state, "stale")
        self.assertEqual(len(self.times()), 1)


class LogTests(AdmissionTestCase):
    """What operators read."""

    def test_once_per_change(self) -> None:
        """A change is one line, with the agent and its address."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for issues in ((), (), ("loading",), ("loading",), ()):
            self.hear(issues=issues)
        self.admission.leave("a")
        ours = [event for event in events if event.get("agent") == "a"]
        self.assertEqual(
            [(event["what"], event["detail"]) for event in ours],
            [
                ("joined", "ready, 2 slots"),
                ("state", "ready -> loading"),
                ("state", "loading -> ready"),
                ("forgotten", "its agent has left"),
            ],
        )
        self.assertEqual({event["upstream"] for event in ours}, {"a:8080"})


class MistakeTests(AdmissionTestCase):
    """Mistakes of ours in what is learnt of requests."""

    def make(self, limit: int = 100_000) -> Admission:
        """An admission that looks at prompts."""
        self.scheduler = Scheduler(Prefix(), Random(1), limit, 3)
        return Admission(self.clock, self.scheduler, 60.0)

    def test_release(self) -> None:
        """They cost no slot, and the next gets it."""
        self.hear(slots=1)
        lease = self.successResultOf(self.ask())
        waiting = self.ask()
        self.assertNoResult(waiting)
        granting: Any = self.scheduler._granting
        granting.served = lambda *args: 1 / 0
        self.assertRaises(ZeroDivisionError, self.admission.release, lease, Facts(0, 100, 1))
        self.assertTrue(lease.ended)
        after = self.successResultOf(waiting)
        del granting.served
        self.admission.release(after)
        self.assertEqual(self.in_flight(), 0)
        self.assertRaises(ValueError, self.admission.release, lease)
