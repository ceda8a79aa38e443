"""One connection of a client: what twisted.web's own leaves open.

Heads that are too large or malformed get an answer before the connection is closed, a
client that keeps us waiting is let go, and what is refused is refused before it is read.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from paddler.balancer.accounts import refused
from paddler.balancer.answers import JSON, error_answer
from paddler.balancer.plain import PlainRequest
from paddler.errors import HeadTooLarge, MalformedRequest, PaddlerError
from paddler.headers import RequestHeaders, pairs_of

if TYPE_CHECKING:
    from paddler.balancer.sites import ConnectionSite

__all__ = ["Channel"]

#: Bytes of a request line or a header; llama-server takes addresses of 32 KB.
LINE_LIMIT = 32 * 1024
#: Bytes of a request line and its headers together, and how many headers; llama-server takes
#: a hundred.
HEAD_LIMIT = 64 * 1024
HEADERS_LIMIT = 100
_BARE_NEWLINE = re.compile(rb"(?<!\r)\n")
#: Seconds that a refused client gets to read why, while what it still sends is thrown away. Closed
#: at once, the connection would be reset and the answer lost on its way.
LINGER = 2.0


class Channel(HTTPChannel):
    """A connection that keeps its site's limits."""

    MAX_LENGTH = LINE_LIMIT
    # Counted here instead, to answer with the right status.
    totalHeadersSize = 1 << 30
    maxHeaders = 1 << 30
    requestFactory = PlainRequest

    site: ConnectionSite
    transport: Any
    _refused = False
    _head_size = 0
    _head_lines = 0
    #: The end of the head's bytes so far, to see what stands before the next.
    _head_end = b""
    _stall: IDelayedCall | None = None
    _last: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """A client has come."""
        super().connectionMade()
        self.site.connected(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client has gone."""
        for timer in (self._stall, self._last):
            if timer is not None and timer.active():
                timer.cancel()
        super().connectionLost(reason)
        self.site.disconnected(self)

    # What comes in.

    def dataReceived(self, data: bytes) -> None:
        """Some bytes of a request; those of a refused one are thrown away."""
        if self._refused:
            return
        if self.line_mode:
            if self._has_bare_newline(data):
                self._respondToBadRequestAndDisconnect()
                return
        else:
            # Pauses in a body are measured; a head has one time for all of it.
            self.resetTimeout()
        LineReceiver.dataReceived(self, data)

    def _has_bare_newline(self, data: bytes) -> bool:
        """Whether a line of the head ends in LF alone: such a head might never end."""
        head, known = self._head_end + data, len(self._head_end)
        self._head_end = head[-3:]
        end = head.find(b"\r\n\r\n")
        return _BARE_NEWLINE.search(head, known, len(head) if end < 0 else end) is not None

    def allHeadersReceived(self) -> None:
        """The head is here, whole."""
        self._head_end = b""
        super().allHeadersReceived()

    def lineReceived(self, line: bytes) -> None:
        """A line of a head."""
        if self._refused:
            return
        self._head_size += len(line) + 2
        self._head_lines += 1
        if self._head_size > HEAD_LIMIT or self._head_lines > HEADERS_LIMIT + 3:
            self.refuse(HeadTooLarge(HEAD_LIMIT, HEADERS_LIMIT))
        elif b"\n" in line:
            self._respondToBadRequestAndDisconnect()
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line of a head is longer than any may be."""
        self.refuse(HeadTooLarge(HEAD_LIMIT, HEADERS_LIMIT))

    def rawDataReceived(self, data: bytes) -> None:
        """Some bytes of a body."""
        if not self._refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """A request is here, whole, unless it was refused."""
        if not self._refused:
            self._head_size = self._head_lines = 0
            super().allContentReceived()

    @property
    def is_reading(self) -> bool:
        """A request has begun to come and is not here yet."""
        return self._head_size > 0

    def abort(self) -> None:
        """Cut it."""
        self.transport.abortConnection()

    # What is refused.

    def refuse(self, error: PaddlerError) -> None:
        """Answer with an error and take no more from this client."""
        if self._refused:
            return
        self._refused = True
        self.setTimeout(None)
        code, more, body = error_answer(error)
        # While a head or a body comes twisted.web keeps the request line here.
        coming = hasattr(self, "_command")
        its_id = RequestHeaders(
            pairs_of(self.requests[-1].requestHeaders) if coming else ()
        ).request_id()
        pairs = [(b"X-Request-Id", its_id), JSON, (b"Content-Length", b"%d" % len(body))]
        pairs += [(b"Connection", b"close"), *more]
        head = [b"HTTP/1.1 %d %b" % (code, HTTPStatus(code).phrase.encode())]
        head += [name + b": " + value for name, value in pairs]
        self.transport.write(b"\r\n".join([*head, b"", body]))
        line = (self._command, self._path) if coming else (b"-", b"-")
        self.site.ledger.finished(refused(its_id.decode(), *line, code, len(body)))
        if hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
            self._last = self.callLater(LINGER, self.transport.abortConnection)
        else:
            self.transport.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """twisted.web has met what is no HTTP."""
        self.refuse(MalformedRequest("this is not a well-formed HTTP request"))

    # Who keeps us waiting.

    def timeoutConnection(self) -> None:
        """No head came in time, or no more of a body."""
        if self._taken():
            # What it was sent before is still on its way.
            self.setTimeout(self.timeOut)
        elif self._head_size:
            self.transport.abortConnection()
        else:
            self.loseConnection()

    def pauseProducing(self) -> None:
        """The client takes less than it is sent."""
        super().pauseProducing()
        if self._stall is None:
            self._taken()
            self._stall = self.callLater(self.site.limits.quiet, self._stalled)

    def resumeProducing(self) -> None:
        """The client has caught up."""
        super().resumeProducing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _stalled(self) -> None:
        self._stall = None
        if self._taken():
            self._stall = self.callLater(self.site.limits.quiet, self._stalled)
        else:
            self.transport.abortConnection()

    _unsent = 0

    @property
    def unsent(self) -> int:
        """Bytes that wait in this process to be sent."""
        return _queued(self.transport)

    @property
    def stalls(self) -> bool:
        """The client takes less than it is sent."""
        return self._stall is not None

    def _taken(self) -> bool:
        """Whether some of the queued bytes were taken since this was asked last."""
        before, self._unsent = self._unsent, self.unsent
        return self._unsent > 0 and (not before or self._unsent < before)


def _queued(transport: Any) -> int:
    """Bytes that wait in this process to be sent."""
    inner = getattr(transport, "transport", transport)  # under TLS
    waiting: int = len(inner.dataBuffer) - inner.offset + inner._tempDataLen
    return waiting
