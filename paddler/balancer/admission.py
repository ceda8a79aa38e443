"""Waiting for a slot is a Deferred.

The owner of the scheduler: it tells it the time, fires the waiters' Deferreds with
their leases, keeps the one timer that the scheduler asks for, and logs what it notes.
Nothing here chooses.

Note [A grant in flight]. Firing a waiter runs its request, which may end at once and
give its slot back, which grants the next, and so on: as nested calls ten thousand waiters would
exhaust the stack. So grants are fired from one loop, and what they cause is put
behind it. A waiter that is cancelled after its grant was made and before it was fired hands the
lease back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from paddler.balancer.readable import Readable
from paddler.errors import QueueFull, Stopping, WaitedTooLong
from paddler.facts import Facts
from paddler.scheduling.lines import ANYTHING, Need, Waiter
from paddler.scheduling.notes import Note
from paddler.scheduling.outcomes import NOTHING, Grant, Outcome, Refusal
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.trust import Fault
from paddler.values import Report

__all__ = ["Admission"]


@attrs.define(eq=False)
class Admission(Readable):
    """Gives requests their leases, at once or when there is room."""

    _log = Logger()

    #: Called with an upstream whose agent has begun to doubt it, or no longer does.
    on_doubt: Callable[[Upstream], None] = attrs.field(default=lambda upstream: None, init=False)
    _pending: dict[Waiter, Deferred[Lease]] = attrs.field(factory=dict, init=False)
    _granted: dict[Waiter, Lease] = attrs.field(factory=dict, init=False)
    #: Who is to be told next.
    _due: deque[Grant | Refusal] = attrs.field(factory=deque, init=False)
    _firing: bool = attrs.field(default=False, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    # Requests.

    def waiter(
        self, weight: int, model: str | None = None, where: Upstream | None = None
    ) -> Waiter:
        """A new request, not yet in line.

        :param weight: the slots that it will occupy.
        :param model: the name of the model that it wants; None: it names none.
        :param where: the upstream that it wants; None: any.
        :raises ModelNotFound: there is no such model.
        """
        now = self._clock.seconds()
        need = self._scheduler.need(model, now) if model else ANYTHING
        return Waiter(weight, now, need if where is None else need._replace(where=where))

    def at_once(self, waiter: Waiter) -> Lease | None:
        """Slots for a request that need not wait; None: `acquire` has them, or an error."""
        if self._stopped:
            return None
        return self._scheduler.grant_at_once(waiter, self._clock.seconds())

    def acquire(self, waiter: Waiter) -> Deferred[Lease]:
        """Slots for a request; cancel the Deferred when its client leaves.

        :raises QueueFull: there is no room to wait; by the Deferred, as all errors here.
        :raises WaitedTooLong: no slot became free in time.
        :raises Stopping: the balancer stops.
        """
        if self._stopped:
            return fail(Stopping())
        try:
            outcome = self._scheduler.request(waiter, self._clock.seconds())
        except QueueFull as error:
            return fail(error)
        return self._promised(waiter, outcome)

    def again(
        self, waiter: Waiter, lease: Lease, fault: Fault, cause: object, problem: str
    ) -> Deferred[Lease]:
        """Other slots for a request whose upstream failed it, in its old place and time.

        The lease ends. As `acquire`, but there is always room for it.

        :param cause: tells the request from others.
        :param problem: what happened, in words.
        """
        if self._stopped:
            self.fault(lease.upstream, fault, cause, problem, lease)
            return fail(Stopping())
        now = self._clock.seconds()
        return self._promised(
            waiter,
            self._scheduler.fault(lease.upstream, fault, cause, problem, now, lease, waiter),
        )

    def elsewhere(self, waiter: Waiter, lease: Lease, need: Need) -> Deferred[Lease]:
        """Other slots for a request that needs more than was known, in its old place and time.

        The lease ends. As `acquire`, but there is always room for it.
        """
        if self._stopped:
            self.release(lease)
            return fail(Stopping())
        now = self._clock.seconds()
        return self._promised(waiter, self._scheduler.elsewhere(waiter, lease, need, now))

    def _promised(self, waiter: Waiter, outcome: Outcome) -> Deferred[Lease]:
        """The lease of a waiter that has just come into line: here already, or to come."""
        grants = outcome.grants
        if not self._firing and len(grants) == 1 and grants[0].waiter is waiter:
            # The common case needs no timer and no detour.
            self._carry_out(attrs.evolve(outcome, grants=()))
            return succeed(grants[0].lease)
        waiting: Deferred[Lease] = Deferred(lambda _: self._cancelled(waiter))
        self._pending[waiter] = waiting
        left = waiter.arrived_at + self.timeout - self._clock.seconds()
        waiting.addTimeout(max(0.0, left), self._clock, onTimeoutCancel=self._timed_out)
        self._carry_out(outcome)
        return waiting

    def release(self, lease: Lease, facts: Facts | None = None) -> None:
        """The request has ended, its slots are free.

        :param facts: what its answer said.
        """
        now = self._clock.seconds()
        try:
            outcome = self._scheduler.release(lease, now, facts)
        except Exception:
            if not lease.ended:
                # A mistake in what is learnt must not cost slots.
                self._carry_out(self._scheduler.take_back(lease, now))
            raise
        if outcome is not NOTHING:
            self._carry_out(outcome)

    def fault(
        self,
        upstream: Upstream,
        fault: Fault,
        cause: object,
        problem: str,
        lease: Lease | None = None,
    ) -> None:
        """An upstream failed a request, which has ended, and its lease with it."""
        now = self._clock.seconds()
        self._carry_out(self._scheduler.fault(upstream, fault, cause, problem, now, lease))

    def answered(self, upstream: Upstream, lease: Lease | None) -> None:
        """An upstream has begun to answer a request as it should.

        :param lease: the request's; None: it has none, or its prompt is still being evaluated.
        """
        if lease is not None and lease.running is not None:
            self._scheduler.answers(lease, self._clock.seconds())
        if upstream.trust.suspect or upstream.error is not None:
            self._carry_out(self._scheduler.answered(upstream, self._clock.seconds()))

    def abandon(self, lease: Lease) -> None:
        """The request's client has gone; its slots are busy until a sample says otherwise."""
        self._carry_out(self._scheduler.abandon(lease, self._clock.seconds()))

    def any_healthy(self, model: str | None = None) -> Upstream | None:
        """An upstream for a request that needs no slot; None: no healthy one is known.

        :param model: the name of the model that it wants; None: it names none.
        :raises ModelNotFound: there is no such model.
        """
        return self._scheduler.any_healthy(model, self._clock.seconds())

    # Agents.

    def report(self, agent_id: str, report: Report) -> int:
        """An agent reports; tells how many slots of its llama-server are in use from here."""
        outcome = self._scheduler.report(agent_id, report, self._clock.seconds())
        if outcome is not NOTHING:
            self._carry_out(outcome)
        return self._scheduler.in_use(agent_id)

    def leave(self, agent_id: str) -> None:
        """An agent says goodbye.

        :raises NoSuchAgent: nobody has that id.
        """
        self._carry_out(self._scheduler.leave(agent_id, self._clock.seconds()))

    def drain(self, agent_id: str, draining: bool) -> None:
        """No new requests for an agent, or again.

        :raises NoSuchAgent: nobody has that id.
        """
        self._carry_out(self._scheduler.drain(agent_id, draining, self._clock.seconds()))

    # The end.

    def stop(self) -> None:
        """Give up all who wait, take nobody new, and keep no timer."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Those whose grant is on its way still get it.
        waiting = {w: d for w, d in self._pending.items() if w not in self._granted}
        self._scheduler.give_up(waiting)
        for waiter, deferred in waiting.items():
            if self._pending.pop(waiter, None) is not None:
                deferred.errback(Stopping())

    # Inside.

    def _carry_out(self, outcome: Outcome) -> None:
        """Log what was noted, fire who was granted, set the timer anew."""
        if outcome is NOTHING:
            self._set_timer()
            return
        for note in outcome.notes:
            self._say(note)
        for upstream in outcome.doubted:
            self.on_doubt(upstream)
        for grant in outcome.grants:
            self._granted[grant.waiter] = grant.lease
            self._due.append(grant)
        self._due.extend(outcome.refused)
        self._set_timer()
        if self._firing:
            return
        self._firing = True
        try:
            while self._due:
                self._fire(self._due.popleft())
        finally:
            self._firing = False

    def _fire(self, due: Grant | Refusal) -> None:
        if isinstance(due, Refusal):
            if due.waiter in self._pending:
                self._pending.pop(due.waiter).errback(due.error)
        elif self._granted.pop(due.waiter, None) is not None:
            self._pending.pop(due.waiter).callback(due.lease)

    def _cancelled(self, waiter: Waiter) -> None:
        """A waiter's Deferred was cancelled: by its client's leaving or by its deadline."""
        del self._pending[waiter]
        lease = self._granted.pop(waiter, None)
        now = self._clock.seconds()
        if lease is not None:
            self._carry_out(self._scheduler.take_back(lease, now))
        else:
            self._carry_out(self._scheduler.cancel(waiter, now))

    def _timed_out(self, result: object, timeout: float) -> object:
        """Give the deadline's cancellation its own name."""
        if isinstance(result, Failure):
            result.trap(CancelledError)
            raise WaitedTooLong(self.timeout, self._scheduler.retry_after())
        return result

    def _set_timer(self) -> None:
        """One timer, for what the scheduler must be asked next."""
        due = None if self._stopped else self._scheduler.next_event
        if self._timer is not None:
            if due is not None and self._timer.getTime() <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            delay = max(0.0, due - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        self._carry_out(self._scheduler.pass_time(self._clock.seconds()))

    def _say(self, note: Note) -> None:
        self._log.info(
            "agent {agent} at {upstream}: {what}: {detail}",
            agent=note.agent,
            upstream=note.upstream,
            what=note.what.replace("_", " "),
            detail=note.detail,
        )
