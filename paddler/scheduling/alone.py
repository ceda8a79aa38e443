"""Where a prompt goes while nobody else waits: the same choice as `Round` makes, found at once.

Nothing is made for one request that others could have use of: those that can matter to it are
looked at, each once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

from paddler.scheduling.heads import Heads, Seen
from paddler.scheduling.pace import Paces
from paddler.scheduling.serving import Servers
from paddler.scheduling.slots import Upstream
from paddler.scheduling.standing import FEW, IDLEST, UNKNOWN, Costs

__all__ = ["Choice", "choose"]

#: Where it costs least, None where nobody was found; whether it has to wait there; the costs.
Choice = tuple[Upstream | None, bool, Costs]


def choose(
    seen: Seen, heads: Heads, paces: Paces, servers: Servers, random: Random, now: float
) -> Choice:
    """Choose for a request that takes one slot, among those that are awake.

    :param seen: what is known of its prompt.
    :param servers: all that can serve it.
    """
    several = len(servers)
    if several == 1:
        return _the_one(next(servers.upstreams), seen, heads, paces, now)
    only = heads.only_holder(seen)
    if only is not None and not only.report.sleeping and servers.have(only):
        price, free = _price_of(only, seen, heads, paces, now)
        if free:
            fastest = paces.fastest
            elsewhere = heads.least_elsewhere(seen, only)
            if price * fastest < elsewhere:
                # So much of it is there that nowhere else it could cost less.
                return only, False, (price, elsewhere / fastest, None)
    looked = _idlest(servers, FEW if several <= FEW else IDLEST, random)
    if not looked:
        return None, False, UNKNOWN
    best, least, after, other = _cheapest(looked, seen, heads, paces, random, now)
    waits = False
    # Those that are full too, or with many servers those that have it.
    rest: Iterable[Upstream] = ()
    if several > FEW:
        rest = heads.holders(seen)
    elif len(looked) < several:
        rest = servers.upstreams
    for upstream in rest:
        if upstream in looked or not servers.have(upstream):
            continue
        price, free = _price_of(upstream, seen, heads, paces, now)
        if not (free or upstream.healthy):
            continue
        if price < least:
            least, after, other = price, least, best
            best, waits = upstream, not free
        elif price < after:
            after, other = price, upstream
    return best, waits, (least, None, None) if other is None else (least, after, other)


def _the_one(upstream: Upstream, seen: Seen, heads: Heads, paces: Paces, now: float) -> Choice:
    """Choose where there is no other."""
    if upstream.report.sleeping:
        return None, False, UNKNOWN
    price, free = _price_of(upstream, seen, heads, paces, now)
    if free or upstream.healthy:
        return upstream, not free, (price, None, None)
    return None, False, UNKNOWN


def _idlest(servers: Servers, most: int, random: Random) -> dict[Upstream, int]:
    """Those with most idle slots, and how many; of very many equals they begin anywhere."""
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
    looked: dict[Upstream, int],
    seen: Seen,
    heads: Heads,
    paces: Paces,
    random: Random,
    now: float,
) -> tuple[Upstream | None, float, float, Upstream | None]:
    """The best of those with room and what it costs there, and the same of the next best.

    Between equals most idle slots decide, then chance.
    """
    there, missing, of, unknown = seen.there, heads.missing, paces.of, paces.unknown
    least = after = math.inf
    best: Upstream | None = None
    other: Upstream | None = None
    most = equals = 0
    for upstream, free in looked.items():
        own, shared = there.get(upstream) or missing(seen, upstream)
        pace = of(upstream)
        busy = upstream.report.slots_total - free
        price = ((1 + busy) * own + shared) / (pace.speed or unknown)
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
    return best, least, after, other


def _price_of(
    upstream: Upstream, seen: Seen, heads: Heads, paces: Paces, now: float
) -> tuple[float, int]:
    """What it costs at one that may have no room, with the wait, and its idle slots."""
    pace, free = paces.of(upstream), upstream.grantable
    own, shared = seen.there.get(upstream) or heads.missing(seen, upstream)
    busy = upstream.report.slots_total - free if free else upstream.processing
    price = ((1 + busy) * own + shared) / (pace.speed or paces.unknown)
    wait = pace.until - now if pace.until > now else 0.0
    if not free:
        wait = max(wait, paces.hold(pace) / max(1, upstream.total))
    return price + wait, free
