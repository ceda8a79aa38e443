"""How upstreams stand at one moment, as far as it matters for who gets a slot there."""

from __future__ import annotations

import math
from heapq import nsmallest
from random import Random

import attrs

from paddler.scheduling.heads import Heads, Seen
from paddler.scheduling.idle import Idle
from paddler.scheduling.lines import Waiter
from paddler.scheduling.pace import Paces
from paddler.scheduling.serving import Servers
from paddler.scheduling.slots import Upstream

__all__ = ["FEW", "IDLEST", "UNKNOWN", "Costs", "Price", "Round", "Stand"]

#: Upstreams of which each is looked at once; of more, only the idlest.
FEW, IDLEST = 16, 8
#: Full ones that a prompt is priced at, of those that have none of it.
FULL = 3
#: Tokens of a prompt that tell which full ones those are.
SOME = 500
#: Seconds that waking one takes.
WAKING = 2.0
#: How many times as long as it costs elsewhere one waits, at most about, for a full one.
PATIENCE = 6.0


@attrs.define(eq=False)
class Stand:
    """One upstream.

    :param free: slots that can be granted.
    :param busy: slots that are taken.
    :param speed: tokens of a prompt that it evaluates in a second.
    :param rate: requests that it ends in a second when it is full.
    :param back: seconds until it has evaluated what it was sent.
    :ivar line: seconds for which those wait already that had better wait for it.
    """

    upstream: Upstream
    free: int
    busy: int
    speed: float
    rate: float
    back: float
    line: float = 0.0

    def has_room(self, weight: int) -> bool:
        """Whether a request can be granted its slots."""
        return self.free > 0 and self.free >= self.upstream.cost(weight)


#: Seconds that a prompt costs everybody, and at which upstream.
Price = tuple[float, Stand]

#: Seconds that a choice costs, and that the next best would have cost, at least; and which that is.
Costs = tuple[float | None, float | None, Upstream | None]
UNKNOWN: Costs = (None, None, None)


def _soon(stand: Stand) -> float:
    """Seconds after which a prompt that is new there could be evaluated."""
    return max(stand.back, 1 / stand.rate) + (1 + stand.busy) * SOME / stand.speed


@attrs.define(eq=False)
class Round:
    """One moment, in which everybody is looked at once.

    :param now: when it is.
    :param paces: how fast upstreams are.
    :param random: decides between equals.
    :ivar room: slots that can still be granted.
    :ivar costs: of what was chosen last.
    """

    _now: float
    _paces: Paces
    _random: Random
    room: int = attrs.field(default=0, init=False)
    costs: Costs = attrs.field(default=UNKNOWN, init=False)
    _stands: dict[Upstream, Stand] = attrs.field(factory=dict, init=False)
    #: Whom to look at for every request, and how many requests all of them end in a second.
    _candidates: dict[Servers, tuple[list[Stand], float]] = attrs.field(factory=dict, init=False)

    def look(self, servers: Servers) -> None:
        """Look at these upstreams: only then `room` says how much they have."""
        self._candidates_of(servers)

    def add(self, servers: Servers, upstream: Upstream) -> None:
        """Look at one more of these for every request, which has room."""
        stands, _ = self._candidates_of(servers)
        stand = self._stands.get(upstream) or self._stand(upstream, upstream.grantable, 0.0)
        if stand not in stands:
            stands.append(stand)

    def prices(
        self, seen: Seen | None, servers: Servers, heads: Heads, waiting: int
    ) -> list[Price]:
        """What a prompt costs at each upstream that it may be sent to.

        :param seen: who has how much of it; None: it has none.
        :param waiting: how many wait for these upstreams.
        """
        candidates, rate = self._candidates_of(servers)
        if seen is None:
            return [(0.0, stand) for stand in candidates]
        if seen.there:
            candidates = candidates + self._holders(seen, servers, candidates)
        share = waiting / rate if rate else 0.0
        there, elsewhere = seen.there, seen.elsewhere
        prices = []
        for stand in candidates:
            missing = there.get(stand.upstream)
            if missing is None:
                missing = elsewhere if seen.whole else heads.missing(seen, stand.upstream)
            charged = 1 + stand.busy + share * stand.rate
            prices.append(((charged * missing[0] + missing[1]) / stand.speed, stand))
        return prices

    def cheapest(
        self, waiter: Waiter, prices: list[Price], *, with_room: bool = False
    ) -> Stand | None:
        """Where price and wait are least; between equals most idle slots decide, then chance.

        Who has waited by choice for long without avail has it counted against waiting on.

        :param with_room: look only at those that have room.
        """
        weight, passed = waiter.weight, waiter.passed_at
        waited = 0.0 if passed is None else (self._now - passed) / PATIENCE
        best: list[Stand] = []
        other: Stand | None = None
        least, after = (math.inf, 0), math.inf
        for price, stand in prices:
            if stand.free >= weight or stand.has_room(weight):
                price += stand.back
            elif with_room:
                continue
            else:
                price += max(stand.back, weight / stand.rate) + stand.line + waited
            if price > least[0]:
                if price < after:
                    after, other = price, stand
                continue
            order = (price, -stand.free)
            if order < least:
                if best:
                    after, other = least[0], best[0]
                least, best = order, [stand]
            elif order == least:
                best.append(stand)
            else:
                after, other = price, stand
        if not best:
            return None
        chosen = best.pop(self._random.randrange(len(best)) if len(best) > 1 else 0)
        if best:
            after, other = least[0], best[0]
        self.costs = (least[0], after, other.upstream) if other else (least[0], None, None)
        return chosen

    def took(self, stand: Stand) -> None:
        """Slots of an upstream were granted."""
        upstream, free = stand.upstream, stand.free
        stand.free = upstream.grantable
        stand.busy = upstream.processing
        stand.back = max(0.0, self._paces.of(upstream).until - self._now)
        self.room += stand.free - free

    def stand_in_line(self, upstream: Upstream, seconds: float) -> None:
        """Somebody still waits for an upstream."""
        stand = self._stands.get(upstream)
        if stand is None:
            stand = self._stand(upstream, 0, 0.0)
        stand.line += seconds

    def keep(self, upstream: Upstream) -> None:
        """Nobody gets what an upstream has."""
        stand = self._stands.get(upstream)
        if stand is not None:
            self.room -= stand.free
            stand.free = 0

    def _candidates_of(self, servers: Servers) -> tuple[list[Stand], float]:
        found = self._candidates.get(servers)
        if found is None:
            stands = self._idlest(servers.awake, 0.0)
            if not stands:
                stands = self._idlest(servers.asleep, WAKING)
            if len(servers) <= FEW:
                stands += self._others(servers, stands)
            # Where not each is looked at, the others are as these.
            rate = sum(stand.rate for stand in stands)
            rate *= max(1.0, len(servers) / len(stands)) if stands else 0.0
            full = [stand for stand in stands if not stand.free]
            if len(full) > FULL:
                full = nsmallest(FULL, full, key=_soon)
                stands = [stand for stand in stands if stand.free] + full
            found = self._candidates[servers] = stands, rate
        return found

    def _others(self, servers: Servers, known: list[Stand]) -> list[Stand]:
        """All others that are healthy, with room or without."""
        stands = []
        for upstream in servers.upstreams:
            stand = self._stands.get(upstream)
            if stand is None:
                free = upstream.grantable
                if upstream.asleep or not (free or upstream.healthy):
                    continue
                stand = self._stand(upstream, free, 0.0)
            if stand not in known:
                stands.append(stand)
        return stands

    def _idlest(self, idle: Idle, more: float) -> list[Stand]:
        """Those with most idle slots; among equals they are the first from anywhere on."""
        stands: list[Stand] = []
        for free, upstreams in idle.levels():
            begin = self._random.randrange(len(upstreams))
            for place in range(min(len(upstreams), IDLEST - len(stands))):
                upstream = upstreams[(begin + place) % len(upstreams)]
                stands.append(self._stands.get(upstream) or self._stand(upstream, free, more))
            if len(stands) >= IDLEST:
                break
        return stands

    def _holders(self, seen: Seen, servers: Servers, known: list[Stand]) -> list[Stand]:
        """Those that have some of a prompt and are not known as candidates."""
        stands = []
        for upstream in seen.there:
            stand = self._stands.get(upstream)
            if stand is None:
                if not servers.have(upstream):
                    continue
                free = upstream.grantable
                if not free and not upstream.healthy:
                    continue
                stand = self._stand(upstream, free, 0.0)
            if stand not in known:
                stands.append(stand)
        return stands

    def _stand(self, upstream: Upstream, free: int, more: float) -> Stand:
        paces, pace = self._paces, self._paces.of(upstream)
        self.room += free
        stand = self._stands[upstream] = Stand(
            upstream,
            free,
            upstream.in_flight + upstream.foreign_busy + upstream.client_left,
            paces.speed(pace),
            upstream.total / paces.hold(pace),
            max(0.0, pace.until - self._now) + more,
        )
        return stand
