"""JSON without what is in its long texts, so that the rest of it is read quickly.

A chat's texts and images are nearly all of its bytes, and nothing that is asked for is in them.
From quote to quote is one step of the C library, many times as fast as a parser's look at each
byte; but each step costs as much as a parser takes for some hundred bytes.
"""

from __future__ import annotations

__all__ = ["shortened"]

#: Bytes below which a parser is quick enough by itself.
SMALL = 16 * 1024
#: Bytes that are worth cutting out.
LONG = 512
#: After so many texts it is seen whether they begin this far apart, in bytes, on average.
STEPS = 32
APART = 768

_QUOTE = b'"'
_BACKSLASH = ord("\\")


def shortened(text: bytes) -> bytes:
    """The same JSON, its long texts cut down, where that is worth it.

    Between two quotes that are not escaped is either a text or none; a text is cut from where it,
    or an escaped quote in it, begins, to the backslashes before the next quote.
    """
    if len(text) < SMALL:
        return text
    pieces: list[bytes] = []
    find, kept, steps = text.find, 0, 0
    begin = find(_QUOTE) + 1
    while begin:
        # Here a text begins, or goes on behind an escaped quote.
        quote = find(_QUOTE, begin)
        if quote < 0:
            break
        end = quote
        while text[end - 1] == _BACKSLASH and end > begin:
            end -= 1
        if end - begin >= LONG:
            pieces.append(text[kept:begin])
            kept = end
        escaped = (quote - end) % 2
        begin = quote + 1 if escaped else find(_QUOTE, quote + 1) + 1
        steps += 1
        if not steps % STEPS and quote < steps * APART:
            break
    if not pieces:
        return text
    pieces.append(text[kept:])
    return b"".join(pieces)
