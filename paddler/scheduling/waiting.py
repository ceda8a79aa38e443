"""The buffer: requests that wait for a slot, a line for each need, and one order over all.

Note [Places]. Who needs one upstream and no other stands in a line for that place. There may be
as many of such lines as requests, so they are not looked at one by one whenever something happens:
a line for a place is out of reach while that is well and has nothing idle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import count

import attrs

from paddler.scheduling.lines import Line, Need, Waiter
from paddler.scheduling.serving import Kinds
from paddler.scheduling.slots import Upstream

__all__ = ["WaitingQueue"]


@attrs.define(eq=False)
class WaitingQueue:
    """Lines of waiters; places are given over all of them."""

    _lines: dict[Need, Line] = attrs.field(factory=dict, init=False)
    #: Those for no place, and those whose place can't serve them, which others may.
    _anywhere: dict[Need, Line] = attrs.field(factory=dict, init=False)
    #: Those for a place, by that, and the places of which it is to be told anew whether they can.
    _places: dict[Upstream, dict[Need, Line]] = attrs.field(factory=dict, init=False)
    _unsure: dict[Upstream, None] = attrs.field(factory=dict, init=False)
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

    def within_reach(self, kinds: Kinds) -> list[Line]:
        """Those for whom something may be idle: see Note [Places]."""
        while self._unsure:
            place, _ = self._unsure.popitem()
            for need, line in self._places[place].items():
                if kinds.is_there(place, need):
                    if self._anywhere.pop(need, None) is not None:
                        # What was kept for it elsewhere it can't use any more.
                        line.head = line.kept = None
                else:
                    self._anywhere[need] = line
        if not self._places:
            return list(self._anywhere.values())
        lines = dict(self._anywhere)
        for place in kinds.idle_among(self._places.keys()):
            lines.update(self._places[place])
        return list(lines.values())

    def changed(self, upstream: Upstream) -> None:
        """An upstream may serve something else than before, or nothing, or again."""
        if upstream in self._places:
            self._unsure[upstream] = None

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
            line = self._open(waiter.need)
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
            self._close(waiter.need)

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

    def _open(self, need: Need) -> Line:
        """A line that nobody stands in yet."""
        line = self._lines[need] = Line(need)
        if need.where is None:
            self._anywhere[need] = line
        else:
            self._places.setdefault(need.where, {})[need] = line
            self._unsure[need.where] = None
        return line

    def _close(self, need: Need) -> None:
        """Nobody stands in a line any more."""
        del self._lines[need]
        self._anywhere.pop(need, None)
        where = need.where
        if where is not None:
            del self._places[where][need]
            if not self._places[where]:
                del self._places[where]
                self._unsure.pop(where, None)
