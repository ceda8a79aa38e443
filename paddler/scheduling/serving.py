"""Which upstreams can serve what, and their idle slots, found without looking at each.

Upstreams that serve the same are of one kind, and each kind has its indexes. A fleet has few
kinds, however many upstreams and names there are; so what a need can be served by is a few
kinds, and a change of one upstream's slots is a change in one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import attrs

from paddler.scheduling.idle import Idle, IdleIndex, JoinedIdle
from paddler.scheduling.lines import Need
from paddler.scheduling.slots import Upstream
from paddler.values import Report

__all__ = ["Kind", "Kinds", "Servers"]

#: Needs of which it is remembered what serves them.
REMEMBERED = 4096

_Key = tuple[tuple[str, ...], int | None]


@attrs.define(eq=False)
class Kind:
    """Upstreams that serve the same models, with contexts of the same size.

    :param models: the names of what they serve.
    :param n_ctx: tokens that a slot's context holds; None: not known.
    """

    models: frozenset[str]
    n_ctx: int | None
    upstreams: dict[Upstream, None] = attrs.field(factory=dict, init=False)
    #: Idle slots of awake upstreams, and of sleeping ones, which a request has to wake first.
    awake: IdleIndex = attrs.field(factory=IdleIndex, init=False)
    asleep: IdleIndex = attrs.field(factory=IdleIndex, init=False)

    def serves(self, need: Need) -> bool:
        """Whether they are of use to a request with that need."""
        model, n_ctx = need
        if model is not None and model not in self.models:
            return False
        return self.n_ctx is None or n_ctx <= self.n_ctx


@attrs.define(eq=False)
class Servers:
    """All that can serve one need.

    :param awake: idle slots of those that are awake.
    :param asleep: idle slots of those that a request has to wake first.
    """

    kinds: tuple[Kind, ...]
    awake: Idle = attrs.field(init=False)
    asleep: Idle = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if len(self.kinds) == 1:
            self.awake, self.asleep = self.kinds[0].awake, self.kinds[0].asleep
        else:
            self.awake = JoinedIdle(tuple(kind.awake for kind in self.kinds))
            self.asleep = JoinedIdle(tuple(kind.asleep for kind in self.kinds))

    @property
    def upstreams(self) -> Iterator[Upstream]:
        """Each of them, with room or without."""
        return chain.from_iterable(kind.upstreams for kind in self.kinds)


@attrs.define(eq=False)
class Kinds:
    """The kinds of upstreams that there are."""

    _kinds: dict[_Key, Kind] = attrs.field(factory=dict, init=False)
    _of: dict[Upstream, tuple[_Key, Kind]] = attrs.field(factory=dict, init=False)
    _servers: dict[Need, Servers] = attrs.field(factory=dict, init=False)

    def put(self, upstream: Upstream) -> None:
        """An upstream is new, or what it serves may be other than before."""
        key = _key_of(upstream.report)
        before = self._of.get(upstream)
        if before is not None:
            if before[0] == key:
                return
            self.take_out(upstream)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(frozenset(key[0]), key[1])
            self._servers.clear()
        kind.upstreams[upstream] = None
        self._of[upstream] = key, kind

    def take_out(self, upstream: Upstream) -> None:
        """An upstream is no more; nothing happens when it was not here."""
        if upstream not in self._of:
            return
        key, kind = self._of.pop(upstream)
        kind.awake.put(upstream, 0)
        kind.asleep.put(upstream, 0)
        del kind.upstreams[upstream]
        if not kind.upstreams:
            del self._kinds[key]
            self._servers.clear()

    def index(self, upstream: Upstream) -> None:
        """Keep the indexes of idle slots true after a change."""
        kind, idle = self._of[upstream][1], upstream.grantable
        awake, asleep = (0, idle) if upstream.report.sleeping else (idle, 0)
        kind.awake.put(upstream, awake)
        if asleep or len(kind.asleep):
            kind.asleep.put(upstream, asleep)

    def serve(self, upstream: Upstream, need: Need) -> bool:
        """Whether an upstream can serve a need."""
        of = self._of.get(upstream)
        return of is not None and of[1].serves(need)

    def servers(self, need: Need) -> Servers:
        """What can serve a need."""
        found = self._servers.get(need)
        if found is None:
            if len(self._servers) >= REMEMBERED:
                self._servers.clear()
            kinds = tuple(kind for kind in self._kinds.values() if kind.serves(need))
            found = self._servers[need] = Servers(kinds)
        return found


def _key_of(report: Report) -> _Key:
    return report.models, report.n_ctx
