"""HTTP connections of clients, agents and operators, on twisted.web."""

from __future__ import annotations

from typing import IO, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as BaseRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

__all__ = ["ConnectionSite", "PlainRequest"]

#: Seconds after which a connection on which nothing comes is closed.
IDLE_TIMEOUT = 60.0


class PlainRequest(Request):
    """A request whose body nobody reads on the way.

    twisted.web takes forms apart before a resource sees them; a proxy must not.
    """

    content: IO[bytes]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is here, whole."""
        self.content.seek(0, 0)
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()


class _Channel(HTTPChannel):
    """A connection that its site knows of."""

    site: ConnectionSite
    transport: Any

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.connected(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.site.disconnected(self)


class ConnectionSite(Site):
    """A site that knows its connections and can close them without cutting an answer.

    It writes no access log of its own and shows nobody a traceback. HTTP/2 is not spoken.
    """

    protocol: Any = _Channel
    displayTracebacks = False

    def __init__(self, resource: IResource, reactor: Any) -> None:
        super().__init__(
            resource, requestFactory=PlainRequest, timeout=IDLE_TIMEOUT, reactor=reactor
        )
        self._channels: set[_Channel] = set()
        self._closed: Deferred[None] | None = None

    def log(self, request: BaseRequest) -> None:
        """Write nothing."""

    def connected(self, channel: _Channel) -> None:
        """A connection was made."""
        self._channels.add(channel)

    def disconnected(self, channel: _Channel) -> None:
        """A connection has ended."""
        self._channels.discard(channel)
        closed = self._closed
        if closed is not None and not self._channels:
            self._closed = None
            closed.callback(None)

    def close(self) -> Deferred[None]:
        """Close all connections once what was written to them is sent; fires when they are."""
        for channel in list(self._channels):
            channel.loseConnection()
        if not self._channels:
            return succeed(None)
        self._closed = Deferred()
        return self._closed

    def abort(self) -> None:
        """Close all connections at once."""
        for channel in list(self._channels):
            channel.transport.abortConnection()
