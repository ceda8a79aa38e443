"""Slots for those who wait: all who now fit, in their order.

Note [A heavy request can't starve]. Those behind the head of the line pass it only on upstreams
that it does not wait for: while it finds no room, one upstream is kept for it, the nearest
to having room. Not the nearest is one where others than us hold what it needs, for nobody
knows when they end.
"""

from __future__ import annotations

from random import Random

import attrs

from paddler.scheduling.fleet import Fleet
from paddler.scheduling.outcomes import Grant
from paddler.scheduling.policies import Policy
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.waiting import Waiter, WaitingQueue

__all__ = ["Granting"]

#: Seconds for which a choice of what is kept for the head of the line holds, while it can: to
#: choose is to look at every upstream.
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
    #: The head of the line that found no room, and what is kept for it since when.
    _head: Waiter | None = attrs.field(default=None, init=False)
    _kept: Upstream | None = attrs.field(default=None, init=False)
    _kept_since: float = attrs.field(default=0.0, init=False)

    def grant_all(self, now: float) -> list[Grant]:
        """Leases for all who now fit."""
        grants: list[Grant] = []
        kept: Upstream | None = None
        lighter_than: int | None = None
        while (waiter := self._queue.first(lighter_than)) is not None:
            upstream = self._choose(waiter.weight, kept)
            if upstream is not None:
                self._queue.leave(waiter)
                grants.append(Grant(waiter, upstream.take(waiter.weight, now)))
                self._fleet.index(upstream)
                continue
            if lighter_than is None and waiter.weight > 1:
                kept = self._keep_for(waiter, now)
            # Whatever weighs as much or more finds no room either.
            lighter_than = waiter.weight
        return grants

    def grant_one(self, weight: int, now: float) -> Lease | None:
        """A lease for a request while nobody else wants one; None: there is no room."""
        upstream = self._choose(weight, None)
        if upstream is None:
            return None
        lease = upstream.take(weight, now)
        self._fleet.index(upstream)
        return lease

    def _choose(self, weight: int, avoid: Upstream | None) -> Upstream | None:
        """An awake upstream; else one that the request wakes."""
        fleet, choose = self._fleet, self._policy.choose
        return choose(weight, fleet.awake, avoid, self._random) or choose(
            weight, fleet.asleep, avoid, self._random
        )

    def _keep_for(self, head: Waiter, now: float) -> Upstream | None:
        """The upstream that is kept for the head of the line."""
        kept = self._kept
        holds = head is self._head and now - self._kept_since < KEPT
        if not (holds and kept is not None and kept.healthy):
            self._head, self._kept_since = head, now
            self._kept = min(
                (upstream for upstream in self._fleet.upstreams if upstream.healthy),
                key=lambda upstream: self._distance(upstream, head.weight),
                default=None,
            )
        return self._kept

    def _distance(self, upstream: Upstream, weight: int) -> tuple[bool, int, bool]:
        """How far an upstream is from having room; between equals the one kept before."""
        cost = upstream.cost(weight)
        by_others = upstream.foreign_busy + upstream.client_left
        return (
            upstream.total - by_others < cost,
            cost - upstream.free,
            upstream is not self._kept,
        )
