"""The characters that pictures are made of: blocks, or plain ASCII where those don't show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs

from paddler.terminal.figures import plain

__all__ = ["ASCII", "BLOCKS", "PLAIN_TERMINALS", "Glyphs", "columns", "sparkline"]


@attrs.frozen
class Glyphs:
    """One set of characters.

    :param cells: for each kind of slot cell.
    :param marks: for how an agent is: a state's word, or `severe` or `warned`.
    :param levels: from the lowest that shows to a whole cell.
    :param rule: a horizontal line.
    :param replaced: what stands for characters that are not in the set.
    """

    cells: Mapping[str, str]
    marks: Mapping[str, str]
    levels: str
    rule: str
    replaced: Mapping[int, str]

    def plain(self, text: str) -> str:
        """Text in this set's characters, in as many columns."""
        return plain(text.translate(self.replaced)) if self.replaced else text


#: By `TERM`: those whose fonts have no such blocks.
PLAIN_TERMINALS = frozenset(("linux", "vt52", "vt100", "vt102", "vt220", "vt320"))

BLOCKS = Glyphs(
    cells={
        "answering": "█",
        "promised": "▄",
        "foreign": "▒",
        "left": "░",
        "idle": "·",
        "out": "?",
    },
    marks={
        "severe": "✕",
        "warned": "!",
        "draining": "v",
        "full": "■",
        "ready": "✓",
        "loading": "o",
        "sleeping": "z",
    },
    levels="▁▂▃▄▅▆▇█",
    rule="─",
    replaced={},
)

ASCII = Glyphs(
    cells={
        "answering": "#",
        "promised": "+",
        "foreign": "x",
        "left": "~",
        "idle": ".",
        "out": "?",
    },
    marks={
        "severe": "X",
        "warned": "!",
        "draining": "v",
        "full": "#",
        "ready": ".",
        "loading": "o",
        "sleeping": "z",
    },
    levels="_.-:=+*#",
    rule="-",
    replaced=str.maketrans({"–": "-", "…": "~", "·": ".", "─": "-", "█": "_"}),
)


def sparkline(values: Sequence[float | None], most: float, width: int, glyphs: Glyphs) -> str:
    """The newest of them in one line, at the right end of `width`.

    :param values: oldest first; None is a gap.
    :param most: the value that fills a cell.
    """
    blank: list[float | None] = [None] * (width - len(values))
    (line,) = columns([*blank, *values], most, width, 1, glyphs)
    return line


def columns(
    values: Sequence[float | None],
    most: float,
    width: int,
    height: int,
    glyphs: Glyphs,
    decades: int = 0,
) -> list[str]:
    """A chart of columns over the whole width, the topmost line first.

    More values than columns are gathered, and each column shows the largest of its own.

    :param decades: what is ten times less is lower by one part in so many; 0: the scale is linear.
    """
    steps = len(glyphs.levels)

    def tall(value: float) -> int:
        if most <= 0 or value <= 0:
            return 1
        share = 1 + math.log10(value / most) / decades if decades else value / most
        return min(height * steps, max(1, round(share * height * steps)))

    found = [None if value is None else tall(value) for value in _spread(values, width)]
    lines = []
    for row in reversed(range(height)):
        over = [0 if level is None else level - row * steps for level in found]
        lines.append("".join(" " if n <= 0 else glyphs.levels[min(n, steps) - 1] for n in over))
    return lines


def _spread(values: Sequence[float | None], width: int) -> list[float | None]:
    """So many values: several in one, or one in several."""
    spread: list[float | None] = []
    for column in range(width if values else 0):
        start = column * len(values) // width
        own = values[start : max(start + 1, (column + 1) * len(values) // width)]
        spread.append(max((value for value in own if value is not None), default=None))
    return [None] * (width - len(spread)) + spread
