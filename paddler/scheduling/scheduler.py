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

from collections.abc import Iterable
from random import Random

import attrs

from paddler.errors import QueueFull
from paddler.facts import Facts
from paddler.scheduling.choosing import granting_by
from paddler.scheduling.fleet import Fleet
from paddler.scheduling.lines import ANYTHING, Need, Waiter
from paddler.scheduling.notes import Note, note
from paddler.scheduling.observed import Observed
from paddler.scheduling.outcomes import NOTHING, Grant, Outcome, Refusal
from paddler.scheduling.policies import Policy, Prefix
from paddler.scheduling.routing import Routing
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.trust import FastErrors, Fault
from paddler.values import Report

__all__ = ["Scheduler"]


@attrs.define(eq=False)
class Scheduler(Observed):
    """Upstreams, leases and waiters.

    :param policy: chooses among upstreams.
    :param random: decides between equals.
    :param waiting_limit: the most requests that may wait.
    :param missed_allowed: reports an agent may miss before it is stale.
    :param quarantine: seconds that an upstream which keeps failing is left out.
    :param routing: where models' names lead.
    """

    _policy: Policy | Prefix
    _random: Random
    _waiting_limit: int
    _missed_allowed: int
    _quarantine: float = 10.0
    _routing: Routing = attrs.field(factory=Routing)
    _errors: FastErrors = attrs.field(factory=FastErrors, init=False)

    def __attrs_post_init__(self) -> None:
        self._fleet = Fleet(self._missed_allowed, self._quarantine)
        self._granting = granting_by(self._policy, self._random, self._fleet, self._queue)
        self._fleet.on_forgotten = self._granting.forget
        self._fleet.on_changed = self._queue.changed

    # Agents.

    def report(self, agent_id: str, report: Report, now: float) -> Outcome:
        """An agent reports; a new one joins."""
        if self._fleet.hear_again(agent_id, report, now):
            return self._outcome(now)
        before = self._fleet.at(report.external)
        doubt = None if before is None else before.doubt
        if before is not None:
            self._granting.hears(before, report)
        kinds, version = self._fleet.kinds, self._fleet.kinds.version
        notes = self._fleet.hear(agent_id, report, now)
        refused: tuple[Refusal, ...] = ()
        if kinds.version != version:
            self._routing.heard(report, now)
            refused = self._routing.judge(self._queue, kinds, now)
        doubted = (before,) if before is not None and before.doubt != doubt else ()
        # Never `NOTHING` itself: something may be due earlier than before.
        return attrs.evolve(self._outcome(now, notes), refused=refused, doubted=doubted)

    def leave(self, agent_id: str, now: float) -> Outcome:
        """An agent says goodbye: forgotten at once; its running answers finish.

        :raises NoSuchAgent: nobody has that id.
        """
        upstream = self._fleet.find(agent_id)
        self._fleet.forget(upstream)
        return self._outcome(now, [note("forgotten", upstream, "its agent has left")])

    def drain(self, agent_id: str, draining: bool, now: float) -> Outcome:
        """No new requests there, or again.

        :raises NoSuchAgent: nobody has that id.
        """
        upstream = self._fleet.find(agent_id)
        before, upstream.draining = upstream.state, draining
        self._fleet.changed(upstream)
        return self._outcome(now, self._fleet.told(upstream, before))

    def any_healthy(self, model: str | None, now: float) -> Upstream | None:
        """An upstream for a request that needs no slot and never waits.

        :param model: the name of the model that it wants; None: it names none.
        :raises ModelNotFound: there is no such model.
        """
        found = self._fleet.any_healthy(self.need(model, now), self._random)
        if found is None and model not in self._routing.known:
            # Nobody has served it so far, and others may do.
            return self._fleet.any_healthy(ANYTHING, self._random)
        return found

    # Requests.

    def need(self, model: str | None, now: float) -> Need:
        """What a request for a model needs.

        :param model: the name that it gives; None: it gives none.
        :raises ModelNotFound: nobody has ever served it, and it may not go elsewhere.
        """
        return self._routing.need(model, self._fleet.kinds, now)

    def request(self, waiter: Waiter, now: float) -> Outcome:
        """A request wants slots: granted now, or it waits.

        One that waited before gets its old place, however many wait by now.

        :raises QueueFull: it would have to wait and there is no room.
        """
        new = waiter.place < 0
        self._queue.enter(waiter)
        outcome = self._outcome(now)
        full = len(self._queue) > self._waiting_limit
        # Others are granted something where another upstream is kept than before: the line moves.
        if new and waiter.waiting and full and not outcome.grants:
            self._queue.leave(waiter)
            lease = self._granting.grant_anywhere(waiter, now)
            if lease is None:
                raise QueueFull(self._waiting_limit, self.retry_after())
            return Outcome((Grant(waiter, lease),))
        if waiter.waiting:
            self._queue.stay(waiter)
        return outcome

    def grant_at_once(self, waiter: Waiter, now: float) -> Lease | None:
        """Slots for a request while nobody waits for what it needs; None: it has to come into line.

        The same as `request` would give it, at a fraction of the cost.
        """
        if self._queue.size and self._granting.others_want(waiter.need):
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

    def answers(self, lease: Lease, now: float) -> None:
        """A request's prompt has been evaluated: its answer has begun to come."""
        self._granting.answers(lease, now)

    def release(self, lease: Lease, now: float, facts: Facts | None = None) -> Outcome:
        """A request has ended and its slots are free.

        :param facts: what its answer said.
        """
        held, mean = now - lease.granted_at, self._mean_hold
        self._mean_hold = held if mean is None else 0.95 * mean + 0.05 * held
        if facts is not None or lease.running is not None:
            self._granting.served(lease, now, facts)
        return self._end(lease, now, client_left=False)

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
        :param waiter: it goes back to its place in line, where there is always room for it.
        """
        before = upstream.state
        upstream.error = problem
        if fault != "error" or not self._errors.is_its_own(cause, str(upstream.address)):
            alone = not any(u.healthy for u in self._fleet.upstreams if u is not upstream)
            upstream.trust.fault(fault, cause, now, alone=alone)
        if fault != "error":
            self._granting.lost(upstream)
        if waiter is not None:
            self._queue.enter(waiter)
        notes = [] if upstream.forgotten else self._fleet.told(upstream, before, problem)
        if lease is not None:
            outcome = self._end(lease, now, client_left=False, notes=notes)
        else:
            if not upstream.forgotten:
                self._fleet.changed(upstream)
            outcome = self._outcome(now, notes)
        if waiter is not None and waiter.waiting:
            self._queue.stay(waiter)
        return outcome

    def elsewhere(self, waiter: Waiter, lease: Lease, need: Need, now: float) -> Outcome:
        """A request goes back to its place in line, with another need; its lease ends."""
        waiter.need = need
        self._queue.enter(waiter)
        outcome = self.release(lease, now)
        if waiter.waiting:
            self._queue.stay(waiter)
        return outcome

    def answered(self, upstream: Upstream, now: float) -> Outcome:
        """An upstream has begun to answer a request as it should."""
        before = upstream.state
        upstream.error = None
        upstream.trust.answered()
        if upstream.forgotten:
            return Outcome()
        self._fleet.changed(upstream)
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
        judged_at = self._routing.judges_at(self._queue)
        events = self._fleet.next_event, judged_at, self._granting.due
        return min((at for at in events if at is not None), default=None)

    def pass_time(self, now: float) -> Outcome:
        """Do what is due."""
        notes, doubted = self._fleet.pass_time(now)
        refused: tuple[Refusal, ...] = ()
        judged_at = self._routing.judges_at(self._queue)
        if judged_at is not None and now >= judged_at:
            refused = self._routing.judge(self._queue, self._fleet.kinds, now)
        outcome = self._outcome(now, notes)
        return attrs.evolve(outcome, doubted=tuple(doubted), refused=refused)

    # Inside.

    def _end(
        self, lease: Lease, now: float, client_left: bool, notes: list[Note] | None = None
    ) -> Outcome:
        if lease.ended:
            raise ValueError("this lease was given back before")
        upstream = lease.upstream
        upstream.give_back(lease, now, client_left=client_left)
        if lease.running is not None:
            self._granting.ended(lease, now)
        if upstream.forgotten:
            self._fleet.drop_if_over(upstream)
        else:
            if client_left or notes is not None:
                self._fleet.changed(upstream)
            else:
                self._fleet.kinds.index(upstream)
        return self._outcome(now, notes)

    def _outcome(self, now: float, notes: list[Note] | None = None) -> Outcome:
        """Grant all that fits now that something has changed."""
        if not notes and not self._queue.size:
            return NOTHING
        grants = self._granting.grant_all(now) if self._queue.size else ()
        return Outcome(tuple(grants), tuple(notes or ()))
