"""The balancer at its limits and at its end, on real sockets and as a real process."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.trial.unittest import TestCase

from paddler.agent.plugin import Options as AgentOptions
from paddler.agent.plugin import makeService as make_agent
from paddler.children import Child, tied_to_parent
from paddler.testing import Call, ScriptedServer
from paddler.values import Address, Report
from tests.commands import environment
from tests.faults import FaultCase, answer_ok, error_in
from tests.llamas import fetch, free_port, until, wait_until_healthy
from tests.proxying import Client, post, reactor

_PADDLER = ("-W", "error", "-m", "paddler", "balancer")
_TWISTD = (
    *("-c", "from twisted.scripts.twistd import run; run()"),
    *("-n", "--pidfile=", "paddler-balancer"),
)


class FullBufferTests(FaultCase):
    """A buffer that is full, by requests or by bytes."""

    buffer_size = 2
    buffer_bytes = 10_000

    async def test_by_count(self) -> None:
        """The next is told at once, and when to come back; a place that is free is taken."""
        first = await self.queued()
        second = await self.queued()
        third = await self.asking()
        received = await third.until(b"buffer_full")
        self.assertEqual(error_in(received), (429, "buffer_full"))
        self.assertRegex(received.lower(), rb"\r\nretry-after: [1-9][0-9]?\r\n")
        first.leave()
        await until(lambda: self.waiting() == 1)
        fourth = await self.queued()
        await self.server()
        await second.until(b"{}")
        await fourth.until(b"{}")

    async def test_by_bytes(self) -> None:
        """The same for bytes, before they are read."""
        first = await self.queued(b"x" * 9_000)
        second = await self.client()
        second.send(post("/completion", b"x" * 1_001)[:-1_001])
        received = await second.until(b"buffer_full")
        self.assertEqual(error_in(received), (429, "buffer_full"))
        self.assertRegex(received.lower(), rb"\r\nretry-after: [1-9][0-9]?\r\n")
        third = await self.queued(b"x" * 1_000)
        await self.server()
        await first.until(b"{}")
        await third.until(b"{}")

    async def test_back_in_a_full_buffer(self) -> None:
        """A request that its server failed has its place there, however full it is."""
        server = await self.server()
        first, call = await self.running(server, b"x" * 6_000)
        await self.queued(b"x" * 6_000)
        await self.queued(b"x" * 4_000)
        server.on_request = answer_ok
        call.reset()
        await until(lambda: self.waiting() == 3)
        self.assertEqual(self.admission.bodies.used, 16_000)
        self.join(server)
        await first.until(b"x" * 6_000)

    async def test_waited_too_long(self) -> None:
        """At its deadline each is told, and when to come back; a running answer goes on."""
        server = await self.server()
        running, call = await self.running(server)
        waiting = await self.queued()
        for _ in range(20):
            self.clock.advance(1)
            self.join(server)
        received = await waiting.until(b"buffer_timeout")
        self.assertEqual(error_in(received), (504, "buffer_timeout"))
        self.assertRegex(received.lower(), rb"\r\nretry-after: [1-9][0-9]?\r\n")
        call.answer(200, b"done")
        await running.until(b"done")


class RealCase(TestCase):
    """A balancer in a process of its own, and a scripted server that it knows."""

    timeout = 30

    async def setUp(self) -> None:
        self.management, self.public = free_port(), free_port()
        self.server = ScriptedServer(reactor)
        await self.server.start()
        self.addCleanup(self.server.stop)

    async def start(self, command: tuple[str, ...], *words: str) -> Child:
        """Start a balancer and tell it of the server."""
        child = Child("balancer", lambda child: None)
        ports = (f"--management-port={self.management}", f"--reverseproxy-port={self.public}")
        line = [*tied_to_parent(), sys.executable, *command, *ports, *words]
        reactor.spawnProcess(child, line[0], line, env=environment())

        async def end() -> None:
            child.send(signal.SIGKILL)
            await child.gone

        self.addCleanup(end)
        await wait_until_healthy(self.management)
        return child

    async def report(self, slots: int = 1) -> None:
        """Report the server."""
        told = Report("one", Address("127.0.0.1", self.server.port), 60.0, slots)
        path = "/api/v1/agent_status_update/one"
        self.assertEqual((await fetch(self.management, path, told.to_json()))[0], 200)

    async def client(self) -> Client:
        """A connection to the public side."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.public)
        client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        return client

    async def streaming(self) -> tuple[Client, Call]:
        """A client that has got the first event of a stream."""
        calls: list[Call] = []
        self.server.on_request = calls.append
        client = await self.client()
        client.send(post("/completion"))
        await until(lambda: calls)
        calls[0].start_stream()
        calls[0].chunk(b"data: 1\n\n")
        await client.until(b"data: 1")
        return client, calls[0]

    async def waits(self) -> bool:
        """Whether one request waits."""
        view = await fetch(self.management, "/api/v1/buffered_requests")
        return bool(json.loads(view[1])["requests_waiting"] == 1)

    async def refuses(self) -> bool:
        """Whether the public port takes no connection."""
        try:
            (await self.client()).leave()
        except ConnectError as error:
            # Closed at the very moment, it resets what it had not accepted yet.
            return isinstance(error, ConnectionRefusedError)
        return False


class StopTests(RealCase):
    """SIGTERM with streams running."""

    async def check_drain(self, command: tuple[str, ...]) -> None:
        """It takes nothing new, ends what runs and what waits, and is gone with code 0."""
        child = await self.start(command)
        await self.report()
        stream, call = await self.streaming()
        waiting, kept = await self.client(), await self.client()
        waiting.send(post("/completion", b"waits"))
        await until(self.waits)
        child.send(signal.SIGTERM)
        await until(self.refuses)
        kept.send(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(error_in(await kept.until(b"shutting_down")), (503, "shutting_down"))
        call.chunk(b"data: 2\n\n")
        await stream.until(b"data: 2")
        self.assertFalse(child.gone.called)
        self.server.on_request = answer_ok
        call.chunk(b"")
        received = await stream.until(b"\n0\r\n\r\n")
        self.assertNotIn(b"truncated", received)
        await waiting.until(b"waits")
        await until(lambda: child.exit)
        self.assertEqual(child.exit, "exit code 0", child.last_words)
        self.assertNotIn("Traceback", child.last_words)

    async def test_drain(self) -> None:
        """`python -m paddler balancer`."""
        await self.check_drain(_PADDLER)

    async def test_drain_under_twistd(self) -> None:
        """`twistd -n paddler-balancer`."""
        await self.check_drain(_TWISTD)

    async def check_second(self, command: tuple[str, ...]) -> None:
        """A second one ends it at once, with 143; the stream is cut and not ended."""
        child = await self.start(command)
        await self.report()
        stream, call = await self.streaming()
        child.send(signal.SIGTERM)
        await until(self.refuses)
        self.assertFalse(child.gone.called)
        child.send(signal.SIGTERM)
        await until(lambda: child.exit)
        self.assertEqual(child.exit, "exit code 143", child.last_words)
        self.assertNotIn("Traceback", child.last_words)
        await stream.closed
        self.assertNotIn(b"\r\n0\r\n", stream.received)
        await call.lost

    async def test_second(self) -> None:
        """`python -m paddler balancer`."""
        await self.check_second(_PADDLER)

    async def test_second_under_twistd(self) -> None:
        """`twistd -n paddler-balancer`."""
        await self.check_second(_TWISTD)

    async def test_grace(self) -> None:
        """After the grace what runs is cut and what waits is told, and the code is still 0."""
        child = await self.start(_PADDLER, "--shutdown-grace=200ms")
        await self.report()
        stream, call = await self.streaming()
        waiting = await self.client()
        waiting.send(post("/completion"))
        await until(self.waits)
        child.send(signal.SIGTERM)
        await stream.closed
        self.assertNotIn(b"\r\n0\r\n", stream.received)
        await waiting.closed
        self.assertEqual(error_in(waiting.received), (503, "shutting_down"))
        await call.lost
        await until(lambda: child.exit)
        self.assertEqual(child.exit, "exit code 0", child.last_words)


class RestartTests(RealCase):
    """A balancer that is killed and started again."""

    async def test_agents_register_again(self) -> None:
        """The agent is back by itself, and a request that came before it is served."""
        self.server.on_request = _llama
        options = AgentOptions()
        options.environment = {}
        options.parseOptions(
            [
                f"--local-llamacpp-port={self.server.port}",
                f"--management-port={self.management}",
                "--reporting-interval=200ms",
                "--name=gpu",
            ]
        )
        agent: Any = make_agent(options, reactor)
        first = await self.start(_PADDLER)
        agent.startService()
        self.addCleanup(agent.stopService)
        for child in (first, None):
            if child is None:
                child = await self.start(_PADDLER)
            client = await self.client()
            client.send(post("/completion", b"hello"))
            received = await client.until(b"hello")
            self.assertIn(b"x-paddler-agent: gpu", received.lower())
            child.send(signal.SIGKILL)
            await until(lambda child=child: child.exit)


def _llama(call: Call) -> None:
    """Answer as a llama-server with one slot does, and requests with their own body."""
    if call.method == b"POST":
        answer_ok(call)
        return
    answers: dict[bytes, Any] = {
        b"/health": {"status": "ok"},
        b"/props": {"total_slots": 1},
        b"/slots": [{"id": 0, "is_processing": False}],
    }
    call.answer(200, json.dumps(answers.get(call.target, {})).encode())
