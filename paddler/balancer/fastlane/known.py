"""Heads that were read before, told by their bytes.

Neighbours send the same head again and again, but for the length of the body behind it. What the
parser has said of one holds for every head that has the same bytes, whatever the length; so it
need not read those.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Known"]

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*", re.IGNORECASE)
#: Digits of a length, at most.
_DIGITS = 9


class Known(NamedTuple):
    """A head that was read: all of it but the length.

    :param before: its bytes before the length.
    :param behind: those behind it.
    """

    before: bytes
    behind: bytes

    @classmethod
    def of(cls, head: bytes) -> Known | None:
        """A head that the parser has read, whole; None: no length is in it.

        :param head: may have a body behind it.
        """
        end = head.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(head, 0, end)
        if length is None:
            return None
        return cls(head[: length.end()], head[head.index(b"\r", length.end()) : end])

    def find(self, data: bytes) -> tuple[int, int] | None:
        """Whether `data` begins with this head.

        :returns: where the head ends, and the bytes of the body behind it; None: it does not.
        """
        if not data.startswith(self.before):
            return None
        begin = len(self.before)
        end = data.find(b"\r", begin, begin + _DIGITS + 1)
        length = data[begin:end]
        if end < 0 or not length.isdigit() or not data.startswith(self.behind, end):
            return None
        return end + len(self.behind), int(length)
