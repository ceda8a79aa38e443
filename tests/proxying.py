"""A balancer's public side in this process, between scripted servers and raw clients."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from paddler.balancer.accounts import Ledger, Ledgers
from paddler.balancer.admission import Admission
from paddler.balancer.exchanges import Exchanges, Ways
from paddler.balancer.fastlane import loop_of
from paddler.balancer.fastlane.adoption import FastLane
from paddler.balancer.fastlane.hop import FastHop
from paddler.balancer.limits import BodyBudget, Limits
from paddler.balancer.proxy import ProxyResource
from paddler.balancer.sites import ConnectionSite
from paddler.balancer.upstream import AgentHop
from paddler.scheduling.policies import IdleSlots, Policy, Prefix
from paddler.scheduling.scheduler import Scheduler
from paddler.testing import Call, ScriptedServer
from paddler.values import Address, Report
from tests.llamas import until

__all__ = ["Client", "ProxyCase", "TurnedClock", "post", "reactor"]

reactor = cast(Any, _reactor)

_DESCRIPTORS = Path("/proc/self/fd")


def _descriptors() -> int:
    """How many files and connections this process has open; 0 where that can't be told."""
    if not _DESCRIPTORS.exists():
        return 0
    opened = (os.path.realpath(each) for each in _DESCRIPTORS.iterdir())
    # uvloop keeps some of the null device.
    return sum(path != os.devnull for path in opened)


class TurnedClock(Clock):
    """Time that stands still until a test turns it, while bytes move in the reactor's.

    What is to be done at once is done by the reactor.
    """

    def callLater(self, when: float, what: Any, *args: Any, **kw: Any) -> Any:
        if when <= 0:
            return reactor.callLater(0, what, *args, **kw)
        return super().callLater(when, what, *args, **kw)


def post(path: str, body: Any = None, *headers: str) -> bytes:
    """A POST on a connection that is kept."""
    data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: llm.example", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


class Client(Protocol):
    """A raw connection: what came over it, and whether it was closed."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.total = 0
        self.keep = True
        self.closed: Deferred[None] = Deferred()
        #: It was closed properly, and not reset.
        self.properly = False
        self._wanted: list[tuple[bytes, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.total += len(data)
        if self.keep:
            self.received += data
            self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.properly = reason.check(ConnectionDone) is not None
        self.closed.callback(None)
        wanted, self._wanted = self._wanted, []
        for text, waiting in wanted:
            waiting.errback(AssertionError(f"{text!r} never came, but {self.received!r}"))

    def until(self, text: bytes) -> Deferred[bytes]:
        """Everything received so far, once `text` is in it."""
        if text not in self.received and self.closed.called:
            return fail(AssertionError(f"{text!r} never came, but {self.received!r}"))
        waiting: Deferred[bytes] = Deferred()
        self._wanted.append((text, waiting))
        self._tell()
        return waiting

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.transport.write(data)

    def leave(self) -> None:
        """Cut the connection."""
        self.transport.abortConnection()

    def _tell(self) -> None:
        for wanted in list(self._wanted):
            if wanted[0] in self.received:
                self._wanted.remove(wanted)
                wanted[1].callback(self.received)


class ProxyCase(TestCase):
    """A proxy on real sockets; scripted servers join it by hand, without agents.

    After each test no slot is taken, nobody waits and nothing is open that was not before.
    """

    timeout = 30
    agent_expiry = 1000
    connect_timeout = 5.0
    buffer_size = 10
    buffer_timeout = 20.0
    buffer_bytes = 256 * 2**20
    limits = Limits(body=100 * 2**20, quiet=20.0, connections=1000)
    ways = Ways()
    policy: Policy | Prefix = IdleSlots()
    ledger: Ledger | None = None

    async def setUp(self) -> None:
        # The first of the cleanups is the last that is done.
        self.addCleanup(self._check_what_is_left)
        self.clock = self.make_clock()
        self.scheduler = Scheduler(
            self.policy, Random(1), self.buffer_size, self.agent_expiry, quarantine=10.0
        )
        bodies = BodyBudget(self.buffer_bytes)
        self.admission = Admission(self.clock, self.scheduler, self.buffer_timeout, bodies)
        self.addCleanup(self.admission.stop)
        #: Chunks pass as they are framed: requests go through the fast lane.
        self.framed = loop_of(reactor) is not None
        hop: Any = AgentHop(reactor, self.connect_timeout)
        loop = loop_of(reactor)
        if loop is not None:
            hop = FastHop(loop, reactor, self.connect_timeout, hop)
        self.proxy = Exchanges(self.clock, self.admission, hop, self.ways, self.ledger or Ledgers())
        self.site = ConnectionSite(
            ProxyResource(self.proxy),
            reactor,
            "public",
            self.limits,
            bodies,
            self.admission.no_room_for_body,
            self.ledger,
            None if loop is None else FastLane(loop, self.proxy),
        )
        self.addCleanup(hop.close)
        self.listening = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.site.port = self.listening
        self.port = self.listening.getHost().port
        self.addCleanup(self._close)
        # The reactor, once it runs, and the first port of all keep some open.
        await deferLater(reactor, 0)
        self.descriptors = _descriptors() - 1

    def make_clock(self) -> Any:
        """What tells the proxy the time."""
        return reactor

    async def _check_what_is_left(self) -> None:
        """No lease, no waiter, no bytes, no timer, no connection."""
        self.successResultOf(self.proxy.drained())
        # Forgotten ones with leases too.
        for upstream in self.scheduler._fleet._by_address.values():
            self.assertEqual((upstream.in_flight, upstream.promised), (0, 0), upstream)
        self.assertEqual(self.waiting(), 0)
        self.assertEqual(self.admission.bodies.used, 0)
        if isinstance(self.clock, Clock):
            self.assertEqual(self.clock.getDelayedCalls(), [])
        await until(lambda: _descriptors() <= self.descriptors, what="the end of all connections")

    async def _close(self) -> None:
        await self.listening.stopListening()
        self.site.abort()
        await self.site.close()

    async def server(self, slots: int = 1, name: str = "one", **report: Any) -> ScriptedServer:
        """A scripted server that the balancer knows."""
        server = ScriptedServer(reactor)
        await server.start()
        self.addCleanup(server.stop)
        self.join(server, slots, name, **report)
        return server

    def join(
        self, server: ScriptedServer, slots: int = 1, name: str = "one", **report: Any
    ) -> None:
        """Report a server, as its agent would."""
        address = Address("127.0.0.1", server.port)
        report = {"slots_total": slots, **report}
        self.admission.report(name, Report(name, address, 1.0, **report))

    def next_call(self, server: ScriptedServer) -> Deferred[Call]:
        """The next request that a server gets; the test answers it."""
        came: Deferred[Call] = Deferred()
        before = server.on_request

        def got(call: Call) -> None:
            server.on_request = before
            came.callback(call)

        server.on_request = got
        return came

    def waiting(self) -> int:
        """How many requests wait."""
        return self.admission.queue().requests_waiting

    async def client(self) -> Client:
        """A connection to the proxy."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        return client

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request on a connection of its own; status, headers and body of the answer."""
        client = await self.client()
        client.send(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        await client.closed
        head, _, body = client.received.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = dict(each.lower().split(": ", 1) for each in lines)
        return int(line.split()[1]), headers, body
