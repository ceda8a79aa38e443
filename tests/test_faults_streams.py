"""Servers that die in the middle of their answer, on real sockets.

The client has part of it, so nobody else can answer; it must never take that part for all.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from paddler.testing import Call, ScriptedServer
from tests.faults import FaultCase
from tests.llamas import until
from tests.proxying import Client, post

_ENDS: tuple[Callable[[Call], None], ...] = (Call.close, Call.reset)


def chunks(received: bytes) -> bytes:
    """The body in the chunks of an answer, as far as it came."""
    rest = received.partition(b"\r\n\r\n")[2]
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


class TruncatedCase(FaultCase):
    """A server that dies, and another that could have answered."""

    async def setUp(self) -> None:
        await super().setUp()
        self.one = await self.server(slots=9, name="one")
        self.other = await self.server(slots=1, name="other")

    async def begun(self, request: bytes = post("/completion")) -> tuple[Client, Call]:
        """A client whose request the first server has got."""
        self.join(self.one, slots=9, name="one")
        came = self.next_call(self.one)
        client = await self.client()
        client.send(request)
        return client, await came

    async def dies(self, call: Call, end: Callable[[Call], None], client: Client) -> None:
        """The server dies, the client's connection is closed, and that is all that happens."""
        end(call)
        await client.closed
        self.assertEqual(self.other.calls, [])
        one = self.agent("one")
        self.assertEqual((one.state, one.in_flight, one.client_left), ("unreachable", 0, 0))


class EventTests(TruncatedCase):
    """Streams of events."""

    def assert_told(self, client: Client, before: bytes) -> None:
        """After `before` there is one event that says so, and no end."""
        body = chunks(client.received)
        self.assertTrue(body.startswith(before), body)
        event = body[len(before) :]
        self.assertTrue(event.startswith(b"data: ") and event.endswith(b"\n\n"), event)
        error = json.loads(event[6:])["error"]
        self.assertEqual((error["code"], error["type"]), (502, "upstream_truncated"))
        self.assertNotIn(b"\r\n0\r\n", client.received)

    async def test_between_events(self) -> None:
        """At an event's end the event follows at once."""
        for end in _ENDS:
            for last in (b"data: 1\n\n", b"data: 1\r\n\r\n", b": ping\n\n"):
                client, call = await self.begun()
                call.start_stream()
                call.chunk(last)
                await client.until(last)
                await self.dies(call, end, client)
                self.assert_told(client, last)

    async def test_boundary_in_pieces(self) -> None:
        """An event's end is seen also when it comes byte by byte."""
        client, call = await self.begun()
        call.start_stream()
        for count, byte in enumerate(b"data: 1\n\n", 1):
            call.chunk(bytes((byte,)))
            await self.received(client, count)
        await self.dies(call, Call.close, client)
        self.assert_told(client, b"data: 1\n\n")

    async def test_in_an_event(self) -> None:
        """Inside an event it follows after a blank line, so that it is one of its own."""
        for end in _ENDS:
            for last in (b'data: {"a', b"data: 1\n", b"data: 1\n\ndata: 2"):
                client, call = await self.begun()
                call.start_stream()
                call.chunk(last)
                await client.until(last)
                await self.dies(call, end, client)
                self.assert_told(client, last + b"\n\n")

    async def test_in_a_chunk(self) -> None:
        """Half of a chunk of the server's is passed on as it came, in a whole one of ours."""
        for end in _ENDS:
            client, call = await self.begun()
            call.start_stream()
            call.transport.write(b"64\r\ndata: ha")
            await client.until(b"data: ha")
            await self.dies(call, end, client)
            if self.framed:
                # There it passes in the server's own, which can only be cut.
                self.assertTrue(client.received.endswith(b"64\r\ndata: ha"))
            else:
                self.assert_told(client, b"data: ha\n\n")

    async def test_http_1_0(self) -> None:
        """A client without chunks gets the event, and then the connection's end."""
        client, call = await self.begun(b"POST /completion HTTP/1.0\r\n\r\n")
        call.start_stream()
        call.chunk(b"data: 1\n\n")
        await client.until(b"data: 1\n\n")
        await self.dies(call, Call.reset, client)
        body = client.received.partition(b"\r\n\r\n")[2]
        self.assertTrue(body.startswith(b'data: 1\n\ndata: {"error":'))
        self.assertIn(b"upstream_truncated", body)

    async def test_whole(self) -> None:
        """A stream that was ended has no such event, though its server dies right after."""
        client, call = await self.begun()
        call.start_stream()
        call.chunk(b"data: 1\n\n")
        call.chunk(b"")
        call.reset()
        received = await client.until(b"\n0\r\n\r\n")
        self.assertEqual(chunks(received), b"data: 1\n\n")
        self.assertEqual(self.state("one"), "ready")

    async def received(self, client: Client, count: int) -> None:
        """The client has got so many chunks of one byte."""
        await until(lambda: client.received.count(b"\r\n1\r\n") == count)


class PlainTests(TruncatedCase):
    """Answers that are no events."""

    async def test_cut(self) -> None:
        """With a length or in chunks: the connection is closed short of it, with nothing added."""
        for end in _ENDS:
            for head in ({b"Content-Length": b"100"}, {b"Transfer-Encoding": b"chunked"}):
                client, call = await self.begun()
                call.head(200, {b"Content-Type": b"application/json", **head})
                if b"Content-Length" in head:
                    call.transport.write(b'{"half":')
                else:
                    call.chunk(b'{"half":')
                await client.until(b'{"half":')
                await self.dies(call, end, client)
                self.assertTrue(client.received.rstrip(b"\r\n").endswith(b'{"half":'))

    async def test_http_1_0(self) -> None:
        """Where the connection's end is the answer's, it is reset, so that it can't pass for it."""
        for end in _ENDS:
            client, call = await self.begun(b"POST /completion HTTP/1.0\r\n\r\n")
            call.head(200, {b"Content-Type": b"text/plain", b"Transfer-Encoding": b"chunked"})
            call.chunk(b"half")
            await client.until(b"half")
            await self.dies(call, end, client)
            self.assertFalse(client.properly)

    async def test_http_1_0_whole(self) -> None:
        """A whole answer is closed properly."""
        client, call = await self.begun(b"POST /completion HTTP/1.0\r\n\r\n")
        call.head(200, {b"Content-Type": b"text/plain", b"Transfer-Encoding": b"chunked"})
        call.chunk(b"all")
        call.chunk(b"")
        await client.closed
        self.assertTrue(client.properly)
        self.assertTrue(client.received.endswith(b"\r\n\r\nall"))

    async def test_reset_of_an_answer_without_length(self) -> None:
        """Where a server's answer ends with its connection, a reset is not taken for the end."""
        client, call = await self.begun()
        call.head(200, {b"Content-Type": b"text/plain", b"Connection": b"close"})
        call.transport.write(b"half")
        await client.until(b"half")
        await self.dies(call, Call.reset, client)
        self.assertNotIn(b"\r\n0\r\n", client.received)

    async def test_large_error(self) -> None:
        """An error too long to be held is passed on, and cut like any other answer."""
        client, call = await self.begun()
        call.answer(500, b"x" * 20_000, {b"Content-Length": b"50000"})
        await client.until(b"x" * 20_000)
        await self.dies(call, Call.reset, client)
        self.assertIn(b" 500 ", client.received)

    async def test_next_request_on_the_connection(self) -> None:
        """A request behind it on the same connection is not answered, and goes nowhere."""
        client, call = await self.begun(post("/completion") + post("/completion", b"second"))
        call.answer(200, b"half", {b"Content-Length": b"100"})
        await client.until(b"half")
        await self.dies(call, Call.reset, client)
        self.assertEqual(client.received.count(b"HTTP/1.1"), 1)
        self.assertEqual(len(self.one.calls), 1)

    async def test_bytes_are_all_passed_on(self) -> None:
        """A client that reads slowly gets all that came before the death, and then the cut.

        Until then nobody else is sent its request either.
        """
        client, call = await self.begun()
        client.keep = False
        client.transport.pauseProducing()
        (channel,) = self.site._channels
        call.head(200, {b"Content-Type": b"text/plain", b"Content-Length": b"1000000000"})
        # Until the last of it waits in this process, and is too little to stop the server.
        sent, piece = 0, 32 * 1024
        while not channel.unsent:
            call.transport.write(b"x" * piece)
            sent += piece
            await self.settled()
        self.assertFalse(channel.stalls)
        call.reset()
        await call.lost
        await self.settled()
        self.assertEqual((self.state("one"), self.agent("one").in_flight), ("unreachable", 0))
        self.assertFalse(client.closed.called)
        self.assertEqual(self.other.calls, [])
        client.transport.resumeProducing()
        await client.closed
        # The head has at least a hundred bytes.
        self.assertGreater(client.total, sent + 100)


class SlowTests(FaultCase):
    """Servers that are slow and alive."""

    async def test_one_byte_a_second(self) -> None:
        """Head and body byte by byte, at a second each: it passes whole."""
        server: ScriptedServer = await self.server()
        client, call = await self.running(server)
        answer = b"HTTP/1.1 200 Slow\r\nContent-Length: 20\r\n\r\n" + b"abcdefghij" * 2
        for byte in answer:
            call.transport.write(bytes((byte,)))
            await self.settled()
            self.clock.advance(1)
            self.join(server)
        received = await client.until(b"abcdefghij" * 2)
        self.assertTrue(received.startswith(b"HTTP/1.1 200 Slow"))
