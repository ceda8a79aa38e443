"""Numbers, times and names as text that fits: how many columns it takes is known here alone."""

from __future__ import annotations

import math
import re
import unicodedata

__all__ = [
    "clean",
    "clip",
    "columns_of",
    "cut",
    "many",
    "number",
    "pad",
    "port_in",
    "seconds",
    "span",
    "wrap",
]


def number(value: float) -> str:
    """A whole number with commas between thousands."""
    return f"{round(value):,}"


def many(count: int, one: str, more: str | None = None) -> str:
    """`1 agent`, `2 agents`.

    :param more: the plural where it is not `one` with an s.
    """
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def seconds(value: float | None) -> str:
    """A duration that is looked at closely: `380 ms`, `9.4 s`, `41 s`, `3 min`."""
    if value is None or not math.isfinite(value):
        return "–"
    value = max(0.0, value)
    if value < 0.9995:
        return f"{round(value * 1000)} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    return f"{round(value)} s" if value < 120 else span(value)


def span(value: float) -> str:
    """A duration that is looked at from afar: `8 s`, `2 min`, `3 h 5 min`, `6 d 4 h`."""
    whole = max(0, int(value))
    if whole < 120:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def port_in(described: str) -> str:
    """The TCP port in `host:port` or in a description of an endpoint; empty: there is none."""
    found = re.match(r"(?:tcp|ssl|tls):(?:port=)?(\d+)", described) or re.search(
        r":(\d+)$", described
    )
    return found[1] if found else ""


def clean(text: str) -> str:
    """Text from the network without what steers a terminal or turns the writing around."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def columns_of(text: str) -> int:
    """How many columns a terminal gives it."""
    return len(text) if text.isascii() else sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, columns: int) -> str:
    """Text in at most so many columns; what is too long loses its middle."""
    if columns_of(text) <= columns:
        return text
    if columns <= 1:
        return "…"[:columns]
    tail = (columns - 1) // 3
    return f"{_head(text, columns - 1 - tail)}…{_head(text[::-1], tail)[::-1]}"


def cut(text: str, columns: int) -> str:
    """Text in at most so many columns; what is too long loses its end."""
    if columns_of(text) <= columns:
        return text
    return f"{_head(text, columns - 1).rstrip()}…" if columns > 0 else ""


def _head(text: str, columns: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _width(char)
        if taken > columns:
            return text[:index]
    return text


def pad(text: str, columns: int, right: bool = False) -> str:
    """Text in exactly so many columns.

    :param right: it stands at the right end.
    """
    text = clip(text, columns)
    blank = " " * (columns - columns_of(text))
    return blank + text if right else text + blank


def wrap(text: str, columns: int) -> list[str]:
    """Text in lines of at most so many columns, broken at blanks where there are some."""
    lines, line, columns = [], "", max(1, columns)
    for word in text.split():
        while columns_of(word) > columns:
            if line:
                lines.append(line)
                line = ""
            part = _head(word, columns) or word[0]
            lines.append(part)
            word = word[len(part) :]
        joined = f"{line} {word}" if line else word
        if columns_of(joined) > columns:
            lines.append(line)
            joined = word
        line = joined
    return [*lines, line] if line else lines
