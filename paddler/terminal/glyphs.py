"""The characters that pictures are made of: blocks, or plain ASCII where those don't show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

__all__ = ["ASCII", "BLOCKS", "Glyphs", "columns", "sparkline"]


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
        """Text of ours in this set's characters."""
        return text.translate(self.replaced) if self.replaced else text


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
    (line,) = columns(values, most, width, 1, glyphs)
    return line


def columns(
    values: Sequence[float | None], most: float, width: int, height: int, glyphs: Glyphs
) -> list[str]:
    """A chart of columns, the topmost line first.

    More values than columns are gathered, and each column shows the largest of its own.
    """
    steps = len(glyphs.levels)
    tall: list[int | None] = [
        None
        if value is None
        else min(height * steps, max(1, round(value / most * height * steps)))
        if most > 0 and value > 0
        else 1
        for value in _gathered(values, width)
    ]
    tall[:0] = [None] * (width - len(tall))
    lines = []
    for row in reversed(range(height)):
        over = [0 if level is None else level - row * steps for level in tall]
        lines.append("".join(" " if n <= 0 else glyphs.levels[min(n, steps) - 1] for n in over))
    return lines


def _gathered(values: Sequence[float | None], width: int) -> list[float | None]:
    if len(values) <= width:
        return list(values)
    gathered: list[float | None] = []
    for column in range(width):
        own = values[column * len(values) // width : (column + 1) * len(values) // width]
        known = [value for value in own if value is not None]
        gathered.append(max(known) if known else None)
    return gathered
