"""What is learnt of each server from what it is sent, what its answers say and what befalls it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from random import Random

from paddler.facts import Facts
from paddler.scheduling.caches import Running, loses_cache
from paddler.scheduling.decisions import KEPT, Decision, Granted, why
from paddler.scheduling.fleet import Fleet
from paddler.scheduling.granting import Granting
from paddler.scheduling.heads import Heads, Seen
from paddler.scheduling.lines import Waiter
from paddler.scheduling.pace import Pace, Paces
from paddler.scheduling.policies import IdleSlots, Prefix
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.standing import Costs
from paddler.scheduling.waiting import WaitingQueue
from paddler.values import Report

__all__ = ["Learning"]


class Learning(Granting):
    """Grants, and remembers what follows from them.

    :param settings: of the policy.
    """

    def __init__(self, settings: Prefix, random: Random, fleet: Fleet, queue: WaitingQueue) -> None:
        super().__init__(IdleSlots(), random, fleet, queue)
        self.heads = Heads(settings.memory)
        self.paces = Paces()
        #: What is told of the last grants, where somebody asks.
        self._granted: deque[Granted] = deque(maxlen=KEPT)

    @property
    def decisions(self) -> Collection[Decision]:
        """See `Granting`."""
        return list(map(why, self._granted))

    def pace_of(self, upstream: Upstream) -> Pace | None:
        """See `Granting`."""
        return self.paces.of(upstream)

    def _give(
        self,
        waiter: Waiter,
        seen: Seen | None,
        upstream: Upstream,
        now: float,
        costs: Costs,
        *,
        fair: bool = False,
    ) -> Lease:
        """Give a request its slots, and note what its server will have."""
        lease = upstream.take(waiter.weight, now)
        self._fleet.kinds.index(upstream)
        tokens, missing, least = None, 0.0, 0.0
        if seen is not None:
            own, shared = seen.there.get(upstream) or self.heads.missing(seen, upstream)
            tokens, missing, there = seen.tokens, own + shared, seen.there
            least = missing
            if len(there) > (upstream in there):
                least = min(missing, *map(sum, there.values()))
            self.paces.sent(upstream, missing, now)
            lease.running = Running(self.heads.sent(seen, upstream), missing)
            waiter.seen = None
        told = waiter.request_id, waiter.need, waiter.arrived_at, upstream
        self._granted.append((*told, now, fair, tokens, missing, least, costs))
        return lease

    # What is told.

    def answers(self, lease: Lease, now: float) -> None:
        """See `Granting`."""
        running = lease.running
        if running is not None and not running.answers:
            running.answers = True
            self.paces.answers(lease.upstream, running.tokens, now)

    def served(self, lease: Lease, now: float, facts: Facts | None) -> None:
        """See `Granting`."""
        upstream, running = lease.upstream, lease.running
        if upstream.forgotten or lease.ended:
            return
        if facts is not None or (running is not None and running.answers):
            self.paces.ended(upstream, now - lease.granted_at)
        elif running is not None and running.held is not None:
            # It was refused, and nothing of it is there.
            self.heads.refused(running.held)
        if facts is not None:
            self.paces.learn(upstream, facts)
            # Of several prompts or answers to one, only the last says something.
            if running is not None and running.held is not None and lease.slots == 1:
                self.heads.answered(running.held, facts)

    def ended(self, lease: Lease, now: float) -> None:
        """See `Granting`."""
        running = lease.running
        if running is not None and not running.answers:
            self.paces.answers(lease.upstream, running.tokens, now)

    def hears(self, upstream: Upstream, report: Report) -> None:
        """See `Granting`."""
        if loses_cache(upstream.report, report):
            self.heads.forget(upstream)

    def lost(self, upstream: Upstream) -> None:
        """See `Granting`."""
        self.heads.forget(upstream)

    def forget(self, upstream: Upstream) -> None:
        """See `Granting`."""
        self.heads.forget(upstream)
        self.paces.forget(upstream)
