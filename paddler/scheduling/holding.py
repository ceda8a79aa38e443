"""How long requests hold their slots, and what one that finds no room to wait is told of it."""

from __future__ import annotations

import math

import attrs

__all__ = ["Holding"]

#: Seconds that a client is told to wait when nothing is known of how long requests take.
RETRY_AFTER_UNKNOWN = 5
RETRY_AFTER_MOST = 60


@attrs.define(eq=False)
class Holding:
    """The mean time for which requests hold their slots."""

    _mean: float | None = attrs.field(default=None, init=False)

    def learn(self, seconds: float) -> None:
        """One has held its own for so long."""
        self._mean = seconds if self._mean is None else 0.95 * self._mean + 0.05 * seconds

    def retry_after(self, waiting: int, slots: int) -> int:
        """Whole seconds after which a slot is likely.

        :param waiting: how many wait already.
        :param slots: of all upstreams.
        """
        if self._mean is None or not slots:
            return RETRY_AFTER_UNKNOWN
        return max(1, min(RETRY_AFTER_MOST, math.ceil(self._mean * (waiting + 1) / slots)))
