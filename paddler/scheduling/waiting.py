"""The buffer: requests that wait for a slot, a line for each need, and one order over all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import count

import attrs

from paddler.scheduling.lines import Line, Need, Waiter

__all__ = ["WaitingQueue"]


@attrs.define(eq=False)
class WaitingQueue:
    """Lines of waiters; places are given over all of them."""

    _lines: dict[Need, Line] = attrs.field(factory=dict, init=False)
    _numbers: count[int] = attrs.field(factory=count, init=False)
    #: How many wait.
    size: int = attrs.field(default=0, init=False)
    #: How many waiters have ever stayed in line; one that is served at once does not.
    ever_stayed: int = attrs.field(default=0, init=False)
    _count: int = attrs.field(default=0, init=False)
    _stayed: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return self.size

    @property
    def lines(self) -> Collection[Line]:
        """Those that somebody stands in."""
        return self._lines.values()

    def give_place(self, waiter: Waiter) -> None:
        """The place behind all who came so far, for one that may never come into line."""
        waiter.place = next(self._numbers)

    def enter(self, waiter: Waiter) -> None:
        """Put a waiter in line; one that was there before gets its old place."""
        waiter.entry = next(self._numbers)
        if waiter.place < 0:
            waiter.place = waiter.entry
        line = self._lines.get(waiter.need)
        if line is None:
            line = self._lines[waiter.need] = Line(waiter.need)
        line.put(waiter)
        self.size += 1

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter out of line; nothing happens when it is not there."""
        if not waiter.waiting:
            return
        waiter.entry = -1
        self.size -= 1
        if waiter.stays:
            waiter.stays, waiter.counted_in = False, self._count
        line = self._lines[waiter.need]
        line.take_out(waiter)
        if not line.size:
            del self._lines[waiter.need]

    def move(self, waiter: Waiter, need: Need) -> None:
        """A waiter needs something else than before; it keeps its place."""
        self.leave(waiter)
        waiter.need = need
        self.enter(waiter)
        self.stay(waiter)

    def stay(self, waiter: Waiter) -> None:
        """A waiter that has come into line is not served at once."""
        self.ever_stayed += waiter.counted_in < 0
        self._stayed += waiter.counted_in != self._count
        waiter.stays, waiter.counted_in = True, self._count

    def count_stayed(self) -> int:
        """How many were in line at any time since this was last asked, each of them once."""
        stayed, self._stayed = self._stayed, self.size
        self._count += 1
        return stayed

    def others(
        self, lines: Iterable[Line], besides: Collection[Waiter], most: int, since: float
    ) -> dict[Waiter, Line]:
        """Those in these lines, as they came, whose prices have not been looked at since then."""
        found: dict[Waiter, Line] = {}
        for line in lines:
            for waiter in line.oldest(line.size):
                if waiter.counted_at <= since and waiter not in besides:
                    found[waiter] = line
                    if len(found) >= most:
                        return found
        return found

    def first(self) -> Waiter | None:
        """Who has waited longest."""
        firsts = (line.first() for line in self._lines.values())
        return min((w for w in firsts if w is not None), key=lambda w: w.place, default=None)
