"""The one object that says who gets which slot.

It holds the upstreams, their slots, the leases and the waiters, and knows of
nothing else: no I/O, no Deferred, no clock. Its methods take `now` and return what
follows: leases for waiters, and notes for the log. Its owner (`paddler.balancer.admission`)
carries that out and calls `pass_time` when `next_event` says so.

Note [Slots are taken and given back once]. A lease is made by `_grant` alone, in the same
step that finds the slot free, and ended by `release` or `abandon`, once. Reports
never touch it. So what is in flight is exactly what was promised, whatever agents say.

Note [A heavy request can't starve]. Those behind the head of the line pass it only on upstreams
that it does not wait for: while it finds no room, the upstream nearest to having it
is kept for it.
"""

from __future__ import annotations

import math
from random import Random

import attrs

from paddler.errors import QueueFull
from paddler.scheduling.fleet import Fleet
from paddler.scheduling.notes import Note, note
from paddler.scheduling.policies import Policy
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.views import AgentView, FleetView, QueueView, view_of
from paddler.scheduling.waiting import Waiter, WaitingQueue
from paddler.values import Report

__all__ = ["Grant", "Outcome", "Scheduler"]

#: Seconds that a client is told to wait when nothing is known of how long requests take.
RETRY_AFTER_UNKNOWN = 5
RETRY_AFTER_MOST = 60


@attrs.frozen
class Grant:
    """A waiter gets its lease."""

    waiter: Waiter
    lease: Lease


@attrs.frozen
class Outcome:
    """What follows from an event."""

    grants: tuple[Grant, ...] = ()
    notes: tuple[Note, ...] = ()


@attrs.define(eq=False)
class Scheduler:
    """Upstreams, leases and waiters.

    :param policy: chooses among upstreams with room.
    :param random: decides between equals.
    :param waiting_limit: the most requests that may wait.
    :param missed_allowed: reports an agent may miss before it is stale.
    """

    _policy: Policy
    _random: Random
    _waiting_limit: int
    _missed_allowed: int
    _fleet: Fleet = attrs.field(init=False)
    _queue: WaitingQueue = attrs.field(factory=WaitingQueue, init=False)
    _reserved: Upstream | None = attrs.field(default=None, init=False)
    _mean_hold: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._fleet = Fleet(self._missed_allowed)

    # Agents.

    def report(self, agent_id: str, report: Report, now: float) -> Outcome:
        """An agent reports; a new one joins."""
        return self._outcome(now, self._fleet.hear(agent_id, report, now))

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
        if new and waiter.waiting and len(self._queue) > self._waiting_limit:
            self._queue.leave(waiter)
            # All that fitted before it came was granted before it came.
            assert not outcome.grants
            raise QueueFull(self._waiting_limit, self.retry_after())
        return outcome

    def cancel(self, waiter: Waiter, now: float) -> Outcome:
        """A waiter waits no more; nothing happens when it did not."""
        self._queue.leave(waiter)
        # A heavy one at the head may have kept an upstream from those behind it.
        return self._outcome(now)

    def release(self, lease: Lease, now: float, problem: str | None = None) -> Outcome:
        """A request has ended and its slots are free.

        :param problem: what went wrong with the llama-server, if something did.
        """
        lease.upstream.error = problem
        if problem is None:
            held, mean = now - lease.granted_at, self._mean_hold
            self._mean_hold = held if mean is None else 0.95 * mean + 0.05 * held
        return self._end(lease, now, client_left=False)

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
        return self._outcome(now, self._fleet.pass_time(now))

    # Views.

    def agents(self) -> tuple[AgentView, ...]:
        """All agents, in the order they came."""
        return tuple(map(view_of, self._fleet.upstreams))

    def queue(self, now: float) -> QueueView:
        """The buffer."""
        first = self._queue.first()
        oldest = 0.0 if first is None else max(0.0, now - first.arrived_at)
        return QueueView(len(self._queue), self._queue.bytes, oldest, self._waiting_limit)

    def fleet(self) -> FleetView:
        """All agents together."""
        upstreams = self._fleet.upstreams
        return FleetView(
            agents=len(upstreams),
            slots_total=sum(u.total for u in upstreams),
            slots_idle=sum(u.free for u in upstreams if u.state == "ready"),
            slots_processing=sum(u.processing for u in upstreams),
            requests_waiting=len(self._queue),
        )

    def retry_after(self) -> int:
        """Whole seconds after which a slot is likely, from how long requests held theirs."""
        total = sum(u.total for u in self._fleet.upstreams if u.healthy)
        if self._mean_hold is None or not total:
            return RETRY_AFTER_UNKNOWN
        wait = self._mean_hold * (len(self._queue) + 1) / total
        return max(1, min(RETRY_AFTER_MOST, math.ceil(wait)))

    # Inside.

    def _end(self, lease: Lease, now: float, client_left: bool) -> Outcome:
        if lease.ended:
            raise ValueError("this lease was given back before")
        upstream = lease.upstream
        upstream.give_back(lease, now, client_left=client_left)
        if upstream.forgotten:
            self._fleet.drop_if_over(upstream)
            return Outcome()
        self._fleet.plan(upstream)
        self._fleet.index(upstream)
        return self._outcome(now)

    def _outcome(self, now: float, notes: list[Note] | None = None) -> Outcome:
        """Grant all that fits now that something has changed."""
        grants = self._grant(now) if len(self._queue) else ()
        return Outcome(tuple(grants), tuple(notes or ()))

    def _grant(self, now: float) -> list[Grant]:
        """Leases for all who now fit, in their order."""
        grants: list[Grant] = []
        reserved: Upstream | None = None
        lighter_than: int | None = None
        while (waiter := self._queue.first(lighter_than)) is not None:
            upstream = self._choose(waiter.weight, reserved)
            if upstream is not None:
                self._queue.leave(waiter)
                grants.append(Grant(waiter, upstream.take(waiter.weight, now)))
                self._fleet.index(upstream)
                continue
            if lighter_than is None and waiter.weight > 1:
                reserved = self._nearest(waiter.weight)
            # Whatever weighs as much or more finds no room either.
            lighter_than = waiter.weight
        self._reserved = reserved
        return grants

    def _choose(self, weight: int, avoid: Upstream | None) -> Upstream | None:
        """An awake upstream; else one that the request wakes."""
        fleet, choose = self._fleet, self._policy.choose
        return choose(weight, fleet.awake, avoid, self._random) or choose(
            weight, fleet.asleep, avoid, self._random
        )

    def _nearest(self, weight: int) -> Upstream | None:
        """The upstream that lacks the fewest slots for that weight.

        Between equals the one reserved before, so that a reservation moves only to get
        nearer its end.
        """
        return min(
            (u for u in self._fleet.upstreams if u.healthy),
            key=lambda u: (u.cost(weight) - u.free, u is not self._reserved),
            default=None,
        )
