"""A client's request on twisted.web."""

from __future__ import annotations

from functools import cached_property
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import attrs
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from paddler.balancer.bodies import FileBody, content_file
from paddler.errors import BodyTooLarge, MalformedRequest, PaddlerError
from paddler.headers import AGENT, Pairs, RequestHeaders, pairs_of
from paddler.interfaces import Head, IClientRequest

if TYPE_CHECKING:
    from paddler.balancer.sites import ConnectionSite

__all__ = ["PlainRequest"]


@implementer(IClientRequest)
class PlainRequest(Request):
    """A request whose body nobody takes apart, and that counts it.

    twisted.web reads forms before a resource sees them; a proxy must not.
    """

    #: twisted.web frames the answer.
    takes_frames = False

    content: IO[bytes]
    channel: Any
    #: The site that the connection came to; `channel` is gone once the connection is.
    _site: ConnectionSite
    _held = 0
    _size = 0

    def gotLength(self, length: int | None) -> None:
        """The head is here: the last moment to refuse the body."""
        self.content = BytesIO()
        self._site = self.channel.site
        hosts = len(self.requestHeaders.getRawHeaders(b"host", ()))
        if hosts > 1 or (not hosts and self.channel._version == b"HTTP/1.1"):
            self._refuse(MalformedRequest("a request needs one Host header"))
        elif length is None or self._hold(length):
            self.content = content_file(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Some of the body has come."""
        self._size += len(data)
        if self._size <= self._held or self._hold(len(data)):
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is here, whole."""
        self.content.seek(0, 0)
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def finish(self) -> None:
        """The answer is whole."""
        self.let_go()
        if self.producer is not None:
            self.unregisterProducer()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """The client has gone."""
        self.let_go()
        super().connectionLost(reason)

    # What a proxy needs of it.

    @cached_property
    def headers(self) -> RequestHeaders:
        """See `IClientRequest`."""
        return RequestHeaders(pairs_of(self.requestHeaders))

    @cached_property
    def its_id(self) -> bytes:
        """See `IClientRequest`."""
        return self.headers.request_id()

    @property
    def body(self) -> FileBody:
        """See `IClientRequest`."""
        return FileBody(self.content, self.content.seek(0, 2))

    @property
    def client_host(self) -> bytes:
        """See `IClientRequest`."""
        return getattr(self.getClientAddress(), "host", "unknown").encode()

    @property
    def secure(self) -> bool:
        """See `IClientRequest`."""
        return bool(self.isSecure())

    def respond(self, code: int, headers: Pairs, body: bytes) -> None:
        """See `IClientRequest`."""
        for name, value in headers:
            self.setHeader(name, value)
        self.setResponseCode(code)
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def begin(self, head: Head, agent: bytes, framed: bool, flow: Any) -> None:
        """See `IClientRequest`."""
        self.setResponseCode(head.code, head.phrase)
        # twisted.web gives its own Content-Type where there is none, its own Date and Server.
        self.defaultContentType = None
        self.responseHeaders.removeHeader(b"date")
        self.responseHeaders.removeHeader(b"server")
        self.setHeader(AGENT, agent)
        ours = {name.lower() for name, _ in self.responseHeaders.getAllRawHeaders()}
        for name, value in head.headers:
            if name.lower() not in ours:
                self.responseHeaders.addRawHeader(name, value)
        bodyless = self.method == b"HEAD" or head.bodyless
        if head.length is not None and not bodyless:
            self.setHeader(b"content-length", b"%d" % head.length)
        self.registerProducer(_Producer(flow), True)

    def cut(self, event: bytes | None) -> None:
        """See `IClientRequest`."""
        if event is not None:
            self.write(event)
        if self.producer is not None:
            self.unregisterProducer()
        if self.clientproto == b"HTTP/1.0" and event is None:
            # With neither length nor chunks a clean close would be its end.
            self.channel.transport.abortConnection()
        else:
            # Without the last chunk, or short of its length, it shows.
            self.loseConnection()

    def let_go(self) -> None:
        """The body counts no more among those that wait."""
        if self._held:
            self._site.bodies.used -= self._held
            self._held = 0

    def hold_again(self) -> None:
        """The body waits once more; there is no refusing it now."""
        self._held = self._size
        self._site.bodies.used += self._held

    def _hold(self, size: int) -> bool:
        """Count so many more bytes of the body, or refuse it."""
        site = self._site
        if self._held + size > site.limits.body:
            self._refuse(BodyTooLarge(site.limits.body))
        elif not site.bodies.has_room(size):
            self._refuse(site.no_room())
        else:
            self._held += size
            site.bodies.used += size
            return True
        return False

    def _refuse(self, error: PaddlerError) -> None:
        # twisted.web would still send "100 Continue".
        self.requestHeaders.removeHeader(b"expect")
        self.channel.refuse(error)


@implementer(IPushProducer)
@attrs.frozen
class _Producer:
    """What twisted.web tells of a client that is slow."""

    _flow: Any

    def pauseProducing(self) -> None:
        self._flow.pause()

    def resumeProducing(self) -> None:
        self._flow.resume()

    def stopProducing(self) -> None:
        """The client has gone; `notifyFinish` tells whoever serves it."""
