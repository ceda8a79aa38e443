"""Lines of a screen: pieces of text with a style each, cut or filled to a width.

A style is a few of the words `bold`, `dim`, `reverse` and the names of the terminal's own
colours. All text is made safe here, for much of it comes from the network.
"""

from __future__ import annotations

from collections.abc import Iterable

from paddler.terminal.figures import clean, columns_of, cut, wrap

__all__ = ["Line", "Span", "ends", "fit", "restyled", "ruled", "text_of", "wrapped"]

Span = tuple[str, str]
Line = tuple[Span, ...]


def text_of(line: Line) -> str:
    """A line without its styles."""
    return "".join(text for text, _ in line)


def fit(spans: Iterable[Span], width: int) -> Line:
    """A line of exactly that width."""
    kept: list[Span] = []
    left = width
    for raw, style in spans:
        if left <= 0:
            break
        text = clean(raw)
        if columns_of(text) > left:
            text = cut(text, left)
        left -= columns_of(text)
        if text:
            kept.append((text, style))
    if left > 0:
        kept.append((" " * left, ""))
    return tuple(kept)


def wrapped(text: str, width: int) -> list[Line]:
    """A text in as many lines of that width as it takes."""
    return [fit([(line, "")], width) for line in wrap(text, width)]


def ends(left: Line, right: Line, width: int) -> Line:
    """Two pieces at the two ends; the left one gives way, the right one goes if it must."""
    taken = columns_of(text_of(right))
    if taken >= width - 8:
        return fit(left, width)
    return (*fit(left, width - taken - 1), (" ", ""), *right)


def ruled(left: Line, right: str, width: int, rule: str) -> Line:
    """A rule across the screen with a title in it and a remark at its other end."""
    head: Line = ((rule * 2 + " ", "dim"), *left, (" ", ""))
    tail: Line = ((f" {right} {rule * 2}", "dim"),) if right else ()
    taken = columns_of(text_of(head)) + columns_of(text_of(tail))
    if taken > width:
        return fit((*head, (rule * width, "dim")), width)
    return fit((*head, (rule * (width - taken), "dim"), *tail), width)


def restyled(line: Line, style: str) -> Line:
    """The line with one style for all of it, or with more in each of its own."""
    if style == "dim":
        return tuple((text, "dim") for text, _ in line)
    return tuple((text, f"{own} {style}".strip()) for text, own in line)
