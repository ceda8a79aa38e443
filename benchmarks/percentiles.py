"""Percentiles of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["percentile"]


def percentile(figures: Sequence[float], share: float) -> float:
    """The figure that this share of all of them keeps within.

    :param share: 0 to 1.
    """
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
