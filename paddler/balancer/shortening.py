"""JSON without its longest parts, so that the rest of it is read quickly.

A chat's messages are nearly all of its bytes, and nothing that is asked for is in them. From quote
to quote, or from bracket to bracket, is one step of the C library, many times as fast as a parser's
look at each byte; but each step costs as much as a parser takes for some hundred bytes.

Note [The one long list]. An object that begins with short members and then a list, and that ends
with a list and then short members, has one list or more. If it has more, then the first one's
bracket is followed by a comma and the quote of a key. Where no bracket is, there is one list, from
where the first begins to where the last ends. A text can't be taken for any of that: quotes in it
stand behind backslashes, and short members have none; so they leave no text half way.
"""

from __future__ import annotations

import re

__all__ = ["SMALL", "shortened", "without_list"]

#: Bytes below which a parser is quick enough by itself.
SMALL = 16 * 1024
#: Bytes that are worth cutting out.
LONG = 512
#: After so many texts it is seen whether they begin this far apart, in bytes, on average.
STEPS = 32
APART = 768

#: Bytes from a list's end to the object's, at most, and brackets that are looked at in it.
TAIL = 2048
BRACKETS = 512

_QUOTE = b'"'
_MEMBER = rb'\s*"[^"\\]{1,64}"\s*:\s*(?:"[^"\\]{0,256}"|[-+.\w]{1,32})\s*'
_BEFORE = re.compile(rb'\s*\{(?:%b,)*\s*"[^"\\]{1,64}"\s*:\s*(?=\[)' % _MEMBER)
_BEHIND = re.compile(rb"\]\s*(?:,%b)*\}\s*\Z" % _MEMBER)
_NEXT = re.compile(rb'\]\s*,\s*"')
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


def without_list(text: bytes) -> bytes | None:
    """The same JSON object with one long list of it empty; see Note [The one long list].

    :returns: None: it can't be told quickly that it has one.
    """
    if len(text) < SMALL:
        return None
    begins = _BEFORE.match(text, 0, TAIL)
    ends = _BEHIND.search(text, len(text) - TAIL)
    if begins is None or ends is None:
        return None
    begin, end = begins.end(), ends.start()
    bracket = text.find(b"]", begin, end)
    for _ in range(BRACKETS):
        if bracket < 0:
            return b"%b[%b" % (text[:begin], text[end:])
        if _NEXT.match(text, bracket) is not None:
            return None
        bracket = text.find(b"]", bracket + 1, end)
    return None
