"""Slots for those who wait: all who now fit, in the order in which they came.

Note [No line blocks another]. Who needs the same stands in one line. Who finds no room is passed
by all whom something has room for that can't serve it; who could be served by the same upstream
gets its slots in the order of arrival, whatever line each stands in.

Note [A heavy request can't starve]. Those behind the head of a line pass it only on upstreams
that it does not wait for: while it finds no room, one upstream is kept for it, the nearest
to having room. Not the nearest is one where others than us hold what it needs, for nobody
knows when they end. Those who came later and stand in other lines leave it to the head too.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from random import Random

import attrs

from paddler.facts import Facts
from paddler.scheduling.decisions import Decision
from paddler.scheduling.fleet import Fleet
from paddler.scheduling.lines import Line, Need, Waiter
from paddler.scheduling.outcomes import Grant
from paddler.scheduling.pace import Pace
from paddler.scheduling.policies import Policy
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.waiting import WaitingQueue
from paddler.values import Report

__all__ = ["Granting"]

#: Lines that are looked at one by one, for a request that might not have to come into one.
FEW = 8
#: Seconds for which a choice of what is kept for the head of a line holds, while it can: to
#: choose is to look at every upstream that can serve it.
KEPT = 1.0


@attrs.define(eq=False)
class Granting:
    """Finds room for waiters.

    :param policy: chooses among upstreams with room.
    :param random: decides between equals.
    """

    _policy: Policy
    _random: Random
    _fleet: Fleet
    _queue: WaitingQueue

    def grant_all(self, now: float) -> list[Grant]:
        """Leases for all who now fit."""
        grants: list[Grant] = []
        kept: list[Upstream] = []
        # Of each line who is to be tried next, by arrival, and below which weight it was found.
        tries: list[tuple[int, Waiter, Line, int | None]] = []

        def add(line: Line, lighter_than: int | None) -> None:
            waiter = line.first(lighter_than)
            if waiter is not None:
                heapq.heappush(tries, (waiter.place, waiter, line, lighter_than))

        for line in self._queue.within_reach(self._fleet.kinds):
            add(line, None)
        while tries:
            _, waiter, line, lighter_than = heapq.heappop(tries)
            lease = self.grant_one(waiter, now, kept)
            if lease is not None:
                self._queue.leave(waiter)
                grants.append(Grant(waiter, lease))
                add(line, lighter_than)
                continue
            if lighter_than is None and waiter.weight > 1:
                self._keep_for(line, waiter, kept, now)
            # Whatever weighs as much or more finds no room either.
            add(line, waiter.weight)
        return grants

    def others_want(self, need: Need) -> bool:
        """Whether somebody in line may want what can serve a need."""
        lines, servers = self._queue.lines, self._fleet.kinds.servers
        if len(lines) > FEW:
            return True
        wanted = servers(need).kinds
        return any(kind in wanted for line in lines for kind in servers(line.need).kinds)

    def grant_one(
        self, waiter: Waiter, now: float, kept: Collection[Upstream] = ()
    ) -> Lease | None:
        """A lease for a request; None: there is no room.

        :param kept: what is kept for others.
        """
        kinds = self._fleet.kinds
        upstream = self._policy.choose(waiter, kinds.servers(waiter.need), kept, self._random)
        if upstream is None:
            return None
        lease = upstream.take(waiter.weight, now)
        kinds.index(upstream)
        return lease

    def grant_anywhere(self, waiter: Waiter, now: float) -> Lease | None:
        """A lease, wherever there is room, for a request that can't wait; None: there is none."""
        return None  # who fits has got it already

    # What matters to those that learn.

    @property
    def decisions(self) -> Collection[Decision]:
        """Why the last requests went where they went; none where idle slots alone decide."""
        return ()

    def pace_of(self, upstream: Upstream) -> Pace | None:
        """How fast an upstream is; None: nobody wants to know."""
        return None

    @property
    def due(self) -> float | None:
        """When `grant_all` must be called at the latest; None: never."""
        return None

    def answers(self, lease: Lease, now: float) -> None:
        """A request's prompt has been evaluated: its answer has begun to come."""

    def served(self, lease: Lease, now: float, facts: Facts | None) -> None:
        """A request has had its slots to its end, and its lease is about to end.

        Not told of one that has no prompt and whose answer said nothing.

        :param facts: what the answer said.
        """

    def ended(self, lease: Lease, now: float) -> None:
        """The lease of a request with a prompt has ended."""

    def hears(self, upstream: Upstream, report: Report) -> None:
        """An upstream's agent is about to be heard."""

    def lost(self, upstream: Upstream) -> None:
        """An upstream has lost what it had evaluated."""

    def forget(self, upstream: Upstream) -> None:
        """An upstream is no more."""

    def _keep_for(self, line: Line, head: Waiter, kept: list[Upstream], now: float) -> None:
        """Keep an upstream for the head of a line, beside what is kept for others."""
        kinds, before = self._fleet.kinds, line.kept
        holds = line.head is head and now - line.kept_since < KEPT
        if (
            not holds
            or before is None
            or not before.healthy
            or before in kept
            or not kinds.serve(before, line.need)
        ):
            line.head, line.kept_since = head, now
            line.kept = min(
                (u for u in kinds.servers(line.need).upstreams if u.healthy and u not in kept),
                key=lambda upstream: _distance(upstream, head.weight, before),
                default=None,
            )
        if line.kept is not None:
            kept.append(line.kept)


def _distance(upstream: Upstream, weight: int, before: Upstream | None) -> tuple[bool, int, bool]:
    """How far an upstream is from having room; between equals the one kept before."""
    cost = upstream.cost(weight)
    by_others = upstream.foreign_busy + upstream.client_left
    return upstream.total - by_others < cost, cost - upstream.free, upstream is not before
