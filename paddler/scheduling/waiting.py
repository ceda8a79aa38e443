"""The buffer: requests that wait for a slot, first come first served.

Waiters are kept apart by weight, so that one which needs many slots is not looked
at again and again while lighter ones behind it can go.
"""

from __future__ import annotations

import heapq
from itertools import count

import attrs

__all__ = ["Waiter", "WaitingQueue"]


@attrs.define(eq=False)
class Waiter:
    """A request that wants slots.

    :param weight: the slots it will occupy, at most what one upstream has.
    :param arrived_at: when it came, in the caller's seconds.
    :param place: its place in line, given at the first entry and kept from then on.
    """

    weight: int
    arrived_at: float
    place: int = attrs.field(default=-1, init=False)
    #: Which of its entries counts: a waiter may leave the line and come back.
    entry: int = attrs.field(default=-1, init=False)
    #: It is in line for longer than one step.
    stays: bool = attrs.field(default=False, init=False)
    #: The last count of those who stayed that it was in.
    counted_in: int = attrs.field(default=-1, init=False)

    @property
    def waiting(self) -> bool:
        """It is in line now."""
        return self.entry >= 0


#: From this weight on all stand in one line: so few lines are looked through at each step,
#: whatever weights clients ask for.
HEAVIEST = 32

#: Place, entry and waiter: the oldest place first.
_Entry = tuple[int, int, Waiter]


@attrs.define(eq=False)
class WaitingQueue:
    """Waiters in the order of their places; every step costs at most O(log n)."""

    #: One line for each weight; the heaviest share the last.
    _lines: dict[int, list[_Entry]] = attrs.field(factory=dict, init=False)
    _numbers: count[int] = attrs.field(factory=count, init=False)
    _size: int = attrs.field(default=0, init=False)
    #: How many waiters have ever stayed in line; one that is served at once does not.
    ever_stayed: int = attrs.field(default=0, init=False)
    _count: int = attrs.field(default=0, init=False)
    _stayed: int = attrs.field(default=0, init=False)
    _dead: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return self._size

    def give_place(self, waiter: Waiter) -> None:
        """The place behind all who came so far, for one that may never come into line."""
        waiter.place = next(self._numbers)

    def enter(self, waiter: Waiter) -> None:
        """Put a waiter in line; one that was there before gets its old place."""
        waiter.entry = next(self._numbers)
        if waiter.place < 0:
            waiter.place = waiter.entry
        line = self._lines.setdefault(_line(waiter.weight), [])
        heapq.heappush(line, (waiter.place, waiter.entry, waiter))
        self._size += 1

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter out of line; nothing happens when it is not there."""
        if not waiter.waiting:
            return
        waiter.entry = -1
        self._size -= 1
        if waiter.stays:
            waiter.stays, waiter.counted_in = False, self._count
        # It stays in its heap until it comes to the top, or until too many do.
        self._dead += 1
        self._clear_top(_line(waiter.weight))
        if self._dead > 64 and self._dead > self._size:
            self._rebuild()

    def stay(self, waiter: Waiter) -> None:
        """A waiter that has come into line is not served at once."""
        self.ever_stayed += waiter.counted_in < 0
        self._stayed += waiter.counted_in != self._count
        waiter.stays, waiter.counted_in = True, self._count

    def count_stayed(self) -> int:
        """How many were in line at any time since this was last asked, each of them once."""
        stayed, self._stayed = self._stayed, self._size
        self._count += 1
        return stayed

    def first(self, lighter_than: int | None = None) -> Waiter | None:
        """Who is next, among all or among those below a weight.

        Of the heaviest only the first is looked at: none passes another.
        """
        below = None if lighter_than is None else _line(lighter_than)
        best: _Entry | None = None
        for number, line in self._lines.items():
            if below is not None and number >= below:
                continue
            if best is None or line[0] < best:
                best = line[0]
        return None if best is None else best[2]

    def _clear_top(self, number: int) -> None:
        """Keep a living waiter on top of a line, and no empty line."""
        line = self._lines[number]
        while line and not _alive(line[0]):
            heapq.heappop(line)
            self._dead -= 1
        if not line:
            del self._lines[number]

    def _rebuild(self) -> None:
        for number, line in list(self._lines.items()):
            self._lines[number] = list(filter(_alive, line))
            heapq.heapify(self._lines[number])
        self._dead = 0


def _line(weight: int) -> int:
    return min(weight, HEAVIEST)


def _alive(entry: _Entry) -> bool:
    return entry[2].entry == entry[1]
