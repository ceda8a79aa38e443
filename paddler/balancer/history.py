"""The last fifteen minutes, in points of five seconds, kept in memory.

Holds so many points and no more, however many requests there are. Time is an argument;
the service below it is what looks at a clock.
"""

from __future__ import annotations

import math
from collections import deque

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime

from paddler.balancer.accounts import Finished, Retry
from paddler.balancer.admission import Admission
from paddler.balancer.ticks import Ticks

__all__ = ["POINTS", "STEP", "Durations", "History", "HistoryService", "Point"]

#: Seconds of a point, and how many points are kept.
STEP = 5
POINTS = 180
#: Seconds from one look at the fleet to the next: a point tells of more than one moment.
LOOK_EVERY = 1.0
#: The shortest duration that is told from shorter ones, in seconds, and how much longer the next
#: one is.
SHORTEST = 0.001
GROWTH = 1.05
_LOG_GROWTH = math.log(GROWTH)


@attrs.frozen
class Point:
    """Five seconds.

    :param time: when they ended, Unix seconds.
    :param slots_processing: slots in use, the mean.
    :param slots_total: slots in all at their end.
    :param requests_waiting: the most at a time.
    :param oldest_wait_seconds: the longest that one of those had waited.
    :param requests: how many were answered.
    :param ttfb_p50: time to first byte of those that were served by a slot: half were faster.
        None: there were none.
    :param ttfb_p95: 95 of 100 were faster.
    :param errors: answers by their status of 400 and up; `cut`: those that ended too early;
        `other`: those whose status is none of HTTP's.
    :param prompt_tokens: of prompts whose answers said what was cached.
    :param cached_tokens: those of them that were.
    """

    time: int
    slots_processing: float
    slots_total: int
    requests_waiting: int
    oldest_wait_seconds: float
    requests: int
    ttfb_p50: float | None
    ttfb_p95: float | None
    errors: dict[str, int]
    prompt_tokens: int = 0
    cached_tokens: int = 0


@attrs.define(eq=False)
class Durations:
    """Durations, of which the share below a value is known within some percent."""

    _counts: dict[int, int] = attrs.field(factory=dict, init=False)
    _total: int = attrs.field(default=0, init=False)

    def add(self, seconds: float) -> None:
        """Take one in."""
        longer = seconds / SHORTEST
        step = round(math.log(longer) / _LOG_GROWTH) if longer > 1.0 else 0
        self._counts[step] = self._counts.get(step, 0) + 1
        self._total += 1

    def quantile(self, share: float) -> float | None:
        """What this share of them does not exceed; None: there are none."""
        below = 0
        for step in sorted(self._counts):
            below += self._counts[step]
            if below >= share * self._total:
                return float(f"{SHORTEST * GROWTH**step:.3g}")
        return None


@attrs.define(eq=False)
class _Growing:
    """The point that is not over yet."""

    processing: list[int] = attrs.field(factory=list, init=False)
    total: int = attrs.field(default=0, init=False)
    waiting: int = attrs.field(default=0, init=False)
    oldest: float = attrs.field(default=0.0, init=False)
    requests: int = attrs.field(default=0, init=False)
    first_bytes: Durations = attrs.field(factory=Durations, init=False)
    errors: dict[str, int] = attrs.field(factory=dict, init=False)
    prompt_tokens: int = attrs.field(default=0, init=False)
    cached_tokens: int = attrs.field(default=0, init=False)

    def point(self, time: int) -> Point:
        """It is over."""
        return Point(
            time=time,
            slots_processing=round(sum(self.processing) / max(1, len(self.processing)), 2),
            slots_total=self.total,
            requests_waiting=self.waiting,
            oldest_wait_seconds=round(self.oldest, 3),
            requests=self.requests,
            ttfb_p50=self.first_bytes.quantile(0.5),
            ttfb_p95=self.first_bytes.quantile(0.95),
            errors=self.errors,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
        )


@attrs.define(eq=False)
class History:
    """Points, the oldest first; a `Ledger`."""

    _points: deque[Point] = attrs.field(factory=lambda: deque(maxlen=POINTS), init=False)
    _growing: _Growing = attrs.field(factory=_Growing, init=False)
    #: When the growing point ends; None: nothing was looked at yet.
    _ends: int | None = attrs.field(default=None, init=False)

    @property
    def points(self) -> tuple[Point, ...]:
        """Those that are over."""
        return tuple(self._points)

    def finished(self, request: Finished) -> None:
        """See `Ledger`."""
        growing = self._growing
        if request.code:
            growing.requests += 1
        if request.cut or (request.code and not request.good):
            word = "cut" if request.cut else request.status
            growing.errors[word] = growing.errors.get(word, 0) + 1
        elif request.waited is not None and request.first_byte is not None:
            growing.first_bytes.add(request.first_byte)
        facts = request.facts
        if facts is not None and facts.evaluated is not None:
            growing.prompt_tokens += facts.cached + facts.evaluated
            growing.cached_tokens += facts.cached

    def retried(self, reason: Retry) -> None:
        """See `Ledger`; the request has not ended."""

    def look(
        self, now: float, *, processing: int, total: int, waiting: int, oldest_wait: float
    ) -> None:
        """How it stands now.

        :param now: Unix seconds.
        :param processing: slots in use.
        :param total: slots in all.
        :param waiting: requests in the buffer.
        :param oldest_wait: seconds that the first of them has waited.
        """
        ends = (math.floor(now) // STEP + 1) * STEP
        if self._ends is not None and ends != self._ends:
            # The clock may have been set back.
            while self._points and self._points[-1].time >= self._ends:
                self._points.pop()
            self._points.append(self._growing.point(self._ends))
            self._growing = _Growing()
        self._ends = ends
        growing = self._growing
        growing.processing.append(processing)
        growing.total = total
        growing.waiting = max(growing.waiting, waiting)
        growing.oldest = max(growing.oldest, oldest_wait)

    def to_json(self) -> bytes:
        """As the API shows it."""
        return msgspec.json.encode({"points": self.points})


class HistoryService(Ticks):
    """Looks at the fleet once a second.

    :param clock: the time, in Unix seconds.
    :param admission: knows how it stands.
    :param history: is told.
    """

    def __init__(self, clock: IReactorTime, admission: Admission, history: History) -> None:
        super().__init__(clock, LOOK_EVERY, "looking at the fleet for the history", self._look)
        self._admission = admission
        self._history = history

    def _look(self) -> None:
        fleet, queue = self._admission.fleet(), self._admission.queue()
        self._history.look(
            self._clock.seconds(),
            processing=fleet.slots_processing,
            total=fleet.slots_total,
            waiting=fleet.requests_waiting,
            oldest_wait=queue.oldest_wait_seconds,
        )
