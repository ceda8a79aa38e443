"""The balancer's root: it starts, it stops in order, and says what is wrong in one line."""

from __future__ import annotations

import json
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase, TestCase

from paddler.balancer.plugin import BalancerService, Options, makeService
from paddler.testing import Call, ScriptedServer
from paddler.values import Address, Report
from tests.llamas import fetch, free_port, until
from tests.proxying import Client, post, reactor


class PluginTests(SynchronousTestCase):
    """What twistd finds."""

    def test_plugins(self) -> None:
        """Both services are there."""
        names = {plugin.tapname for plugin in getPlugins(IServiceMaker)}
        self.assertTrue({"paddler-balancer", "paddler-agent"} <= names)


class ServiceTests(TestCase):
    """A balancer on real ports."""

    timeout = 30

    def setUp(self) -> None:
        self.management, self.public = free_port(), free_port()

    def make(self, *words: str) -> BalancerService:
        """A balancer, not started."""
        options = Options()
        options.environment = {}
        ports = (f"--management-port={self.management}", f"--reverseproxy-port={self.public}")
        options.parseOptions([*ports, *words])
        service: Any = makeService(options, reactor)
        return service

    def start(self, *words: str) -> BalancerService:
        """A balancer that runs."""
        service = self.make(*words)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service

    async def server(self, service: BalancerService) -> ScriptedServer:
        """A scripted server that it knows."""
        server = ScriptedServer(reactor)
        await server.start()
        self.addCleanup(server.stop)
        address = Address("127.0.0.1", server.port)
        service.admission.report("one", Report("one", address, 1.0, 1))
        return server

    async def connect(self) -> Client:
        """A connection to the public side."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.public)
        client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        return client

    async def test_serves(self) -> None:
        """Both ports answer, and are closed after a stop."""
        service = self.start()
        self.assertEqual((await fetch(self.public, "/health"))[0], 200)
        self.assertEqual((await fetch(self.management, "/health"))[0], 200)
        await service.stopService()
        for port in (self.public, self.management):
            try:
                await fetch(port, "/health")
            except Exception as error:
                self.assertEqual(type(error).__name__, "ConnectionRefusedError")
            else:
                self.fail("it still listens")

    async def test_what_ticks(self) -> None:
        """While nothing happens the history looks at the fleet, and that is all that is done."""
        before = reactor.getDelayedCalls()
        service = self.start()
        ticking = [call for call in reactor.getDelayedCalls() if call not in before]
        self.assertEqual(len(ticking), 1, ticking)
        await service.stopService()

    async def test_taken_port(self) -> None:
        """A port that is taken ends the start with a line that names it and the option."""
        listening = reactor.listenTCP(self.public, Factory(), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        service = self.make()
        error = self.assertRaises(SystemExit, service.privilegedStartService)
        self.addCleanup(service.stopService)
        line = str(error.code)
        self.assertIn(str(self.public), line)
        self.assertIn("--reverseproxy-", line)
        self.assertIn("in use", line)
        self.assertNotIn("\n", line)

    async def test_bad_endpoint(self) -> None:
        """An endpoint that Twisted doesn't know is said so."""
        options = Options()
        options.environment = {}
        options.parseOptions(["--reverseproxy-endpoint=nothing:1"])
        error = self.assertRaises(SystemExit, makeService, options, reactor)
        self.assertIn("--reverseproxy-endpoint: got 'nothing:1'", str(error.code))
        self.assertNotIn("\n", str(error.code))

    async def test_unix_socket(self) -> None:
        """The management server may be on a unix socket."""
        path = self.mktemp()
        options = Options()
        options.environment = {}
        options.parseOptions(
            [f"--management-endpoint=unix:{path}", f"--reverseproxy-port={self.public}"]
        )
        service: Any = makeService(options, reactor)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        self.assertEqual((await fetch(self.public, "/health"))[0], 200)

    async def test_stop_waits_for_an_answer(self) -> None:
        """A stop lets a running answer end, and one that waits still gets a slot."""
        service = self.start("--shutdown-grace=10s")
        server = await self.server(service)
        calls: list[Call] = []
        server.on_request = calls.append
        running, waiting, idle = [await self.connect() for _ in range(3)]
        running.send(post("/completion"))
        await until(lambda: len(calls) == 1)
        waiting.send(post("/completion"))
        await until(lambda: service.admission.queue().requests_waiting == 1)
        stopping: Deferred[None] = service.stopService()
        idle.send(post("/completion"))
        await idle.until(b"shutting_down")
        calls[0].answer(200, b"first")
        await running.until(b"first")
        await until(lambda: len(calls) == 2)
        self.assertFalse(stopping.called)
        calls[1].answer(200, b"second")
        await waiting.until(b"second")
        await stopping

    async def test_stop_cuts_after_the_grace(self) -> None:
        """After the grace what runs is cut, and what waits is told."""
        service = self.start("--shutdown-grace=100ms")
        server = await self.server(service)
        calls: list[Call] = []
        server.on_request = calls.append
        running, waiting = [await self.connect() for _ in range(2)]
        running.send(post("/completion"))
        await until(lambda: len(calls) == 1)
        calls[0].start_stream()
        calls[0].chunk(b"data: 1\n\n")
        await running.until(b"data: 1")
        waiting.send(post("/completion"))
        await until(lambda: service.admission.queue().requests_waiting == 1)
        await service.stopService()
        self.assertIn(b"shutting_down", waiting.received)
        await running.closed
        self.assertFalse(running.received.endswith(b"0\r\n\r\n"))
        await calls[0].lost

    async def test_stop_cuts_http_1_0(self) -> None:
        """A client that would take a clean end for the end of the answer is reset."""
        service = self.start("--shutdown-grace=100ms")
        server = await self.server(service)
        calls: list[Call] = []
        server.on_request = calls.append
        client = await self.connect()
        client.send(b"POST /completion HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        await until(lambda: len(calls) == 1)
        calls[0].start_stream()
        calls[0].chunk(b"data: 1\n\n")
        await client.until(b"data: 1")
        await service.stopService()
        await client.closed
        self.assertFalse(client.properly)

    async def test_stop_while_a_request_comes(self) -> None:
        """A client that is still sending its request is told, and not cut without a word."""
        service = self.start("--shutdown-grace=10s")
        client = await self.connect()
        client.send(post("/completion", b"x" * 1000)[:-1])
        await until(lambda: service.admission.bodies.used == 1000)
        await service.stopService()
        self.assertTrue((await client.until(b"shutting_down")).startswith(b"HTTP/1.1 503"))

    async def test_stop_lets_a_slow_client_finish(self) -> None:
        """What was written to a client that reads slowly is not lost by a stop."""
        service = self.start("--shutdown-grace=10s")
        server = await self.server(service)
        body = b"x" * 8_000_000
        server.on_request = lambda call: call.answer(200, body)
        client = await self.connect()
        client.keep = False
        client.send(post("/completion"))
        client.transport.pauseProducing()
        await until(lambda: len(server.calls) == 1)
        stopping: Deferred[None] = service.stopService()
        await deferLater(reactor, 0.2)
        client.transport.resumeProducing()
        await stopping
        await client.closed
        self.assertGreater(client.total, len(body))

    async def test_stop_with_a_dashboard_open(self) -> None:
        """Streams end at once at a stop, whether they are read or not."""
        service = self.start()
        for number in range(1000):
            address = Address(f"10.0.{number // 250}.{number % 250}", 8088)
            service.admission.report(f"a{number}", Report(f"n{number}", address, 60.0, 1))
        self.public = self.management
        reads, sleeps = [await self.connect() for _ in range(2)]
        sleeps.transport.pauseProducing()
        for path in (b"agents", b"buffered_requests"):
            for client in (reads, sleeps) if path == b"agents" else (await self.connect(),):
                client.send(b"GET /api/v1/%s/stream HTTP/1.1\r\nHost: h\r\n\r\n" % path)
                if client is not sleeps:
                    await client.until(b"event: snapshot")
        await until(lambda: len(service._streams.agents._watchers) == 2)
        started = reactor.seconds()
        await service.stopService()
        self.assertLess(reactor.seconds() - started, 1.0)
        await reads.closed
        self.assertTrue(reads.received.endswith(b"0\r\n\r\n"))

    async def test_metrics(self) -> None:
        """What became of a request is counted, and the history goes on."""
        service = self.start()
        server = await self.server(service)
        server.on_request = lambda call: call.answer(200, b"yes")
        self.assertEqual((await fetch(self.public, "/completion", b"{}"))[0], 200)
        code, text = await fetch(self.management, "/metrics")
        self.assertEqual(code, 200)
        self.assertIn(b'paddler_requests_total{agent="one",code="200"} 1.0\n', text)
        code, history = await fetch(self.management, "/api/v1/history")
        self.assertEqual((code, list(json.loads(history))), (200, ["points"]))

    async def test_without_metrics(self) -> None:
        """They can be turned off."""
        self.start("--metrics-endpoint-enable=false")
        self.assertEqual((await fetch(self.management, "/metrics"))[0], 404)

    async def test_dashboard(self) -> None:
        """The dashboard is served when it is wanted."""
        self.start("--management-dashboard-enable=true")
        code, page = await fetch(self.management, "/dashboard")
        self.assertEqual(code, 200)
        self.assertIn(b"api/v1/agents", page)
        code, balancer = await fetch(self.management, "/api/v1/balancer")
        self.assertEqual((code, json.loads(balancer)["refused_reports"]), (200, 0))
