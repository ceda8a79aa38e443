"""A plain request in the fast lane, and the way back to its client."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from zope.interface import implementer

from paddler.balancer.bodies import MemoryBody
from paddler.headers import Pairs, RequestHeaders, text_of
from paddler.interfaces import Head, IClientRequest

if TYPE_CHECKING:
    from paddler.balancer.fastlane.connection import FastConnection

__all__ = ["FastRequest"]

_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}


@implementer(IClientRequest)
class FastRequest(msgspec.Struct, eq=False):
    """One request.

    :param connection: whose it is.
    :param keeps: the connection is kept for another one.
    """

    connection: FastConnection
    uri: bytes
    headers: RequestHeaders
    its_id: bytes
    body: MemoryBody
    client_host: bytes
    keeps: bool
    #: Bytes of its body that count among those that wait.
    _held: int = 0
    flow: Any = None
    #: The head of the answer, until something goes with it.
    _head: bytes = b""
    _framed: bool = False
    #: The body is put into chunks here.
    _frames: bool = False

    method: ClassVar[bytes] = b"POST"
    secure: ClassVar[bool] = False
    takes_frames: ClassVar[bool] = True

    def let_go(self) -> None:
        """See `IClientRequest`."""
        if self._held:
            self.connection.site.bodies.used -= self._held
            self._held = 0

    def hold_again(self) -> None:
        """See `IClientRequest`."""
        self._held = self.body.size
        self.connection.site.bodies.used += self._held

    def respond(self, code: int, headers: Pairs, body: bytes) -> None:
        """See `IClientRequest`."""
        text = b"HTTP/1.1 %d %b\r\n%b" % (code, _PHRASES[code], text_of(headers))
        self._head = self._ended_head(b"%bContent-Length: %d\r\n" % (text, len(body)))
        self.write(body)
        self.finish()

    def begin(self, head: Head, agent: bytes, framed: bool, flow: Any) -> None:
        """See `IClientRequest`."""
        self.flow = flow
        text = b"%bX-Paddler-Agent: %b\r\n" % (head.text or head.as_text(), agent)
        if head.length is not None:
            if not head.bodyless:
                text = b"%bContent-Length: %d\r\n" % (text, head.length)
        elif not head.bodyless:
            self._framed, self._frames = framed, not framed
            text += b"Transfer-Encoding: chunked\r\n"
        self._head = self._ended_head(text)
        if self.connection.stalls:
            # With what it was sent before; asyncio says that once.
            flow.pause()

    def _ended_head(self, text: bytes) -> bytes:
        close = b"" if self.keeps else b"Connection: close\r\n"
        return b"%bX-Request-Id: %b\r\n%b\r\n" % (text, self.its_id, close)

    def write(self, data: bytes) -> None:
        """See `IClientRequest`."""
        if self._frames:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if self._head:
            data, self._head = self._head + data, b""
        self.connection.write(data)

    def finish(self) -> None:
        """See `IClientRequest`."""
        if self._held:
            self.let_go()
        self.flow = None
        end = self._head + b"0\r\n\r\n" if self._frames else self._head
        if end:
            self.connection.write(end)
        self.connection.answered(self)

    def cut(self, event: bytes | None) -> None:
        """See `IClientRequest`."""
        if event is not None:
            self._frames = self._frames or self._framed
            self.write(event)
        self.let_go()
        self.flow = None
        self.connection.cut()
