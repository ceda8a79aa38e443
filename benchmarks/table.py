"""The results as a table, which reads the same on a terminal and in a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.rows import Row

__all__ = ["table"]

_TITLES = ("", "Paddler", "HAProxy", "ratio", "goal", "met", "recorded")


def table(rows: Sequence[Row], recorded: Mapping[str, Row]) -> str:
    """The table, in Markdown.

    :param recorded: rows of an earlier run by their names; the last column has their ratios, or
        figures where there is none, and is left out when there are none.
    """
    lines = [_TITLES, *(_cells(row, recorded.get(row.name)) for row in rows)]
    if not recorded:
        lines = [line[:-1] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "| "
        + " | ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    ]
    rule = "|".join(
        "-" * (width + 1) + (":" if place else "-") for place, width in enumerate(widths)
    )
    return "\n".join([text[0], f"|{rule}|", *text[1:]])


def _cells(row: Row, recorded: Row | None) -> tuple[str, ...]:
    return (
        row.name,
        _figure(row.ours, row.unit),
        "" if row.theirs is None else _figure(row.theirs, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.goal is None else f"{row.goal} {'' if row.goal.of_ratio else row.unit}".strip(),
        {True: "yes", False: "NO", None: ""}[row.met],
        "" if recorded is None else _compared(recorded),
    )


def _compared(row: Row) -> str:
    return _figure(row.ours, row.unit) if row.ratio is None else f"{row.ratio:.2f}"


def _figure(value: float, unit: str) -> str:
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{places}f}{'' if unit.startswith('/') else ' '}{unit}"
