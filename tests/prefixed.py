"""A proxy that serves another server below a path, as people put one before their tools."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

__all__ = ["PrefixProxy"]

reactor = cast(Any, _reactor)


class _Pipe(Protocol):
    """Gives on what it gets, as it comes."""

    def __init__(self, other: Protocol) -> None:
        self.other: Any = other

    def dataReceived(self, data: bytes) -> None:
        self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.other.transport.loseConnection()


class _Asked(Protocol):
    """One client's connection, for one request."""

    def __init__(self, proxy: PrefixProxy) -> None:
        self.proxy = proxy
        self.received = b""
        self.there: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self.there is not None:
            self.there.transport.write(data)
            return
        self.received += data
        if b"\r\n\r\n" in self.received:
            self.there = False
            Deferred.fromCoroutine(self.pass_on())

    async def pass_on(self) -> None:
        """Ask the server the same, below no path."""
        line, _, rest = self.received.partition(b"\r\n")
        method, path, version = line.split(b" ")
        self.proxy.asked.append(path.decode())
        if not path.startswith(self.proxy.prefix):
            assert self.transport is not None
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            self.transport.loseConnection()
            return
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.proxy.to)
        self.there = await connectProtocol(endpoint, _Pipe(self))
        short = path.removeprefix(self.proxy.prefix)
        rest = rest.replace(b"Connection: keep-alive", b"Connection: close", 1)
        self.there.transport.write(b" ".join((method, short, version)) + b"\r\n" + rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.there:
            self.there.transport.loseConnection()


class PrefixProxy:
    """Serves the server at a port below a path; everything else is not found.

    :param to: the server's port.
    :param prefix: the path, without a slash at its end.
    :ivar port: where it listens.
    :ivar asked: the paths that were asked for.
    """

    def __init__(self, to: int, prefix: str) -> None:
        self.to = to
        self.prefix = prefix.encode()
        self.asked: list[str] = []
        self._listening: IListeningPort = reactor.listenTCP(
            0, Factory.forProtocol(lambda: _Asked(self)), interface="127.0.0.1"
        )
        self.port: int = self._listening.getHost().port  # type: ignore[attr-defined]

    def stop(self) -> Any:
        """Listen no more."""
        return self._listening.stopListening()
