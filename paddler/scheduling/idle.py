"""Which upstreams have idle slots, found without looking at each.

Upstreams stand in one list for each number of idle slots, so the ones with the
most are found at once, among ten as among ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, overload

import attrs

from paddler.scheduling.slots import Upstream

__all__ = ["Idle", "IdleIndex", "JoinedIdle", "OneIdle"]


class Idle(Protocol):
    """Upstreams that have idle slots."""

    def levels(self) -> Iterator[tuple[int, Sequence[Upstream]]]:
        """Idle slots and the upstreams that have so many, most first."""


@attrs.define(eq=False)
class IdleIndex:
    """Upstreams by their idle slots; one without any is not in it."""

    _levels: dict[int, list[Upstream]] = attrs.field(factory=dict, init=False)
    _standing: dict[Upstream, tuple[int, int]] = attrs.field(factory=dict, init=False)
    _most: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._standing)

    @property
    def most(self) -> int:
        """The most idle slots that one upstream has."""
        return self._most

    def put(self, upstream: Upstream, idle: int) -> None:
        """Note how many idle slots an upstream has now; 0 takes it out."""
        old = self._standing.get(upstream)
        if (old[0] if old else 0) == idle:
            return
        if old:
            self._remove(upstream, *old)
        if idle:
            level = self._levels.setdefault(idle, [])
            self._standing[upstream] = (idle, len(level))
            level.append(upstream)
            self._most = max(self._most, idle)
        # Last, so that it is one step where a slot of a large server is taken.
        while self._most and self._most not in self._levels:
            self._most -= 1

    def level(self, idle: int) -> Sequence[Upstream]:
        """The upstreams that have so many idle slots."""
        return self._levels.get(idle, ())

    def levels(self) -> Iterator[tuple[int, Sequence[Upstream]]]:
        """See `Idle`."""
        for idle in range(self._most, 0, -1):
            if idle in self._levels:
                yield idle, self._levels[idle]

    def _remove(self, upstream: Upstream, idle: int, place: int) -> None:
        level = self._levels[idle]
        del self._standing[upstream]
        last = level.pop()
        if last is not upstream:
            level[place] = last
            self._standing[last] = (idle, place)
        if not level:
            del self._levels[idle]


@attrs.frozen(eq=False)
class OneIdle:
    """One upstream's idle slots.

    :param counts: whether it has any to be found here.
    """

    _upstream: Upstream
    _counts: bool

    def levels(self) -> Iterator[tuple[int, Sequence[Upstream]]]:
        """See `Idle`."""
        idle = self._upstream.grantable
        if self._counts and idle:
            yield idle, (self._upstream,)


@attrs.frozen(eq=False)
class JoinedIdle:
    """Several indexes as one."""

    _indexes: tuple[IdleIndex, ...]

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
