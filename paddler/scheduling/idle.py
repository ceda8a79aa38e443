"""Which upstreams have idle slots, found without looking at each.

Upstreams stand in one list for each number of idle slots, so the ones with the
most are found at once, among ten as among ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Sequence
from typing import Protocol, overload

import attrs

from paddler.scheduling.slots import Upstream

__all__ = ["Idle", "IdleIndex", "JoinedIdle", "OneIdle"]


class Idle(Protocol):
    """Upstreams that have idle slots."""

    @property
    def idlest(self) -> Sequence[Upstream]:
        """The upstreams that have the most idle slots."""

    def levels(self) -> Iterator[tuple[int, Sequence[Upstream]]]:
        """Idle slots and the upstreams that have so many, most first."""


@attrs.define(eq=False)
class IdleIndex:
    """Upstreams by their idle slots; one without any is not in it.

    :ivar most: the most idle slots that one upstream has.
    :ivar idlest: the upstreams that have so many.
    """

    most: int = attrs.field(default=0, init=False)
    idlest: Sequence[Upstream] = attrs.field(default=(), init=False)
    #: A list that has become empty stays.
    _levels: dict[int, list[Upstream]] = attrs.field(factory=dict, init=False)
    #: Of each its idle slots and its place in their list.
    _standing: dict[Upstream, tuple[int, int]] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._standing)

    @property
    def having(self) -> KeysView[Upstream]:
        """All that have idle slots."""
        return self._standing.keys()

    def put(self, upstream: Upstream, idle: int) -> None:
        """Note how many idle slots an upstream has now; 0 takes it out."""
        levels, standing = self._levels, self._standing
        old = standing.get(upstream)
        if old is not None:
            before, place = old
            if before == idle:
                return
            level = levels[before]
            last = level.pop()
            if last is not upstream:
                level[place] = last
                standing[last] = before, place
        elif not idle:
            return
        if idle:
            others = levels.get(idle)
            if others is None:
                others = levels[idle] = []
            standing[upstream] = idle, len(others)
            others.append(upstream)
            if idle > self.most:
                self.most, self.idlest = idle, others
        else:
            del standing[upstream]
        # Last, so that it is one step where a slot of a large server is taken.
        while self.most and not self.idlest:
            self.most -= 1
            self.idlest = levels.get(self.most, ())

    def level(self, idle: int) -> Sequence[Upstream]:
        """The upstreams that have so many idle slots."""
        return self._levels.get(idle, ())

    def levels(self) -> Iterator[tuple[int, Sequence[Upstream]]]:
        """See `Idle`."""
        left = len(self._standing)
        for idle in range(self.most, 0, -1):
            level = self._levels.get(idle)
            if level:
                left -= len(level)
                yield idle, level
                if not left:
                    break


@attrs.frozen(eq=False)
class OneIdle:
    """One upstream's idle slots.

    :param counts: whether it has any to be found here.
    """

    _upstream: Upstream
    _counts: bool

    @property
    def idlest(self) -> Sequence[Upstream]:
        """See `Idle`."""
        return (self._upstream,) if self._counts and self._upstream.grantable else ()

    def levels(self) -> Iterator[tuple[int, Sequence[Upstream]]]:
        """See `Idle`."""
        for upstream in self.idlest:
            yield upstream.grantable, (upstream,)


@attrs.frozen(eq=False)
class JoinedIdle:
    """Several indexes as one."""

    _indexes: tuple[IdleIndex, ...]

    @property
    def idlest(self) -> Sequence[Upstream]:
        """See `Idle`."""
        return next((level for _, level in self.levels()), ())

    def levels(self) -> Iterator[tuple[int, Sequence[Upstream]]]:
        """See `Idle`."""
        most = max((index.most for index in self._indexes), default=0)
        for idle in range(most, 0, -1):
            levels = [level for index in self._indexes if (level := index.level(idle))]
            if levels:
                yield idle, levels[0] if len(levels) == 1 else _Joined(levels)


@attrs.frozen(eq=False)
class _Joined(Sequence[Upstream]):
    """Several lists as one, none of them copied."""

    _parts: list[Sequence[Upstream]]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @overload
    def __getitem__(self, place: int) -> Upstream: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Upstream]: ...
    def __getitem__(self, place: int | slice) -> Upstream | Sequence[Upstream]:
        if isinstance(place, slice):
            raise TypeError("one at a time")
        for part in self._parts:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(place)
