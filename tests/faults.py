"""What goes wrong in front of and behind a proxy, at a time that the test turns."""

from __future__ import annotations

import json
import socket
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from paddler.scheduling.views import AgentView
from paddler.testing import Call, ScriptedServer
from tests.llamas import until
from tests.proxying import Client, ProxyCase, TurnedClock, post, reactor

__all__ = ["FaultCase", "answer_ok", "error_in", "full_port", "post_bytes", "post_number"]


def answer_ok(call: Call) -> None:
    """Answer a request with its own body."""
    call.answer(200, call.body)


def error_in(received: bytes) -> tuple[int, str]:
    """The status and the word of an error that a client got, in llama-server's shape."""
    head, _, body = received.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    status = int(head.split()[1])
    assert error["code"] == status, received
    return status, error["type"]


async def full_port(case: TestCase) -> socket.socket:
    """A listening socket whose backlog is full: a connection to it is neither made nor refused."""
    listening = socket.socket()
    case.addCleanup(listening.close)
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    # How many it takes is the system's to say; one that is not made at once is one too many.
    while True:
        filling = socket.socket()
        case.addCleanup(filling.close)
        filling.setblocking(False)
        filling.connect_ex(listening.getsockname())
        await deferLater(reactor, 0.02)
        try:
            filling.getpeername()
        except OSError:
            return listening


def post_number(number: int, *headers: str) -> bytes:
    """A request that can be told from others."""
    return post_bytes(json.dumps({"number": number}).encode(), *headers)


def post_bytes(body: bytes, *headers: str) -> bytes:
    """A request with that body."""
    return post("/completion", body, *headers)


class FaultCase(ProxyCase):
    """A proxy whose time is turned by hand."""

    agent_expiry = 3
    clock: TurnedClock

    def make_clock(self) -> TurnedClock:
        """Time begins well after 0."""
        clock = TurnedClock()
        clock.advance(1_000_000.0)
        return clock

    async def asking(self, body: Any = None, *headers: str, path: str = "/completion") -> Client:
        """A client that has sent a request."""
        client = await self.client()
        client.send(post(path, body, *headers))
        return client

    async def queued(self, body: Any = None, *headers: str) -> Client:
        """A client whose request waits."""
        before = self.waiting()
        client = await self.asking(body, *headers)
        await until(lambda: self.waiting() == before + 1, what="one more that waits")
        return client

    async def running(
        self, server: ScriptedServer, body: Any = None, *headers: str
    ) -> tuple[Client, Call]:
        """A client whose request the server has got and not answered."""
        came = self.next_call(server)
        client = await self.asking(body, *headers)
        return client, await came

    async def get(self, path: str = "/props") -> Client:
        """A client that has asked for what needs no slot."""
        client = await self.client()
        client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        return client

    def agent(self, name: str = "one") -> AgentView:
        """What is known of an agent."""
        (found,) = [view for view in self.admission.agents() if view.agent_name == name]
        return found

    def state(self, name: str = "one") -> str:
        """An agent's state."""
        return self.agent(name).state

    async def settled(self) -> None:
        """What is on its way over the loopback has arrived, and what it caused has been done."""
        for _ in range(3):
            client = await self.client()
            client.send(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.until(b"slots_total")
            client.leave()
