"""Conversations that go on without their client, and the server that has each."""

from __future__ import annotations

import json

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.conversations import AGE, LONGEST, MOST, Conversations, asked_for, fits
from paddler.testing import Call
from paddler.values import Address
from tests.llamas import until
from tests.proxying import ProxyCase, post, reactor

__all__ = ["ConversationsTests", "PassingTests"]

A, B = Address("a", 80), Address("b", 80)


class ConversationsTests(SynchronousTestCase):
    """What is remembered."""

    def test_where(self) -> None:
        """The last place counts."""
        conversations = Conversations()
        self.assertIsNone(conversations.where(b"c", 5.0))
        conversations.goes_to(b"c", A, 5.0)
        conversations.goes_to(b"d", A, 5.0)
        conversations.goes_to(b"c", B, 6.0)
        self.assertEqual([conversations.where(c, 6.0) for c in (b"c", b"d")], [B, A])

    def test_age(self) -> None:
        """What is old is forgotten, and so is all when the clock is set back."""
        conversations = Conversations()
        conversations.goes_to(b"c", A, 5.0)
        self.assertEqual(conversations.where(b"c", 4.9 + AGE), A)
        self.assertIsNone(conversations.where(b"c", 5.0 + AGE))
        self.assertIsNone(conversations.where(b"c", 4.0))
        conversations.goes_to(b"d", A, 6.0 + AGE)
        self.assertEqual(len(conversations), 1)

    def test_bound(self) -> None:
        """So many are remembered; the one that went on least lately goes first."""
        conversations = Conversations()
        for number in range(MOST):
            conversations.goes_to(b"%d" % number, A, 5.0)
        conversations.goes_to(b"0", B, 5.0)
        for number in range(MOST, MOST + 10):
            conversations.goes_to(b"%d" % number, A, 5.0)
        self.assertEqual(len(conversations), MOST)
        kept = [conversations.where(b"%d" % number, 5.0) for number in (0, 1, 10, 11)]
        self.assertEqual(kept, [B, None, None, A])

    def test_ids(self) -> None:
        """An id is not empty, and not endless."""
        self.assertEqual([fits(b""), fits(b"c"), fits(b"x" * (LONGEST + 1))], [False, True, False])

    def test_asked_for(self) -> None:
        """A body that can't be read asks for none, be it nested without end."""
        self.assertEqual(asked_for(b'{"conversation_ids":["c","d"]}'), [b"c", b"d"])
        nested = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        for body in (b"", b"{", b'{"conversation_ids":[1]}', b'{"a":"\xff"}', nested):
            self.assertEqual(asked_for(body), [])


def chat(conversation: str | None, model: str = "m") -> bytes:
    """A chat that belongs to a conversation."""
    headers = () if conversation is None else (f"X-Conversation-Id: {conversation}",)
    return post("/v1/chat/completions", {"messages": [], "model": model}, *headers)


class PassingTests(ProxyCase):
    """Conversations through the proxy, to scripted servers."""

    async def test_stays(self) -> None:
        """All chats of a conversation go to one server, which is told of it, and others to any."""
        servers = [await self.server(4, name, models=("m",)) for name in "ab"]
        first = (await self.ask(chat("c1")))[1]["x-paddler-agent"]
        for _ in range(10):
            self.assertEqual((await self.ask(chat("c1")))[1]["x-paddler-agent"], first)
        calls = [call for server in servers for call in server.calls]
        told = [call.headers.getRawHeaders(b"x-conversation-id") for call in calls]
        self.assertEqual(told, [[b"c1"]] * 11)
        others = {(await self.ask(chat(None)))[1]["x-paddler-agent"] for _ in range(30)}
        self.assertEqual(others, {"a", "b"})

    async def test_waits_for_it(self) -> None:
        """It waits for a slot there while another server has one, and others pass it."""
        server = await self.server(1, "a", models=("m",))
        coming = self.next_call(server)
        client = await self.client()
        client.send(chat("c1"))
        running: Call = await coming
        await self.server(2, "b", models=("m",))
        again = await self.client()
        again.send(chat("c1"))
        await until(lambda: self.waiting() == 1)
        self.assertEqual((await self.ask(chat(None)))[1]["x-paddler-agent"], "b")
        running.answer(200, b"{}")
        self.assertIn(b"X-Paddler-Agent: a", await again.until(b"\r\n\r\n"))

    async def test_gone(self) -> None:
        """Where its server is not well, or has another model now, it goes anywhere."""
        await self.server(1, "a", models=("m",))
        self.assertEqual((await self.ask(chat("c1")))[1]["x-paddler-agent"], "a")
        await self.server(1, "b", models=("m",))
        self.admission.drain("a", True)
        self.assertEqual((await self.ask(chat("c1")))[1]["x-paddler-agent"], "b")
        self.admission.drain("a", False)
        self.assertEqual((await self.ask(chat("c1")))[1]["x-paddler-agent"], "b")
        self.admission.leave("b")
        self.assertEqual((await self.ask(chat("c1")))[1]["x-paddler-agent"], "a")
        await self.server(1, "n", models=("n",))
        self.assertEqual((await self.ask(chat("c1", "n")))[1]["x-paddler-agent"], "n")

    async def test_server_dies_meanwhile(self) -> None:
        """Whoever waits for a server that is no longer well is served by another."""
        server = await self.server(1, "a", models=("m",))
        coming = self.next_call(server)
        client = await self.client()
        client.send(chat("c1"))
        running: Call = await coming
        again = await self.client()
        again.send(chat("c1"))
        await until(lambda: self.waiting() == 1)
        await self.server(1, "b", models=("m",))
        self.assertEqual(self.waiting(), 1)
        self.join(server, 1, "a", models=("m",), issues=("unreachable",))
        self.assertIn(b"X-Paddler-Agent: b", await again.until(b"\r\n\r\n"))
        running.answer(200, b"{}")
        await client.until(b"\r\n\r\n")

    async def test_stream(self) -> None:
        """A stream is taken up again and stopped where it is, without a slot."""
        a, b = [await self.server(1, name, models=("m",)) for name in "ab"]
        where = {name: (await self.ask(chat(name)))[1]["x-paddler-agent"] for name in ("c 1", "d")}
        for method in ("GET", "HEAD", "DELETE"):
            for conversation, quoted in (("c 1", "c%201"), ("d", "d")):
                request = f"{method} /v1/stream?conv_id={quoted}&from=7 HTTP/1.1\r\nHost: h\r\n\r\n"
                code, headers, _ = await self.ask(request.encode())
                self.assertEqual((code, headers["x-paddler-agent"]), (200, where[conversation]))
        sent = {call.target for call in (*a.calls, *b.calls)}
        self.assertIn(b"/v1/stream?conv_id=c%201&from=7", sent)

    async def test_unknown_stream(self) -> None:
        """One that nobody has is answered as by a llama-server that has it not."""
        await self.server(1, "a")
        answers = []
        for method in ("GET", "DELETE"):
            request = f"{method} /v1/stream?conv_id=x HTTP/1.1\r\nHost: h\r\n\r\n"
            answers.append(await self.ask(request.encode()))
        self.assertEqual([answer[0] for answer in answers], [404, 204])
        error = json.loads(answers[0][2])["error"]
        self.assertEqual((error["message"], error["type"]), ("File Not Found", "not_found_error"))
        request = b"GET /v1/stream HTTP/1.1\r\nHost: h\r\n\r\n"
        self.assertEqual((await self.ask(request))[1]["x-paddler-agent"], "a")

    async def test_dead_server(self) -> None:
        """No other server is asked for a stream when the one that has it is dead."""
        a, b = [await self.server(1, name, models=("m",)) for name in "ab"]
        name = (await self.ask(chat("c")))[1]["x-paddler-agent"]
        await (a if name == "a" else b).stop()
        request = b"GET /v1/stream?conv_id=c HTTP/1.1\r\nHost: h\r\n\r\n"
        self.assertEqual((await self.ask(request))[0], 502)

    async def test_client_leaves(self) -> None:
        """When its client leaves, the slot is taken until a sample shows that it is over."""
        server = await self.server(1, "a", models=("m",))
        coming = self.next_call(server)
        client = await self.client()
        client.send(chat("c1"))
        call: Call = await coming
        call.start_stream()
        call.chunk(b'data: {"a":1}\n\n')
        await client.until(b"data:")
        client.leave()
        await until(lambda: self.admission.agents()[0].client_left == 1)
        self.assertEqual(self.admission.fleet().slots_idle, 0)
        self.join(server, 1, "a", models=("m",), slots_busy=0)
        await deferLater(reactor, 0.3)
        self.join(server, 1, "a", models=("m",), slots_busy=0)
        await deferLater(reactor, 0.3)
        self.join(server, 1, "a", models=("m",), slots_busy=0)
        self.assertEqual(self.admission.fleet().slots_idle, 1)
