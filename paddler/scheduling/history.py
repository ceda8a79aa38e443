"""What one number was, over the last seconds.

A report tells how many slots were busy some time ago. To find out how many of
them were not ours, it must be held against our own count at that time.
"""

from __future__ import annotations

from collections import deque

import attrs

__all__ = ["SPAN", "CountHistory", "grain_of"]

#: Seconds that are remembered: samples come at least every few seconds.
SPAN = 15.0
#: Seconds in which only the largest and the last value are told apart, so that memory
#: is bounded however often the number changes.
GRAIN = 0.05


def grain_of(moment: float) -> int:
    """The number of the grain that a moment is in."""
    return int(moment / GRAIN)


@attrs.define
class _Stretch:
    """One grain of time in which the number changed."""

    index: int
    most: int
    last: int


@attrs.define(eq=False)
class CountHistory:
    """A number and what it was before, at most `SPAN` seconds back."""

    _stretches: deque[_Stretch] = attrs.field(factory=deque, init=False)
    _before: int = attrs.field(default=0, init=False)

    def put(self, count: int, now: float) -> None:
        """The number is `count` from `now` on."""
        index = int(now / GRAIN)
        stretches = self._stretches
        if stretches:
            newest = stretches[-1]
            # A clock that was set back must not bring the order into disorder.
            if index <= newest.index:
                if count > newest.most:
                    newest.most = count
                newest.last = count
                return
        previous = stretches[-1].last if stretches else self._before
        stretches.append(_Stretch(index, max(previous, count), count))
        oldest = index - int(SPAN / GRAIN)
        while stretches[0].index < oldest:
            self._before = stretches.popleft().last

    def most_between(self, since: float, until: float) -> int:
        """The largest it was from `since` to `until`; at most a grain more on each side."""
        first, last = grain_of(since), grain_of(until)
        most = 0
        for stretch in reversed(self._stretches):
            if stretch.index > last:
                continue
            if stretch.index < first:
                return max(most, stretch.last)
            most = max(most, stretch.most)
        return max(most, self._before)
