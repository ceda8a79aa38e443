"""The last fifteen minutes as the balancer tells them, in points of some seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

__all__ = ["MINUTES", "STEP", "History", "Point"]

#: How far the history reaches back.
MINUTES = 15
#: Seconds from one point to the next.
STEP = 5.0

#: In how many points, from the newest back, a time to first byte is one of now, and how many
#: of them make a rate.
_LATELY, _RATED = 12, 3


@attrs.frozen
class Point:
    """Some seconds of the past, as `GET /api/v1/history` shows them: None is not measured.

    :param time: when they ended, Unix seconds.
    """

    time: float
    slots_processing: float | None = None
    slots_total: float | None = None
    requests_waiting: float | None = None
    oldest_wait_seconds: float | None = None
    requests: float | None = None
    ttfb_p50: float | None = None
    ttfb_p95: float | None = None
    errors: Mapping[str, int] = attrs.field(factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0


@attrs.frozen
class History:
    """What is known of them.

    :param points: oldest first; there may be some missing.
    """

    points: tuple[Point, ...] = ()

    def told(self, points: Iterable[Point]) -> History:
        """With these points; what a balancer has forgotten, which was restarted, is kept."""
        new = {point.time: point for point in points}
        if not new:
            return self
        newest = max(new)  # later ones are left from before its clock was set back
        all_of = {point.time: point for point in self.points if point.time <= newest} | new
        oldest = newest - MINUTES * 60
        return History(tuple(all_of[time] for time in sorted(all_of) if time > oldest))

    def column(self, name: str, minutes: int = MINUTES) -> list[float | None]:
        """One field of the newest points; None where it is not known.

        :param minutes: how far back.
        """
        cells: list[float | None] = [None] * round(minutes * 60 / STEP)
        for point in self.points:
            at = len(cells) - 1 - round((self.points[-1].time - point.time) / STEP)
            if at >= 0:
                cells[at] = getattr(point, name)
        return cells

    @property
    def rate(self) -> float | None:
        """Requests a second, lately."""
        known = [p.requests for p in self.points[-_RATED:] if p.requests is not None]
        return sum(known) / len(known) / STEP if known else None

    @property
    def first_byte(self) -> tuple[float | None, float | None]:
        """Time to first byte, half of them and 95 of 100, the last time that there was one."""
        for point in reversed(self.points[-_LATELY:]):
            if point.ttfb_p50 is not None:
                return point.ttfb_p50, point.ttfb_p95
        return None, None

    @property
    def longest_wait(self) -> float:
        """The longest that a request has waited."""
        return max((p.oldest_wait_seconds or 0.0 for p in self.points), default=0.0)

    def cached(self, minutes: int = MINUTES) -> float | None:
        """The share of prompts' tokens that was cached; None: not known.

        :param minutes: how far back.
        """
        points = self._newest(minutes)
        tokens = sum(point.prompt_tokens for point in points)
        return sum(point.cached_tokens for point in points) / tokens if tokens else None

    def errors(self, minutes: int) -> dict[str, int]:
        """How many requests ended badly, by code.

        :param minutes: how far back.
        """
        found: dict[str, int] = {}
        for point in self._newest(minutes):
            for code, errors in point.errors.items():
                found[code] = found.get(code, 0) + errors
        return dict(sorted(found.items()))

    def _newest(self, minutes: int) -> list[Point]:
        since = self.points[-1].time - minutes * 60 if self.points else 0.0
        return [point for point in self.points if point.time > since]
