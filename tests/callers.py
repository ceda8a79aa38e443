"""A raw HTTP client that tells a whole answer from one that was cut."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

__all__ = ["Answer", "Caller"]


@attrs.frozen
class Answer:
    """What came back for one request.

    :param code: the status; 0: the connection was closed before one came.
    :param headers: by lower-case names.
    :param body: as far as it came, its chunks put together.
    :param whole: it came to its end.
    """

    code: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    whole: bool = False


class Caller(Protocol):
    """One connection for requests one after another.

    :ivar stray: bytes that came when nothing was asked.
    :ivar open: the connection is there.
    """

    transport: Any

    def __init__(self) -> None:
        self.stray = b""
        self.open = False
        self._asked: Deferred[Answer] | None = None
        self._clear()

    def _clear(self) -> None:
        self._read = bytearray()
        self._answer = Answer()
        self._body: list[bytes] = []
        self._left = 0
        self._chunked = False

    def ask(self, request: bytes) -> Deferred[Answer]:
        """Send a request; cancel the Deferred to leave, which cuts the connection."""
        assert self._asked is None, "one at a time"
        self._clear()
        self._asked = Deferred(lambda _: self.transport.abortConnection())
        self.transport.write(request)
        return self._asked

    def connectionMade(self) -> None:
        self.open = True
        self.transport.setTcpNoDelay(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False
        self._tell(whole=False)

    def dataReceived(self, data: bytes) -> None:
        if self._asked is None:
            self.stray += data
            return
        self._read += data
        if not self._answer.code and not self._read_head():
            return
        if self._read_body():
            rest = bytes(self._read)
            self._tell(whole=True)
            self.stray += rest

    def _tell(self, *, whole: bool) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.called:
            answer = attrs.evolve(self._answer, body=b"".join(self._body), whole=whole)
            asked.callback(answer)

    def _read_head(self) -> bool:
        head, found, rest = bytes(self._read).partition(b"\r\n\r\n")
        if not found:
            return False
        line, *lines = head.decode("latin-1").split("\r\n")
        pairs = (each.partition(":") for each in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        self._answer = Answer(int(line.split(" ")[1]), headers)
        self._chunked = headers.get("transfer-encoding") == "chunked"
        self._left = 0 if self._chunked else int(headers["content-length"])
        self._read = bytearray(rest)
        return True

    def _read_body(self) -> bool:
        """Take in what there is; tells whether that was the last of it."""
        if not self._chunked:
            self._take(self._left)
            return not self._left
        while True:
            if self._left > 2:
                self._take(self._left - 2)
                if self._left > 2:
                    return False
            if self._left:
                # The end of a chunk's data is no data.
                if len(self._read) < 2:
                    return False
                del self._read[:2]
                self._left = 0
            line, found, _ = self._read.partition(b"\r\n")
            if not found:
                return False
            size = int(line, 16)
            if not size:
                if len(self._read) < len(line) + 4:
                    return False
                del self._read[: len(line) + 4]
                return True
            del self._read[: len(line) + 2]
            self._left = size + 2

    def _take(self, most: int) -> None:
        part = bytes(self._read[:most])
        del self._read[:most]
        self._left -= len(part)
        if part:
            self._body.append(part)
