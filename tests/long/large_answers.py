"""Answers larger than memory: they pass through, no faster than their client takes them."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from paddler.testing import Call, ScriptedServer
from paddler.values import Address, Report
from tests.llamas import fetch, free_port, until, wait_until_healthy
from tests.processes import PaddlerProcess, memory, peak_memory, reactor
from tests.proxying import post

__all__ = ["LargeAnswersTests"]

MIB = 2**20
SIZE = 500 * MIB
#: Bytes that the balancer's memory may grow by, however large an answer is.
GROWTH = 30 * MIB
#: Bytes that two connections' buffers hold, the system's and ours, when nobody takes them.
ON_THE_WAY = 40 * MIB
PIECE = bytes(range(256)) * 256


@implementer(IPullProducer)
@attrs.define(eq=False)
class Source:
    """A body that is made as it is taken.

    :param call: the request that it answers.
    :param chunked: send it in chunks, as a stream, else by its length.
    """

    call: Call
    chunked: bool
    made: int = 0

    def start(self) -> None:
        """Send the head, and let the body follow."""
        headers = {b"Content-Length": b"%d" % SIZE, b"Content-Type": b"application/json"}
        if self.chunked:
            headers = {b"Transfer-Encoding": b"chunked", b"Content-Type": b"text/event-stream"}
        self.call.head(200, headers)
        self.call.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Make one more piece, or end."""
        if self.made == SIZE:
            self.call.transport.unregisterProducer()
            if self.chunked:
                self.call.chunk(b"")
            return
        self.made += len(PIECE)
        if self.chunked:
            self.call.chunk(PIECE)
        else:
            self.call.transport.write(PIECE)

    def stopProducing(self) -> None:
        """Nobody wants it any more."""


class Sink(Protocol):
    """A client that counts what comes, when it reads at all.

    :ivar tail: the last bytes that came.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = 0
        self.tail = b""
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        self.tail = (self.tail + data)[-16:]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)


class LargeAnswersTests(TestCase):
    """The balancer is a pipe, and a narrow one."""

    timeout = 180

    async def setUp(self) -> None:
        management, public = free_port(), free_port()
        self.balancer = PaddlerProcess(
            "balancer", f"--management-port={management}", f"--reverseproxy-port={public}"
        )
        self.addCleanup(self.balancer.kill)
        self.balancer.start()
        await wait_until_healthy(public)
        self.server = ScriptedServer(reactor)
        await self.server.start()
        self.addCleanup(self.server.stop)
        report = Report("one", Address("127.0.0.1", self.server.port), 3600.0, 1)
        code, _ = await fetch(management, "/api/v1/agent_status_update/one", report.to_json())
        self.assertEqual(code, 200)
        self.sink = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", public), Sink())
        self.addCleanup(self.sink.transport.abortConnection)
        self.management = management

    async def ask(self, *, chunked: bool) -> Source:
        """Ask for a large answer; it has begun when this returns."""
        came: Deferred[Source] = Deferred()

        def answer(call: Call) -> None:
            source = Source(call, chunked)
            source.start()
            came.callback(source)

        self.server.on_request = answer
        self.sink.transport.write(post("/completion", {}, "Connection: close"))
        source = await came
        await until(lambda: self.sink.received, what="the first byte")
        return source

    async def read_slowly(self, seconds: float) -> None:
        """Read a little, now and then."""
        until_then = reactor.seconds() + seconds
        while reactor.seconds() < until_then:
            self.sink.transport.pauseProducing()
            await deferLater(reactor, 0.05)
            self.sink.transport.resumeProducing()
            await deferLater(reactor, 0)

    async def passes(self, *, chunked: bool) -> None:
        """All of a large answer arrives, first slowly, then fast, and the balancer stays small."""
        before = memory(self.balancer.pid)
        source = await self.ask(chunked=chunked)
        await self.read_slowly(3)
        self.assertLess(source.made - self.sink.received, ON_THE_WAY)
        self.assertLess(self.sink.received, SIZE / 2)
        slow, began = self.sink.received, reactor.seconds()
        await self.sink.closed
        took = reactor.seconds() - began
        grown = peak_memory(self.balancer.pid) - before
        print(
            f"\nlarge answers: {SIZE // MIB} MiB{' in chunks' if chunked else ''}, "
            f"{(self.sink.received - slow) / MIB / took:.0f} MiB/s when read fast, "
            f"the balancer grew by {grown / MIB:.1f} MiB"
        )
        self.assertGreaterEqual(self.sink.received, SIZE)
        self.assertTrue(self.sink.tail.endswith(b"\r\n0\r\n\r\n" if chunked else PIECE[-16:]))
        self.assertLess(grown, GROWTH)

    async def test_by_length(self) -> None:
        """500 MB with a length."""
        await self.passes(chunked=False)

    async def test_stream(self) -> None:
        """500 MB of a stream."""
        await self.passes(chunked=True)

    async def test_client_stops_reading(self) -> None:
        """Who reads nothing gets nothing made; the server is read no further, and then again."""
        before = memory(self.balancer.pid)
        source = await self.ask(chunked=True)
        self.sink.transport.pauseProducing()
        made = -1
        while made != source.made:
            made = source.made
            await deferLater(reactor, 1)
        self.assertLess(made - self.sink.received, ON_THE_WAY)
        await deferLater(reactor, 2)
        self.assertEqual(source.made, made)
        self.assertLess(peak_memory(self.balancer.pid) - before, GROWTH)
        self.sink.transport.resumeProducing()
        await until(lambda: source.made > made + ON_THE_WAY, what="the rest")
        # It leaves in the middle: the server is let go at once.
        self.sink.transport.abortConnection()
        await source.call.lost
        self.assertLess(source.made, SIZE)
