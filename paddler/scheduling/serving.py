"""Which upstreams can serve what, and their idle slots, found without looking at each.

Upstreams that serve the same are of one kind, and each kind has its indexes. A fleet has few
kinds, however many upstreams and names there are; so what a need can be served by is a few
kinds, and a change of one upstream's slots is a change in one place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, KeysView
from itertools import chain

import attrs

from paddler.scheduling.idle import Idle, IdleIndex, JoinedIdle, OneIdle
from paddler.scheduling.lines import Need
from paddler.scheduling.slots import Upstream
from paddler.values import Report

__all__ = ["Kind", "Kinds", "Servers"]

#: Needs of which it is remembered what serves them.
REMEMBERED = 4096

#: The names of each model, what a context holds, and whether it is a router.
_Key = tuple[tuple[tuple[str, ...], ...], int | None, bool]


@attrs.define(eq=False)
class Kind:
    """Upstreams that serve the same models, with contexts of the same size.

    :param models: the names of each of them, its id first.
    :param n_ctx: tokens that a slot's context holds; None: not known.
    :param router: they take no request that names no model.
    """

    models: tuple[tuple[str, ...], ...]
    n_ctx: int | None
    router: bool
    key: _Key = attrs.field(init=False)
    names: frozenset[str] = attrs.field(init=False)
    upstreams: dict[Upstream, None] = attrs.field(factory=dict, init=False)
    #: Idle slots of awake upstreams, and of sleeping ones, which a request has to wake first.
    awake: IdleIndex = attrs.field(factory=IdleIndex, init=False)
    asleep: IdleIndex = attrs.field(factory=IdleIndex, init=False)

    def __attrs_post_init__(self) -> None:
        self.key = self.models, self.n_ctx, self.router
        self.names = frozenset(chain.from_iterable(self.models))

    def serves(self, need: Need) -> bool:
        """Whether they are of use to a request with that need."""
        if need.model is not None and need.model not in self.names:
            return False
        return not need.n_ctx or (self.n_ctx is not None and need.n_ctx <= self.n_ctx)


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

    def __len__(self) -> int:
        if len(self.kinds) == 1:
            return len(self.kinds[0].upstreams)
        return sum(len(kind.upstreams) for kind in self.kinds)

    @property
    def largest_context(self) -> int:
        """Tokens that the largest context holds; 0: that is not known."""
        return max((kind.n_ctx or 0 for kind in self.kinds), default=0)

    @property
    def some_idle(self) -> bool:
        """One of them has an idle slot."""
        return any(len(kind.awake) or len(kind.asleep) for kind in self.kinds)

    def have(self, upstream: Upstream) -> bool:
        """Whether an upstream is one of them."""
        kinds = self.kinds
        if len(kinds) == 1:
            return upstream in kinds[0].upstreams
        return any(upstream in kind.upstreams for kind in kinds)

    @property
    def upstreams(self) -> Iterator[Upstream]:
        """Each of them, with room or without."""
        return chain.from_iterable(kind.upstreams for kind in self.kinds)


@attrs.define(eq=False)
class OneServer(Servers):
    """The only one that can serve a need."""

    upstream: Upstream

    def __attrs_post_init__(self) -> None:
        asleep = self.upstream.asleep
        self.awake = OneIdle(self.upstream, not asleep)
        self.asleep = OneIdle(self.upstream, asleep)

    def __len__(self) -> int:
        return 1

    @property
    def some_idle(self) -> bool:
        """See `Servers`."""
        return self.upstream.grantable > 0

    def have(self, upstream: Upstream) -> bool:
        """See `Servers`."""
        return upstream is self.upstream

    @property
    def upstreams(self) -> Iterator[Upstream]:
        """See `Servers`."""
        return iter((self.upstream,))


@attrs.define(eq=False)
class Kinds:
    """The kinds of upstreams that there are."""

    _kinds: dict[_Key, Kind] = attrs.field(factory=dict, init=False)
    _kind_of: dict[Upstream, Kind] = attrs.field(factory=dict, init=False)
    _servers: dict[Need, Servers] = attrs.field(factory=dict, init=False)
    #: Another whenever an upstream is new, or serves something else than before.
    version: int = attrs.field(default=0, init=False)

    @property
    def all(self) -> Collection[Kind]:
        """Every kind."""
        return self._kinds.values()

    @property
    def some(self) -> bool:
        """There are upstreams."""
        return bool(self._kinds)

    @property
    def ids(self) -> Iterator[str]:
        """The id of each model that is served, once."""
        models = chain.from_iterable(kind.models for kind in self._kinds.values())
        return iter(dict.fromkeys(names[0] for names in models))

    @property
    def one_model(self) -> bool:
        """All that is served has a name in common; also where it is not known what is.

        To a router names mean something, even if it has one model.
        """
        if any(kind.router for kind in self._kinds.values()):
            return False
        models = list(chain.from_iterable(kind.models for kind in self._kinds.values()))
        return not models or bool(frozenset(models[0]).intersection(*models[1:]))

    @property
    def reports(self) -> Iterator[Report]:
        """A report of each kind."""
        return (next(iter(kind.upstreams)).report for kind in self._kinds.values())

    def serve_model(self, name: str) -> bool:
        """Whether some upstream has a model of that name."""
        return any(name in kind.names for kind in self._kinds.values())

    def put(self, upstream: Upstream) -> None:
        """An upstream is new, or what it serves may be other than before."""
        key = _key_of(upstream.report)
        before = self._kind_of.get(upstream)
        if before is not None:
            if before.key == key:
                return
            self.take_out(upstream)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(*key)
            self._servers.clear()
        kind.upstreams[upstream] = None
        self._kind_of[upstream] = kind
        self.version += 1

    def take_out(self, upstream: Upstream) -> None:
        """An upstream is no more; nothing happens when it was not here."""
        kind = self._kind_of.pop(upstream, None)
        if kind is None:
            return
        kind.awake.put(upstream, 0)
        kind.asleep.put(upstream, 0)
        del kind.upstreams[upstream]
        if not kind.upstreams:
            del self._kinds[kind.key]
            self._servers.clear()

    def index(self, upstream: Upstream) -> None:
        """Keep the indexes of idle slots true after a change."""
        kind, idle = self._kind_of[upstream], upstream.grantable
        if not (upstream.report.sleeping or kind.asleep.most):
            kind.awake.put(upstream, idle)
            return
        awake, asleep = (0, idle) if upstream.report.sleeping else (idle, 0)
        kind.awake.put(upstream, awake)
        kind.asleep.put(upstream, asleep)

    def serve(self, upstream: Upstream, need: Need) -> bool:
        """Whether an upstream can serve a need."""
        where = need.where
        if where is not None and where is not upstream and self.is_there(where, need):
            return False
        kind = self._kind_of.get(upstream)
        return kind is not None and kind.serves(need)

    def idle_among(self, upstreams: KeysView[Upstream]) -> list[Upstream]:
        """Those of these that have idle slots, found without looking at each."""
        found: set[Upstream] = set()
        for kind in self._kinds.values():
            found |= upstreams & kind.awake.having
            found |= upstreams & kind.asleep.having
        return sorted(found, key=lambda upstream: upstream.name)

    def is_there(self, where: Upstream, need: Need) -> bool:
        """Whether the one that a need is for can serve it."""
        return where.healthy and where in self._kind_of and self._kind_of[where].serves(need)

    def larger(self, need: Need, n_ctx: int) -> Need | None:
        """The same need with a larger context; None: no upstream has one and may be sent to.

        It is told by the sizes of contexts that there are, so that there are few of such needs.
        """
        sizes = (kind.n_ctx for kind in self._kinds.values())
        below = max((size for size in sizes if size is not None and size < n_ctx), default=0)
        larger = Need(need.model, max(need.n_ctx, below + 1))
        gone = ("draining", "stale")
        there = any(u.state not in gone for u in self.servers(larger).upstreams)
        return larger if there else None

    def servers(self, need: Need) -> Servers:
        """What can serve a need."""
        if need.where is not None:
            if self.is_there(need.where, need):
                return OneServer((self._kind_of[need.where],), need.where)
            need = need._replace(where=None)
        found = self._servers.get(need)
        if found is None:
            if len(self._servers) >= REMEMBERED:
                self._servers.clear()
            kinds = tuple(kind for kind in self._kinds.values() if kind.serves(need))
            if need.model is None:
                # A router says best itself that it must be told a model.
                kinds = tuple(kind for kind in kinds if not kind.router) or kinds
            found = self._servers[need] = Servers(kinds)
        return found


def _key_of(report: Report) -> _Key:
    return tuple(model.names for model in report.served), report.n_ctx, report.router
