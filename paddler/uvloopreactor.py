"""Twisted's asyncio reactor on a loop of uvloop's; `install` is what `--reactor=uvloop` calls.

Note [Read to the end]. Where bytes and a reset have come together, uvloop calls a reader once
and never again; one that reads just those bytes, as Twisted's do, would not hear of the reset. So
each connection is read until nothing is left.

Note [None too early]. A timer of uvloop's counts whole milliseconds from the beginning of a turn
of the loop, and so comes up to two too early. Twisted finds nothing due then, and sets it for the
rest, which is no millisecond: the loop would turn dozens of times until it is.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from importlib.util import find_spec
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor
from twisted.internet.tcp import Connection

__all__ = ["UvloopReactor", "install", "install_if_there"]

#: Times that one connection is read before others have their turn.
TURNS = 64


class UvloopReactor(AsyncioSelectorReactor):
    """The asyncio reactor, reading and waiting as uvloop wants it."""

    def timeout(self) -> float | None:
        """Seconds until a timed call is due, and a little more; see Note [None too early]."""
        left: float | None = super().timeout()
        return left and (int(left * 1000) + 2) / 1000

    def _readOrWrite(self, selectable: Any, read: bool) -> None:
        """See Note [Read to the end]."""
        if not read or not isinstance(selectable, Connection):
            super()._readOrWrite(selectable, read)
            return
        readers: Any = self._readers
        for _ in range(TURNS):
            left = _unread(selectable)
            super()._readOrWrite(selectable, read)
            if not left or selectable not in readers:
                return


def _unread(connection: Any) -> int:
    """Bytes that have come and were not read."""
    try:
        answer = fcntl.ioctl(connection.fileno(), termios.FIONREAD, b"\0" * 4)
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])


def install() -> None:
    """Make it the global reactor.

    :raises ImportError: uvloop is not installed.
    """
    import uvloop

    installReactor(UvloopReactor(uvloop.new_event_loop()))


def install_if_there() -> None:
    """The same, where what the fast lane needs is installed; nothing happens elsewhere."""
    if all(map(find_spec, ("httptools", "uvloop"))):
        install()
