"""The one object that says who gets which slot.

It holds the upstreams, their slots, the leases and the waiters, and knows of
nothing else: no I/O, no Deferred, no clock. Its methods take `now` and return what
follows: leases for waiters, and notes for the log. Its owner (`paddler.balancer.admission`)
carries that out and calls `pass_time` when `next_event` says so.

Note [Slots are taken and given back once]. A lease is made by `Granting` alone, in the same
step that finds the slot free, and ended by `release` or `abandon`, once. Reports
never touch it. So what is in flight is exactly what was promised, whatever agents say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

import attrs

from paddler.errors import NoSuchAgent, QueueFull
from paddler.scheduling.fleet import Fleet
from paddler.scheduling.granting import Granting
from paddler.scheduling.lines import Waiter
from paddler.scheduling.notes import Note, note
from paddler.scheduling.outcomes import NOTHING, Outcome
from paddler.scheduling.policies import Policy
from paddler.scheduling.slots import Lease, State, Upstream
from paddler.scheduling.trust import FastErrors, Fault
from paddler.scheduling.views import AgentView, FleetView, QueueView, fleet_view, view_of
from paddler.scheduling.waiting import WaitingQueue
from paddler.values import Report

__all__ = ["Scheduler"]

#: Seconds that a client is told to wait when nothing is known of how long requests take.
RETRY_AFTER_UNKNOWN = 5
RETRY_AFTER_MOST = 60


@attrs.define(eq=False)
class Scheduler:
    """Upstreams, leases and waiters.

    :param policy: chooses among upstreams with room.
    :param random: decides between equals.
    :param waiting_limit: the most requests that may wait.
    :param missed_allowed: reports an agent may miss before it is stale.
    :param quarantine: seconds that an upstream which keeps failing is left out.
    """

    _policy: Policy
    _random: Random
    _waiting_limit: int
    _missed_allowed: int
    _quarantine: float = 10.0
    _fleet: Fleet = attrs.field(init=False)
    _queue: WaitingQueue = attrs.field(factory=WaitingQueue, init=False)
    _granting: Granting = attrs.field(init=False)
    _errors: FastErrors = attrs.field(factory=FastErrors, init=False)
    _mean_hold: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._fleet = Fleet(self._missed_allowed, self._quarantine)
        self._granting = Granting(self._policy, self._random, self._fleet, self._queue)

    # Agents.

    def report(self, agent_id: str, report: Report, now: float) -> Outcome:
        """An agent reports; a new one joins."""
        before = self._fleet.at(report.external)
        doubt = None if before is None else before.doubt
        notes = self._fleet.hear(agent_id, report, now)
        outcome = self._outcome(now, notes)
        if before is not None and before.doubt != doubt:
            return attrs.evolve(outcome, doubted=(before,))
        return outcome

    def in_use(self, agent_id: str) -> int:
        """Slots that clients of ours have in use at an agent's llama-server, or may have.

        0 when nobody has that id, or has it no more.
        """
        try:
            upstream = self._fleet.find(agent_id)
        except NoSuchAgent:
            return 0
        return upstream.in_flight + upstream.client_left

    def leave(self, agent_id: str, now: float) -> Outcome:
        """An agent says goodbye: forgotten at once; its running answers finish.

        :raises NoSuchAgent: nobody has that id.
        """
        upstream = self._fleet.find(agent_id)
        notes = [note("forgotten", upstream, "its agent has left")]
        self._fleet.forget(upstream)
        return self._outcome(now, notes)

    def drain(self, agent_id: str, draining: bool, now: float) -> Outcome:
        """No new requests there, or again.

        :raises NoSuchAgent: nobody has that id.
        """
        upstream = self._fleet.find(agent_id)
        before = upstream.state
        upstream.draining = draining
        self._fleet.index(upstream)
        return self._outcome(now, self._fleet.told(upstream, before))

    def any_healthy(self) -> Upstream | None:
        """An upstream for a request that needs no slot."""
        return self._fleet.any_healthy(self._random)

    # Requests.

    def request(self, waiter: Waiter, now: float) -> Outcome:
        """A request wants slots: granted now, or it waits.

        One that waited before gets its old place, however many wait by now.

        :raises QueueFull: it would have to wait and there is no room.
        """
        new = waiter.place < 0
        self._queue.enter(waiter)
        outcome = self._outcome(now)
        full = len(self._queue) > self._waiting_limit
        # Others are granted something now when another upstream is kept for the head of the line
        # than before; as the line moves, it is let in.
        if new and waiter.waiting and full and not outcome.grants:
            self._queue.leave(waiter)
            raise QueueFull(self._waiting_limit, self.retry_after())
        if waiter.waiting:
            self._queue.stay(waiter)
        return outcome

    def grant_at_once(self, waiter: Waiter, now: float) -> Lease | None:
        """Slots for a request while nobody waits; None: it has to come into line.

        The same as `request` would give it, at a fraction of the cost.
        """
        if len(self._queue):
            return None
        lease = self._granting.grant_one(waiter, now)
        if lease is not None:
            # It may come back to it.
            self._queue.give_place(waiter)
        return lease

    def cancel(self, waiter: Waiter, now: float) -> Outcome:
        """A waiter waits no more; nothing happens when it did not."""
        self._queue.leave(waiter)
        # A heavy one at the head may have kept an upstream from those behind it.
        return self._outcome(now)

    def give_up(self, waiters: Iterable[Waiter]) -> None:
        """These wait no more, and nobody else gets what was kept for one of them."""
        for waiter in waiters:
            self._queue.leave(waiter)

    def release(self, lease: Lease, now: float) -> Outcome:
        """A request has ended and its slots are free."""
        outcome = self._end(lease, now, client_left=False)
        held, mean = now - lease.granted_at, self._mean_hold
        self._mean_hold = held if mean is None else 0.95 * mean + 0.05 * held
        return outcome

    def fault(
        self,
        upstream: Upstream,
        fault: Fault,
        cause: object,
        problem: str,
        now: float,
        lease: Lease | None = None,
        waiter: Waiter | None = None,
    ) -> Outcome:
        """An upstream failed a request.

        :param cause: tells the request from others; None: it is like no other.
        :param problem: what happened, in words.
        :param lease: it ends.
        :param waiter: it goes back to its place in line; there is always room for it.
        """
        before = upstream.state
        upstream.error = problem
        if fault != "error" or not self._errors.is_its_own(cause, str(upstream.address)):
            alone = not any(u.healthy for u in self._fleet.upstreams if u is not upstream)
            upstream.trust.fault(fault, cause, now, alone=alone)
        if waiter is not None:
            self._queue.enter(waiter)
        notes = [] if upstream.forgotten else self._fleet.told(upstream, before, problem)
        if lease is not None:
            outcome = self._end(lease, now, client_left=False, notes=notes)
        else:
            if not upstream.forgotten:
                self._fleet.plan(upstream)
                self._fleet.index(upstream)
            outcome = self._outcome(now, notes)
        if waiter is not None and waiter.waiting:
            self._queue.stay(waiter)
        return outcome

    def answered(self, upstream: Upstream, now: float) -> Outcome:
        """An upstream has begun to answer a request as it should."""
        before = upstream.state
        upstream.error = None
        upstream.trust.answered()
        if upstream.forgotten:
            return Outcome()
        self._fleet.index(upstream)
        return self._outcome(now, self._fleet.told(upstream, before))

    def take_back(self, lease: Lease, now: float) -> Outcome:
        """A lease that was never used ends: its slots are free and nothing is learnt from it."""
        return self._end(lease, now, client_left=False)

    def abandon(self, lease: Lease, now: float) -> Outcome:
        """A request's client has gone and llama-server may not have noticed.

        The slots stay busy until a sample shows them idle.
        """
        return self._end(lease, now, client_left=True)

    # Time.

    @property
    def next_event(self) -> float | None:
        """When `pass_time` must be called at the latest; None: never."""
        return self._fleet.next_event

    def pass_time(self, now: float) -> Outcome:
        """Do what is due."""
        notes, doubted = self._fleet.pass_time(now)
        return attrs.evolve(self._outcome(now, notes), doubted=tuple(doubted))

    # Views.

    def agents(self) -> tuple[AgentView, ...]:
        """All agents, in the order they came."""
        return tuple(map(view_of, self._fleet.upstreams))

    def queue(self, now: float) -> QueueView:
        """The buffer."""
        first = self._queue.first()
        oldest = 0.0 if first is None else max(0.0, now - first.arrived_at)
        return QueueView(len(self._queue), 0, oldest, self._waiting_limit)

    @property
    def ever_buffered(self) -> int:
        """How many requests have ever sat in the buffer; one that is granted at once does not."""
        return self._queue.ever_stayed

    def count_buffered(self) -> int:
        """How many sat in the buffer at any time since this was last asked."""
        return self._queue.count_stayed()

    def fleet(self) -> FleetView:
        """All agents together."""
        return fleet_view(self._fleet.upstreams, len(self._queue))

    def states(self) -> dict[str, State]:
        """All agents' names, and what state each is in."""
        return {upstream.name: upstream.state for upstream in self._fleet.upstreams}

    def retry_after(self) -> int:
        """Whole seconds after which a slot is likely, from how long requests held theirs."""
        total = sum(u.total for u in self._fleet.upstreams if u.healthy)
        if self._mean_hold is None or not total:
            return RETRY_AFTER_UNKNOWN
        wait = self._mean_hold * (len(self._queue) + 1) / total
        return max(1, min(RETRY_AFTER_MOST, math.ceil(wait)))

    # Inside.

    def _end(
        self, lease: Lease, now: float, client_left: bool, notes: list[Note] | None = None
    ) -> Outcome:
        if lease.ended:
            raise ValueError("this lease was given back before")
        upstream = lease.upstream
        upstream.give_back(lease, now, client_left=client_left)
        if upstream.forgotten:
            self._fleet.drop_if_over(upstream)
        else:
            if client_left or notes is not None:
                self._fleet.plan(upstream)
            self._fleet.index(upstream)
        return self._outcome(now, notes)

    def _outcome(self, now: float, notes: list[Note] | None = None) -> Outcome:
        """Grant all that fits now that something has changed."""
        if not notes and not len(self._queue):
            return NOTHING
        grants = self._granting.grant_all(now) if len(self._queue) else ()
        return Outcome(tuple(grants), tuple(notes or ()))
