"""The help of a command: its options under headings, fitted to the terminal's width.

Nothing here knows what a command or an option is for.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from paddler.coercions import shape_of

if TYPE_CHECKING:
    from paddler.options import Option

__all__ = ["HARD_SPACE", "Section", "usage_text"]

#: Lines longer than this are hard to read, whatever the terminal has room for.
_WIDEST = 100
_NARROWEST = 40
#: Where no line ends.
HARD_SPACE = "\xa0"
#: The share of a line that the left column may take.
_LEFT = 0.46

_SHAPES = {
    "HOST": "a name, an address, or on EC2 aws:metadata:KEY, such as aws:metadata:local-ipv4",
    "DURATION": "500ms, 60s, 2m or 1h; a bare number is seconds",
    "SIZE": "64KiB, 100MiB or 1GiB; a bare number is bytes",
    "ENDPOINT": "unix:/run/paddler.sock, ssl:443:privateKey=..., and whatever else Twisted knows",
    "true|false": "also yes|no, on|off, 1|0; the option alone means true",
}


@attrs.frozen
class Section:
    """A part of a help.

    :param heading: what stands above it.
    :param rows: left and right; a row without a left is a paragraph of its own.
    """

    heading: str
    rows: Sequence[tuple[str, str]]


def usage_text(
    synopsis: str,
    purpose: str,
    table: Sequence[Option],
    more: Sequence[Section] = (),
    width: int | None = None,
) -> str:
    """A whole help, ending with a line feed.

    :param synopsis: how the command is written.
    :param purpose: what it does.
    :param table: its options, in this order.
    :param more: what stands below them.
    :param width: of a line; None: as wide as the terminal, or 80 where there is none.
    """
    width = width or min(shutil.get_terminal_size().columns, _WIDEST)
    width = max(width - 1, _NARROWEST)
    texts = [textwrap.fill(synopsis, width, subsequent_indent="    ")]
    if purpose:
        texts.append(textwrap.fill(purpose, width))
    options = list(_options(table))
    widest = max(len(left) for section in options for left, _ in section.rows)
    column = min(widest + 4, int(width * _LEFT))
    texts += [_section(section, width, column) for section in options]
    for section in (*_how_to_write(table), *more):
        widest = max(len(left) for left, _ in section.rows)
        texts.append(_section(section, width, min(widest + 4, int(width * _LEFT))))
    return "\n\n".join(texts) + "\n"


def _options(table: Sequence[Option]) -> Iterator[Section]:
    """The options under their headings, and the two that every command has."""
    heading, rows = "Options", list[tuple[str, str]]()
    for option in table:
        if option.heading and rows:
            yield Section(heading, rows)
            rows = []
        heading = option.heading or heading
        rows.append((f"--{option.name}={shape_of(option.coerce)}", option.doc))
    yield Section(heading, rows)
    yield Section(
        "This command",
        (("--help", "Show this and exit."), ("--version", "Show Paddler's version and exit.")),
    )


def _how_to_write(table: Sequence[Option]) -> Iterator[Section]:
    shapes = {shape_of(option.coerce) for option in table}
    rows = [(shape, said) for shape, said in _SHAPES.items() if shape in shapes]
    if rows:
        yield Section("Values", rows)
    option = table[0]
    variable = (
        f"{option.variable} gives --{option.name}, and so on: PADDLER_ and an option's name in "
        "capitals, with underscores. The command line wins."
    )
    yield Section("Environment", (("", variable),))


def _section(section: Section, width: int, column: int) -> str:
    lines = [f"{section.heading}:"]
    for left, right in section.rows:
        indent = " " * column if left else "  "
        beside = f"  {left:<{column - 2}}" if left else "  "
        if len(left) > column - 4:
            # It gets a line of its own.
            lines.append(f"  {left}")
            beside = indent
        lines += textwrap.wrap(
            right,
            width,
            initial_indent=beside,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines).replace(HARD_SPACE, " ")
