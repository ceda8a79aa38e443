"""What the benchmarks find: one figure a row, with what it is to be."""

from __future__ import annotations

from statistics import median

import attrs

__all__ = ["Goal", "NotMeasured", "Plan", "Row", "compared"]


class NotMeasured(Exception):
    """What came was not what should have come, so its time says nothing."""


@attrs.frozen
class Plan:
    """How much is measured.

    :param rounds: how often each proxy has its turn.
    :param seconds: how long a turn is.
    """

    rounds: int = 5
    seconds: float = 2.0


@attrs.frozen
class Goal:
    """What a figure must keep to.

    :param of_ratio: it is the ratio that must; else what is ours.
    """

    limit: float
    at_least: bool = False
    of_ratio: bool = True

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


@attrs.frozen
class Row:
    """One figure.

    :param name: what it is, the same in every run.
    :param theirs: HAProxy's, where it has one.
    :param ratio: ours over theirs; or over what `name` says.
    """

    name: str
    unit: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None: there is none, or nothing to compare."""
        if self.goal is None:
            return None
        figure = self.ratio if self.goal.of_ratio else self.ours
        if figure is None:
            return None
        return figure >= self.goal.limit if self.goal.at_least else figure <= self.goal.limit


def compared(
    name: str, unit: str, ours: list[float], theirs: list[float], goal: Goal | None = None
) -> Row:
    """A row of the medians of what the rounds found."""
    middle, other = median(ours), median(theirs)
    return Row(name, unit, middle, other, middle / other if other > 0 else None, goal)
