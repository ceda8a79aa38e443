"""Server-sent events, read line by line."""

from __future__ import annotations

import attrs

__all__ = ["EventReader", "LineReader", "TooLong"]

#: The most bytes that a line may have: an event of some hundred thousand agents.
_LONGEST = 64 * 1024 * 1024


class TooLong(Exception):
    """A line does not end."""


@attrs.define(eq=False)
class LineReader:
    """Bytes as they come, in; whole lines, out."""

    _parts: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in this.

        :raises TooLong: one grows without end.
        """
        first, newline, rest = data.partition(b"\n")
        self._parts.append(first)
        self._size += len(first)
        if not newline:
            if self._size > _LONGEST:
                raise TooLong()
            return []
        *lines, last = rest.split(b"\n")
        lines.insert(0, b"".join(self._parts))
        self._parts, self._size = [last], len(last)
        return [line.removesuffix(b"\r") for line in lines]


@attrs.define(eq=False)
class EventReader:
    """Lines, in; events, out: each a name and its data."""

    _name: str = attrs.field(default="message", init=False)
    _data: list[bytes] = attrs.field(factory=list, init=False)

    def feed(self, line: bytes) -> tuple[str, bytes] | None:
        """The event that ends with this line; None: none does."""
        if not line:
            found = (self._name, b"\n".join(self._data)) if self._data else None
            self._name, self._data = "message", []
            return found
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"data":
            self._data.append(value)
        return None
