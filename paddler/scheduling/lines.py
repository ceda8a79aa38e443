"""One line of those who wait: all who need the same of an upstream, first come first served.

Waiters are kept apart by weight, so that one which needs many slots is not looked
at again and again while lighter ones behind it can go.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from itertools import islice
from typing import NamedTuple

import attrs
import msgspec

from paddler.prompts import Prompt
from paddler.scheduling.heads import Seen
from paddler.scheduling.slots import Upstream

__all__ = ["ANYTHING", "HEAVIEST", "Line", "Need", "Waiter"]


class Need(NamedTuple):
    """What an upstream must have for a request to be of use to it.

    :param model: a name that it serves; None: whatever it serves.
    :param n_ctx: tokens that a slot's context must be known to hold; 0: any will do, as far as
        is known.
    :param where: the one that it must be, as long as that is well and has the model; None: any.
    """

    model: str | None = None
    n_ctx: int = 0
    where: Upstream | None = None


#: The need of a request that any upstream will do for.
ANYTHING = Need()


class Waiter(msgspec.Struct, eq=False):
    """A request that wants slots.

    :param weight: the slots it will occupy, at most what one upstream has.
    :param arrived_at: when it came, in the caller's seconds.
    :param need: what it needs; it changes only while it is not in line.
    :param prompt: how its prompt begins; None: it has none, or nobody wants to know.
    :param request_id: the client's id for it, or ours.
    :ivar place: its place in line, given at the first entry and kept from then on.
    :ivar seen: who has how much of its prompt.
    :ivar counts_from: when it counts as having come: as much later as its prompt costs; told at
        `counted_at`.
    :ivar turn: how many will have left its line before it is its turn.
    :ivar passed_at: since when others have what was its turn; None: nobody has.
    """

    weight: int
    arrived_at: float
    need: Need = ANYTHING
    prompt: Prompt | None = None
    request_id: str = ""
    place: int = -1
    seen: Seen | None = None
    counts_from: float = 0.0
    counted_at: float = -math.inf
    turn: int = 0
    passed_at: float | None = None
    #: Which of its entries counts: a waiter may leave the line and come back.
    entry: int = -1
    #: It is in line for longer than one step.
    stays: bool = False
    #: The last count of those who stayed that it was in.
    counted_in: int = -1

    @property
    def waiting(self) -> bool:
        """It is in line now."""
        return self.entry >= 0


#: From this weight on all stand in one row: so few rows are looked through at each step,
#: whatever weights clients ask for.
HEAVIEST = 32

#: Place, entry and waiter: the oldest place first.
_Entry = tuple[int, int, Waiter]


@attrs.define(eq=False)
class Line:
    """Those who need the same, in the order of their places; every step costs at most O(log n).

    :param need: what they need.
    """

    need: Need
    size: int = attrs.field(default=0, init=False)
    #: How many have left it.
    left: int = attrs.field(default=0, init=False)
    #: The first of them if it found no room, and what is kept for it since when.
    head: Waiter | None = attrs.field(default=None, init=False)
    kept: Upstream | None = attrs.field(default=None, init=False)
    kept_since: float = attrs.field(default=-math.inf, init=False)
    #: One row for each weight; the heaviest share the last.
    _rows: dict[int, list[_Entry]] = attrs.field(factory=dict, init=False)
    #: All of them as they came into line.
    _as_they_came: OrderedDict[Waiter, None] = attrs.field(factory=OrderedDict, init=False)
    _dead: int = attrs.field(default=0, init=False)

    def put(self, waiter: Waiter) -> None:
        """Somebody comes into line, who has a place and an entry."""
        row = self._rows.setdefault(_row(waiter.weight), [])
        heapq.heappush(row, (waiter.place, waiter.entry, waiter))
        self._as_they_came[waiter] = None
        waiter.turn = self.left + self.size
        if waiter.place != waiter.entry:
            # It was here before, so that it is among the first.
            self._as_they_came.move_to_end(waiter, last=False)
            waiter.turn = self.left
        self.size += 1

    def take_out(self, waiter: Waiter) -> None:
        """Somebody who is in line has left it, and has no entry any more."""
        self.size -= 1
        self.left += 1
        del self._as_they_came[waiter]
        # It stays in its heap until it comes to the top, or until too many do.
        self._dead += 1
        self._clear_top(_row(waiter.weight))
        if self._dead > 64 and self._dead > self.size:
            self._rebuild()

    def first(self, lighter_than: int | None = None) -> Waiter | None:
        """Who is next, among all or among those below a weight.

        Of the heaviest only the first is looked at: none passes another.
        """
        below = None if lighter_than is None else _row(lighter_than)
        best: _Entry | None = None
        for number, row in self._rows.items():
            if below is not None and number >= below:
                continue
            if best is None or row[0] < best:
                best = row[0]
        return None if best is None else best[2]

    def oldest(self, most: int) -> list[Waiter]:
        """The first of them; between two that have come back the order is not told."""
        return list(islice(self._as_they_came, most))

    @property
    def waiters(self) -> list[Waiter]:
        """All of them, in no order."""
        return [entry[2] for row in self._rows.values() for entry in row if _alive(entry)]

    def _clear_top(self, number: int) -> None:
        """Keep a living waiter on top of a row, and no empty row."""
        row = self._rows[number]
        while row and not _alive(row[0]):
            heapq.heappop(row)
            self._dead -= 1
        if not row:
            del self._rows[number]

    def _rebuild(self) -> None:
        for number, row in list(self._rows.items()):
            self._rows[number] = list(filter(_alive, row))
            heapq.heapify(self._rows[number])
        self._dead = 0


def _row(weight: int) -> int:
    return min(weight, HEAVIEST)


def _alive(entry: _Entry) -> bool:
    return entry[2].entry == entry[1]
