"""Servers that take a request and say nothing more, and agents that doubt them, on real sockets.

llama-server that was told to end keeps its connections open and silent; one that evaluates a
long prompt is as silent and works. What its agent sees tells the two apart.
"""

from __future__ import annotations

from paddler.testing import Call
from tests.faults import FaultCase, answer_ok, error_in
from tests.llamas import until
from tests.proxying import post


def _nothing(call: Call) -> None:
    pass


def _head(call: Call) -> None:
    call.start_stream()


class UnreachableTests(FaultCase):
    """Its agent finds its port closed."""

    async def test_before_the_answer(self) -> None:
        """After two seconds without a byte it is cut, and another server gets the request."""
        for say in (_nothing, _head):
            one = await self.server(slots=9, name="one")
            client, call = await self.running(one)
            say(call)
            await self.settled()
            two = await self.server(slots=1, name="two")
            two.on_request = answer_ok
            self.join(one, slots=9, name="one", issues=("unreachable",))
            self.clock.advance(1.9)
            await self.settled()
            self.assertFalse(call.lost.called)
            self.clock.advance(0.2)
            await call.lost
            received = await client.until(b"{}")
            self.assertTrue(received.startswith(b"HTTP/1.1 200"))
            self.assertIn(b"x-paddler-agent: two", received.lower())
            self.assertEqual(self.agent("one").in_flight, 0)
            self.admission.leave("one")
            self.admission.leave("two")

    async def test_it_counts_as_a_try(self) -> None:
        """It may have been the request: two servers that hang get it, and no third."""
        servers = [await self.server(slots=n, name=f"s{n}") for n in (3, 2, 1)]
        client, _ = await self.running(servers[0])
        came = self.next_call(servers[1])
        self.join(servers[0], slots=3, name="s3", issues=("unreachable",))
        self.clock.advance(2.1)
        await came
        self.join(servers[1], slots=2, name="s2", issues=("unreachable",))
        self.clock.advance(2.1)
        received = await client.until(b"upstream_failed")
        self.assertTrue(received.startswith(b"HTTP/1.1 502"))
        self.assertEqual(servers[2].calls, [])

    async def test_body_that_is_not_taken(self) -> None:
        """A server that stops reading the request is given up too."""
        one = await self.server(slots=9, name="one")
        one.on_connection = lambda transport: transport.pauseProducing()
        body = b"x" * 20_000_000
        client = await self.asking(body)
        await until(lambda: self.agent("one").in_flight == 1, what="the request there")
        two = await self.server(slots=1, name="two")
        self.join(one, slots=9, name="one", issues=("unreachable",))
        self.clock.advance(2.1)
        await client.until(b"{}")
        self.assertEqual([len(call.body) for call in two.calls], [len(body)])

    async def test_mid_answer(self) -> None:
        """An answer that has begun and stalls is cut two seconds after its last byte."""
        for kind in (b"text/event-stream", b"text/plain"):
            server = await self.server()
            other = await self.server(slots=1, name="other")
            self.admission.drain("other", True)
            client, call = await self.running(server)
            self.admission.drain("other", False)
            call.head(200, {b"Content-Type": kind, b"Transfer-Encoding": b"chunked"})
            call.chunk(b"data: 1\n\n")
            await client.until(b"data: 1")
            self.join(server, issues=("unreachable",))
            self.clock.advance(1.5)
            call.chunk(b"data: 2\n\n")
            await client.until(b"data: 2")
            self.join(server, issues=("unreachable",))
            self.clock.advance(1.9)
            self.assertFalse(client.closed.called)
            self.clock.advance(0.2)
            await client.closed
            await call.lost
            truncated = b"upstream_truncated" in client.received
            self.assertEqual(truncated, kind == b"text/event-stream")
            self.assertFalse(client.received.endswith(b"0\r\n\r\n"))
            self.assertEqual(other.calls, [])
            self.admission.leave("one")
            self.admission.leave("other")

    async def test_bytes_flow(self) -> None:
        """A stream whose bytes flow is never cut, whatever its agent says and however slowly."""
        server = await self.server()
        client, call = await self.running(server)
        call.start_stream()
        text = b"data: one byte a second\n\n"
        for count in range(1, len(text) + 1):
            call.chunk(text[count - 1 : count])
            await until(lambda count=count: client.received.count(b"\r\n1\r\n") == count)
            self.join(server, issues=("unreachable",))
            self.clock.advance(1.9)
        call.chunk(b"")
        received = await client.until(b"\n0\r\n\r\n")
        body = received.partition(b"\r\n\r\n")[2]
        self.assertEqual(b"".join(body.split(b"\r\n")[1::2]), text)

    async def test_withdrawn(self) -> None:
        """A good report in time cuts nothing."""
        server = await self.server()
        client, call = await self.running(server)
        for _ in range(5):
            self.join(server, issues=("unreachable",))
            self.clock.advance(1.9)
            self.join(server)
            self.clock.advance(1.0)
        self.clock.advance(100)
        call.answer(200, b"late")
        await client.until(b"late")

    async def test_client_that_does_not_read(self) -> None:
        """That nothing comes because the client takes nothing is not the server's fault."""
        server = await self.server()
        client, call = await self.running(server)
        client.keep = False
        client.transport.pauseProducing()
        size = 50_000_000
        call.answer(200, b"x" * size)
        await until(lambda: any(channel.stalls for channel in self.site._channels))
        for _ in range(5):
            self.join(server, issues=("unreachable",))
            self.clock.advance(10)
        self.assertFalse(call.lost.called)
        client.transport.resumeProducing()
        await until(lambda: client.total > size, within=10)


class SlowTests(FaultCase):
    """Its agent gets no answer in time, which a long prompt can do too."""

    async def test_stall_timeout(self) -> None:
        """It is cut only after the stall timeout without a byte, and nothing new goes there."""
        one = await self.server(slots=9, name="one")
        client, call = await self.running(one)
        two = await self.server(slots=1, name="two")
        self.join(one, slots=9, name="one", issues=("timeout",))
        self.assertEqual(self.state("one"), "unreachable")
        self.assertEqual((await self.ask(post("/completion")))[1]["x-paddler-agent"], "two")
        for _ in range(59):
            self.clock.advance(1)
            self.join(one, slots=9, name="one", issues=("timeout",))
            self.join(two, slots=1, name="two")
        await self.settled()
        self.assertFalse(call.lost.called)
        self.clock.advance(1.1)
        await call.lost
        self.assertIn(b"x-paddler-agent: two", (await client.until(b"{}")).lower())

    async def test_last_byte_counts(self) -> None:
        """The time runs anew from each byte."""
        server = await self.server()
        client, call = await self.running(server)
        call.start_stream()
        self.join(server, issues=("timeout",))
        for count in range(5):
            call.chunk(b": %d\n\n" % count)
            await client.until(b": %d\n\n" % count)
            for _ in range(59):
                self.clock.advance(1)
                self.join(server, issues=("timeout",))
        self.assertFalse(call.lost.called)
        self.clock.advance(1.1)
        await client.closed
        self.assertIn(b"upstream_truncated", client.received)

    async def test_found_closed(self) -> None:
        """A port that is found closed after all shortens the wait."""
        server = await self.server()
        client, call = await self.running(server)
        self.join(server, issues=("timeout",))
        self.clock.advance(1)
        self.join(server, issues=("unreachable",))
        self.clock.advance(2.1)
        await call.lost
        await until(lambda: self.waiting() == 1)
        self.join(server)
        await client.until(b"{}")

    async def test_starved_agent(self) -> None:
        """One whose agent says nothing any more is not cut, whatever it said last."""
        for issues in ((), ("timeout",)):
            server = await self.server()
            client, call = await self.running(server)
            self.join(server, issues=issues)
            self.clock.advance(3.6)
            self.assertEqual(self.state(), "stale")
            for _ in range(10):
                self.clock.advance(60)
            self.assertEqual(self.admission.agents(), ())
            self.assertFalse(call.lost.called)
            call.answer(200, b"late")
            await client.until(b"late")

    async def test_starved_agent_comes_back(self) -> None:
        """Its doubts count again from when it is heard again."""
        server = await self.server()
        client, call = await self.running(server)
        self.join(server, issues=("timeout",))
        self.clock.advance(50)
        self.join(server, issues=("timeout",))
        for _ in range(58):
            self.clock.advance(1)
            self.join(server, issues=("timeout",))
        self.assertFalse(call.lost.called)
        self.clock.advance(2.1)
        await call.lost
        # By now its time to wait is over too.
        self.assertEqual(error_in(await client.until(b"buffer_timeout")), (504, "buffer_timeout"))

    async def test_nobody_doubts(self) -> None:
        """A long prompt is silent and healthy: without a doubt nothing is ever cut."""
        server = await self.server()
        client, call = await self.running(server)
        for _ in range(3600):
            self.clock.advance(1)
            self.join(server)
        call.answer(200, b"late")
        await client.until(b"late")
