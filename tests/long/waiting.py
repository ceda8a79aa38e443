"""Ten thousand requests that wait, and then one llama-server that serves them all in order."""

from __future__ import annotations

import json
import resource
import socket
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from paddler.descriptors import raise_descriptor_limit
from paddler.testing import Call, ScriptedServer
from paddler.values import Address, Report
from tests.llamas import fetch, free_port, until, wait_until_healthy
from tests.processes import PaddlerProcess, cpu_seconds, memory, reactor

__all__ = ["ManyWaitingTests"]

MANY, FEW, ROUNDS = 10_000, 100, 10
SLOTS = 64
#: Bytes that the balancer may need for so many more small requests that wait.
MEMORY = 200 * 2**20
#: How much longer a grant may take among many than among few.
SLOWER = 2.0
AGENT = "one"


class ManyWaitingTests(TestCase):
    """What waits costs little, is served in the order it came, and makes nothing slower."""

    timeout = 240

    async def setUp(self) -> None:
        self.management, self.public = free_port(), free_port()
        self.balancer = PaddlerProcess(
            "balancer",
            f"--management-port={self.management}",
            f"--reverseproxy-port={self.public}",
            "--request-buffer-size=20000",
            "--request-buffer-timeout=10m",
            "--max-connections=20000",
        )
        self.addCleanup(self.balancer.kill)
        # It must raise its own limit, whatever it begins with.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
        self.balancer.start()
        raise_descriptor_limit()
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        await wait_until_healthy(self.public)
        self.slots = self.expected = 0
        self.wave: list[Call] = []
        self.served: list[int] = []
        self.server = ScriptedServer(reactor)
        self.server.on_request = self.serve
        await self.server.start()
        self.addCleanup(self.server.stop)

    def serve(self, call: Call) -> None:
        """Answer when all slots are taken, or when there is nobody left to take them.

        Those that are sent at the same time may overtake each other on the way, and no others.
        """
        self.server.calls.clear()
        self.wave.append(call)
        if len(self.wave) < min(self.slots, self.expected - len(self.served)):
            return
        wave, self.wave = self.wave, []
        self.served += sorted(int(call.body[11:-2]) for call in wave)
        for call in wave:
            call.answer(200, call.body)

    async def test_ten_thousand(self) -> None:
        """They take little memory, come in order, and a grant costs no more than among few."""
        needed = MANY + 500
        limit = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.assertGreater(limit, needed, "this test needs a higher limit of open files (ulimit)")
        with open(f"/proc/{self.balancer.pid}/limits", encoding="ascii") as limits:
            (line,) = (line for line in limits if line.startswith("Max open files"))
        self.assertEqual(*line.split()[3:5])

        idle = memory(self.balancer.pid)
        await self.round(FEW, 1)
        few = sum([await self.round(FEW, SLOTS) for _ in range(ROUNDS)]) / ROUNDS / FEW
        clients = await self.ask(MANY)
        full = memory(self.balancer.pid)
        many = await self.serve_all(clients, SLOTS) / MANY
        print(
            f"\nwaiting: {MANY} take {(full - idle) / 2**20:.0f} MiB "
            f"({(full - idle) / MANY / 1024:.1f} KiB each); CPU for each {few * 1e6:.0f} us "
            f"among {FEW}, {many * 1e6:.0f} us among {MANY}: {many / few:.2f} times as much"
        )
        self.assertLess(full - idle, MEMORY)
        self.assertLess(many / few, SLOWER)

    async def round(self, count: int, slots: int) -> float:
        """Let so many wait and be served; the seconds of CPU that serving them took."""
        return await self.serve_all(await self.ask(count), slots)

    async def ask(self, count: int) -> list[socket.socket]:
        """Send requests of which each waits before the next is sent, so that all have a place."""
        clients = []
        with socket.create_connection(("127.0.0.1", self.management)) as asking:
            for number in range(count):
                client = socket.create_connection(("127.0.0.1", self.public))
                self.addCleanup(client.close)
                body = b'{"prompt":"%d"}' % number
                head = b"POST /completion HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
                client.sendall(head % len(body) + body)
                clients.append(client)
                while self.waiting(asking) <= number:
                    pass
                if number % 100 == 0:
                    await deferLater(reactor, 0)
        return clients

    def waiting(self, asking: socket.socket) -> int:
        """How many wait."""
        asking.sendall(b"GET /api/v1/demand HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            part = asking.recv(4096)
            assert part, answer
            answer += part
        found: int = json.loads(answer.partition(b"\r\n\r\n")[2])["requests_waiting"]
        return found

    async def serve_all(self, clients: list[socket.socket], slots: int) -> float:
        """The server joins and serves them all; the seconds of CPU that it took."""
        self.served.clear()
        self.slots, self.expected = slots, len(clients)
        before = cpu_seconds(self.balancer.pid)
        report = Report(AGENT, Address("127.0.0.1", self.server.port), 3600.0, slots)
        path = f"/api/v1/agent_status_update/{AGENT}"
        code, _ = await fetch(self.management, path, report.to_json())
        self.assertEqual(code, 200)
        await until(lambda: len(self.served) == len(clients), within=120, what="the last one")
        await until(self.nothing_runs, within=20, what="the end")
        spent = cpu_seconds(self.balancer.pid) - before
        self.assertEqual(self.served, list(range(len(clients))))
        for number, client in enumerate(clients):
            answer = client.recv(4096)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
            self.assertTrue(answer.endswith(b'{"prompt":"%d"}' % number), answer)
            client.close()
        await self.leave()
        return spent

    async def nothing_runs(self) -> bool:
        """Whether no slot is in use."""
        agents: Any = json.loads((await fetch(self.management, "/api/v1/agents"))[1])["agents"]
        return all(not agent["in_flight"] for agent in agents)

    async def leave(self) -> None:
        """The server's agent says goodbye."""
        head = f"DELETE /api/v1/agents/{AGENT} HTTP/1.0\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.management)) as asking:
            asking.sendall(head.encode())
            self.assertIn(b" 200 ", asking.recv(4096))
