"""Numbers, times and names as text that fits: how many columns it takes is known here alone."""

from __future__ import annotations

import math
import re
import time

from rich.cells import get_character_cell_size

__all__ = [
    "clean",
    "clip",
    "clock",
    "columns_of",
    "count",
    "cut",
    "many",
    "number",
    "pad",
    "percent",
    "plain",
    "port_in",
    "rate",
    "seconds",
    "span",
    "waited",
    "wrap",
]

#: What terminals join to the character before it, or do not: skin tones, and which look of a
#: character is meant.
_JOINED = re.compile("[\U0001f3fb-\U0001f3ff\ufe00-\ufe0f\U000e0100-\U000e01ef]")
#: Letters of which two make a flag, where there are flags.
_FLAGS = {0x1F1E6 + n: chr(ord("A") + n) for n in range(26)}
#: The most marks above and below a character; a pile of them covers other lines.
_MOST_MARKS = 2


def number(value: float) -> str:
    """A whole number with commas between thousands."""
    return f"{round(value):,}"


def count(value: float) -> str:
    """A number with its decimals, if it has some: `60`, `0.5`."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def many(count: int, one: str) -> str:
    """`1 agent`, `2 agents`."""
    return f"{count:,} {one if count == 1 else one + 's'}"


def percent(share: float | None) -> str:
    """A share in whole percents: `81 %`; `unknown`."""
    return "unknown" if share is None else f"{int(100 * share + 0.5)} %"


def rate(value: float) -> str:
    """How often something happens in a second."""
    return number(value) if value >= 9.95 else f"{value:.1f}"


def seconds(value: float | None) -> str:
    """A time that was measured: `380 ms`, `9.4 s`, `41 s`; `none`."""
    if value is None or not math.isfinite(value):
        return "none"
    value = max(0.0, value)
    if value < 0.9995:
        return f"{round(value * 1000)} ms"
    return f"{value:.1f} s" if value < 9.95 else f"{value:,.0f} s"


def span(value: float) -> str:
    """A time that passes, in whole steps: `8 s`, `2 min`, `6 d 4 h`."""
    whole = max(0, int(value))
    if whole < 90:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 5400:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if whole < 129600 else f"{days} d {hours % 24} h"


def waited(value: float) -> str:
    """How long somebody waits, with no digits that dance."""
    return "under 1 s" if value < 1 else span(value)


def clock(at: float) -> str:
    """The time of day, here.

    :param at: Unix seconds.
    """
    return time.strftime("%H:%M:%S", time.localtime(at))


def port_in(described: str) -> str:
    """The TCP port in `host:port` or in a description of an endpoint; empty: there is none."""
    found = re.match(r"(?:tcp|ssl|tls):(?:port=)?(\d+)", described) or re.search(
        r":(\d+)$", described
    )
    return found[1] if found else ""


def clean(text: str) -> str:
    """Text from the network without what steers a terminal, turns the writing around, or takes
    more or fewer columns in one terminal than in the next.
    """
    if text.isascii():
        return text if text.isprintable() else "".join(map(_visible, text))
    kept: list[str] = []
    marks = 0
    for char in _JOINED.sub("", text).translate(_FLAGS):
        char = _visible(char)
        marks = 0 if _width(char) else marks + 1
        if marks <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def _visible(char: str) -> str:
    return char if char.isprintable() else "?"


def plain(text: str) -> str:
    """The same in ASCII, in as many columns."""
    return "".join(char if char.isascii() else "?" * _width(char) for char in text)


def _width(char: str) -> int:
    return get_character_cell_size(char)


def columns_of(text: str) -> int:
    """How many columns a terminal gives it."""
    text = clean(text)
    return len(text) if text.isascii() else sum(map(_width, text))


def clip(text: str, columns: int) -> str:
    """Text in at most so many columns; what is too long loses its middle."""
    text = clean(text)
    if columns_of(text) <= columns:
        return text
    if columns <= 1:
        return "…"[: max(0, columns)]
    tail = (columns - 1) // 3
    return f"{_head(text, columns - 1 - tail)}…{_tail(text, tail)}"


def cut(text: str, columns: int) -> str:
    """Text in at most so many columns; what is too long loses its end."""
    text = clean(text)
    if columns_of(text) <= columns:
        return text
    return f"{_head(text, columns - 1).rstrip()}…" if columns > 0 else ""


def _head(text: str, columns: int) -> str:
    for index, char in enumerate(text):
        columns -= _width(char)
        if columns < 0:
            return text[:index]
    return text


def _tail(text: str, columns: int) -> str:
    start = len(text)
    for index in reversed(range(len(text))):
        columns -= _width(text[index])
        if columns < 0:
            break
        if _width(text[index]):  # a mark without its character is none
            start = index
    return text[start:]


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
    for word in clean(text).split():
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
