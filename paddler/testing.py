"""A llama-server that does as it is told, for tests on real sockets.

Whoever runs Paddler can try their own set-up with it: servers that refuse, stall,
or die in the middle of an answer are hard to come by when they are wanted.

    server = ScriptedServer(reactor)
    await server.start()                 # listens on 127.0.0.1:server.port
    server.on_request = lambda call: call.answer(200, b'{"content":"hi"}')

Some things that go wrong:

    await server.refuse()                # nobody listens any more; `start` listens again
    await server.stop()                  # nor does anybody answer: as if it was killed
    server.on_request = lambda call: None                 # takes requests and says nothing
    server.on_request = Call.reset                        # dies of each
    server.on_connection = lambda transport: transport.abortConnection()

    def dies_in_its_answer(call):
        call.start_stream()
        call.chunk(b'data: {"content":"so far"}\n\n')
        call.reset()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IPullProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

__all__ = ["Call", "ScriptedServer"]


@attrs.define(eq=False)
class Call:
    """One request that the server got, and the connection to answer it on.

    :param line: the request line, e.g. `POST /completion HTTP/1.1`.
    :param headers: its headers.
    :param body: its body; Paddler sends a Content-Length with each.
    :param transport: the connection: bytes written go out as they are.
    :param lost: fires when the connection is gone.
    """

    line: bytes
    headers: Headers
    body: bytes
    transport: Any = attrs.field(repr=False)
    lost: Deferred[None] = attrs.field(factory=Deferred, repr=False)

    @property
    def method(self) -> bytes:
        """The request's method."""
        return self.line.split(b" ")[0]

    @property
    def target(self) -> bytes:
        """Path and query, as they came."""
        return self.line.split(b" ")[1]

    def head(self, code: int, headers: Mapping[bytes, bytes]) -> None:
        """Send the head of an answer."""
        lines = [b"HTTP/1.1 %d Scripted" % code]
        lines += [name + b": " + value for name, value in headers.items()]
        self.transport.write(b"\r\n".join([*lines, b"", b""]))

    def answer(self, code: int, body: bytes, headers: Mapping[bytes, bytes] | None = None) -> None:
        """Send a whole answer."""
        self.head(
            code,
            {
                b"Content-Type": b"application/json",
                b"Content-Length": b"%d" % len(body),
                **(headers or {}),
            },
        )
        self.transport.write(body)

    def start_stream(self) -> None:
        """Send the head of an event stream."""
        self.head(200, {b"Content-Type": b"text/event-stream", b"Transfer-Encoding": b"chunked"})

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        self.transport.write(b"%x\r\n" % len(data) + data + b"\r\n")

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        self.transport.loseConnection()

    def reset(self) -> None:
        """Cut the connection with a TCP reset, once what was written is sent."""
        self.transport.registerProducer(_CutWhenSent(self.transport), False)


@implementer(IPullProducer)
class _CutWhenSent:
    """Has nothing more to send on a connection, and cuts it when that is asked for."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._asked = False

    def resumeProducing(self) -> None:
        """Asked for more: once at the beginning, and again when all that was written is sent."""
        if self._asked:
            self._transport.abortConnection()
        else:
            self._asked = True
            self._transport.startWriting()

    def stopProducing(self) -> None:
        """The connection is gone."""


class _Connection(Protocol):
    """Reads requests with a length, one after another."""

    transport: Any

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._read = b""
        self._calls: list[Call] = []

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._server.connections.append(self)
        self._server.on_connection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._read += data
        while (call := self._next_call()) is not None:
            self._calls.append(call)
            self._server.calls.append(call)
            self._server.on_request(call)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.connections.remove(self)
        for call in self._calls:
            call.lost.callback(None)

    def _next_call(self) -> Call | None:
        head, whole, rest = self._read.partition(b"\r\n\r\n")
        if not whole:
            return None
        line, *lines = head.split(b"\r\n")
        headers = Headers()
        for each in lines:
            name, _, value = each.partition(b":")
            headers.addRawHeader(name, value.strip())
        length = int(headers.getRawHeaders(b"content-length", [b"0"])[0])
        if len(rest) < length:
            return None
        self._read = rest[length:]
        return Call(line, headers, rest[:length], self.transport)


@attrs.define(eq=False)
class ScriptedServer:
    """A server on the loopback that answers as its `on_request` says.

    :param on_request: called with each request, whole; it may answer later.
    :param on_connection: called with the transport of each connection.
    :param calls: the requests so far.
    """

    _reactor: Any
    on_request: Callable[[Call], Any] = attrs.field(default=lambda call: call.answer(200, b"{}"))
    on_connection: Callable[[Any], Any] = attrs.field(default=lambda transport: None)
    calls: list[Call] = attrs.field(factory=list, init=False)
    connections: list[_Connection] = attrs.field(factory=list, init=False)
    port: int = attrs.field(default=0, init=False)
    _listening: IListeningPort | None = attrs.field(default=None, init=False)

    async def start(self) -> None:
        """Listen on 127.0.0.1, on the port it had before if it had one."""
        endpoint = TCP4ServerEndpoint(self._reactor, self.port, interface="127.0.0.1")
        factory = Factory.forProtocol(lambda: _Connection(self))
        self._listening = await endpoint.listen(factory)
        address: IAddress = self._listening.getHost()
        self.port = address.port  # type: ignore[attr-defined]

    async def refuse(self) -> None:
        """Listen no more; connections that were made stay."""
        listening, self._listening = self._listening, None
        stopping = None if listening is None else listening.stopListening()
        if stopping is not None:
            await stopping

    async def stop(self) -> None:
        """Listen no more and cut all connections."""
        await self.refuse()
        for connection in list(self.connections):
            connection.transport.abortConnection()
