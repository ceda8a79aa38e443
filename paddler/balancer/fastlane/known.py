"""Heads that were read before, told by their bytes.

Neighbours send the same head again and again, but for the length of the body behind it. What the
parser has said of one holds for every head that has the same bytes, whatever the length; so it
need not read those.
"""

from __future__ import annotations

import re

__all__ = ["Known"]

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*", re.IGNORECASE)
#: Digits of a length, at most.
_DIGITS = 9


class Known:
    """A head that was read: all of it but the length.

    :param before: its bytes before the length.
    :param behind: those behind it.
    """

    __slots__ = ("_before", "_begin", "_behind", "_until")

    def __init__(self, before: bytes, behind: bytes) -> None:
        self._before, self._behind = before, behind
        # Where a length begins, and where it must have ended.
        self._begin = len(before)
        self._until = self._begin + _DIGITS + 1

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
        if not data.startswith(self._before):
            return None
        end = data.find(b"\r", self._begin, self._until)
        if end < 0 or not data.startswith(self._behind, end):
            return None
        length = data[self._begin : end]
        return (end + len(self._behind), int(length)) if length.isdigit() else None
