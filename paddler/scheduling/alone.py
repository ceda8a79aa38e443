"""Where a prompt goes while nobody else waits: the same choice as `Round` makes, found at once.

Nothing is made for one request that others could have use of: those that can matter to it are
looked at, each once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

import attrs

from paddler.scheduling.heads import Heads, Seen
from paddler.scheduling.pace import Paces
from paddler.scheduling.serving import Servers
from paddler.scheduling.slots import Upstream
from paddler.scheduling.standing import FEW, IDLEST, UNKNOWN, Costs

__all__ = ["Alone"]


@attrs.define(eq=False)
class Alone:
    """A request for one slot, and who could have it.

    :param seen: what is known of its prompt.
    :ivar best: where it costs least; None: nobody was found.
    :ivar waits: it had better wait, for one that is full costs less.
    :ivar costs: of the best.
    """

    _seen: Seen
    _heads: Heads
    _paces: Paces
    _now: float
    best: Upstream | None = attrs.field(default=None, init=False)
    waits: bool = attrs.field(default=False, init=False)
    costs: Costs = attrs.field(default=UNKNOWN, init=False)

    def choose(self, servers: Servers, random: Random) -> None:
        """Look at those that can serve it."""
        heads, seen = self._heads, self._seen
        holders = heads.holders(seen)
        if len(holders) == 1 and self._clear(holders[0], servers):
            return
        looked = self._idlest(servers, random)
        if not looked:
            return
        least, after, other = self._cheapest(looked, random)
        # Those that are full, and with many servers those that have it.
        others: Iterable[Upstream] = holders
        if len(servers) <= FEW:
            others = servers.upstreams if len(looked) < len(servers) else ()
        for upstream in others:
            if upstream in looked or not servers.have(upstream):
                continue
            price, free = self._price_of(upstream)
            if price < least and (free or upstream.healthy):
                least, after, other = price, least, self.best
                self.best, self.waits = upstream, not free
            elif price < after:
                after, other = price, upstream
        self.costs = (least, None, None) if other is None else (least, after, other)

    def _clear(self, upstream: Upstream, servers: Servers) -> bool:
        """Whether one has so much of it that nowhere else it could cost less."""
        if not servers.have(upstream) or upstream.asleep:
            return False
        price, free = self._price_of(upstream)
        if not free:
            return False
        fastest = self._paces.fastest
        elsewhere = self._heads.least_elsewhere(self._seen, upstream)
        if price * fastest >= elsewhere:
            return False
        self.best, self.costs = upstream, (price, elsewhere / fastest, None)
        return True

    def _idlest(self, servers: Servers, random: Random) -> dict[Upstream, int]:
        """Those with most idle slots, and how many; of very many equals they begin anywhere."""
        most = FEW if len(servers) <= FEW else IDLEST
        found: dict[Upstream, int] = {}
        for free, upstreams in servers.awake.levels():
            count, left = len(upstreams), most - len(found)
            if count <= left:
                for upstream in upstreams:
                    found[upstream] = free
                continue
            begin = int(random.random() * count)
            for place in range(begin, begin + left):
                found[upstreams[place % count]] = free
            break
        return found

    def _cheapest(
        self, looked: dict[Upstream, int], random: Random
    ) -> tuple[float, float, Upstream | None]:
        """The best of those with room: what it costs there, and at the next best.

        Between equals most idle slots decide, then chance.
        """
        seen, now, paces = self._seen, self._now, self._paces
        missing, there, of = self._heads.missing, seen.there, paces.of
        least = after = math.inf
        best: Upstream | None = None
        other: Upstream | None = None
        most = equals = 0
        for upstream, free in looked.items():
            own, shared = there.get(upstream) or missing(seen, upstream)
            pace = of(upstream)
            price = ((1 + upstream.total - free) * own + shared) / (pace.speed or paces.unknown)
            if pace.until > now:
                price += pace.until - now
            if price > least or (price == least and free < most):
                if price < after:
                    after, other = price, upstream
                continue
            if price == least and free == most:
                equals += 1
                if random.random() * equals >= 1:
                    after, other = price, upstream
                    continue
            else:
                equals = 1
            after, other = least, best
            least, most, best = price, free, upstream
        self.best = best
        return least, after, other

    def _price_of(self, upstream: Upstream) -> tuple[float, int]:
        """What it costs at one that may have no room, with the wait, and its idle slots."""
        paces, free = self._paces, upstream.grantable
        pace = paces.of(upstream)
        own, shared = self._heads.missing(self._seen, upstream)
        price = ((1 + upstream.processing) * own + shared) / (pace.speed or paces.unknown)
        wait = max(0.0, pace.until - self._now)
        if not free:
            wait = max(wait, paces.hold(pace) / max(1, upstream.total))
        return price + wait, free
