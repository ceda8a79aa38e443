"""What clients may not do, on real sockets."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher

from paddler.balancer.limits import Limits
from tests.llamas import until
from tests.proxying import Client, ProxyCase, post, reactor


class RefusedCase(ProxyCase):
    """Requests that are refused before they are read."""

    async def refused(self, client: Client, code: int, kind: str) -> dict[str, str]:
        """The client gets that error, in llama-server's shape, and its connection is closed."""
        await client.closed
        head, _, body = client.received.rpartition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        self.assertIn(f" {code} ", line)
        error = json.loads(body)["error"]
        self.assertEqual((error["code"], error["type"]), (code, kind))
        return dict(each.lower().split(": ", 1) for each in lines)

    async def sending(self, data: bytes) -> Client:
        """A client that has sent something."""
        client = await self.client()
        client.send(data)
        return client


class HeadTests(RefusedCase):
    """Heads."""

    async def test_too_large(self) -> None:
        """One long header, many headers, many bytes, a long line: 431."""
        start = b"GET / HTTP/1.1\r\nHost: h\r\n"
        for data in (
            start + b"X: " + b"x" * 40_000,
            start + b"X: y\r\n" * 200 + b"\r\n",
            start + (b"X: " + b"x" * 10_000 + b"\r\n") * 8 + b"\r\n",
            b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n",
        ):
            await self.refused(await self.sending(data), 431, "headers_too_large")

    async def test_large_but_fit(self) -> None:
        """What llama-server takes is taken: 90 headers, a long address."""
        server = await self.server()
        start = b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n"
        client = await self.sending(start + b"X: y\r\n" * 90 + b"\r\n")
        await client.until(b"{}")
        self.assertEqual(len(server.calls[0].headers.getRawHeaders(b"x", ())), 90)

    async def test_malformed(self) -> None:
        """No Host, two of them, bare newlines, ambiguous lengths, nonsense: 400."""
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\nHost: h\n\n",
            b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\n\n",
            b"GET / HTTP/1.1\r\nHost: h\r\n\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX y: z\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            await self.refused(await self.sending(data), 400, "malformed_request")

    async def test_split_line_ends(self) -> None:
        """A head that comes byte by byte is a good one; so is a body with bare newlines."""
        server = await self.server()
        client = await self.client()
        for byte in post("/completion", b"a\nb\n"):
            client.send(bytes((byte,)))
            await deferLater(reactor, 0)
        await client.until(b"{}")
        self.assertEqual(server.calls[0].body, b"a\nb\n")

    async def test_split_before_the_last_newline(self) -> None:
        """A head cut just before its last byte, and a body of many lines behind it: a good one."""
        server = await self.server()
        client = await self.client()
        whole = post("/completion", b'{\n "a": 1\n}')
        cut = whole.index(b"\r\n\r\n") + 3
        client.send(whole[:cut])
        await deferLater(reactor, 0.05)
        client.send(whole[cut:])
        await client.until(b"{}")
        self.assertEqual(server.calls[0].body, b'{\n "a": 1\n}')

    async def test_http_1_0_without_host(self) -> None:
        """HTTP/1.0 needs no Host; llama-server gets its own."""
        server = await self.server()
        client = await self.sending(b"GET /props HTTP/1.0\r\n\r\n")
        await client.until(b"{}")
        host = b"127.0.0.1:%d" % server.port
        self.assertEqual(server.calls[0].headers.getRawHeaders(b"host"), [host])

    async def test_after_a_good_one(self) -> None:
        """A bad request behind a good one on the same connection is refused after its answer."""
        await self.server()
        client = await self.sending(post("/completion") + b"GET / HTTP/1.1\r\n\r\n")
        await client.closed
        self.assertLess(client.received.index(b"{}"), client.received.index(b" 400 "))


class BodyTests(RefusedCase):
    """Bodies."""

    limits = Limits(body=1000, quiet=20.0, connections=1000)
    buffer_bytes = 1500

    async def test_declared_too_large(self) -> None:
        """413 before any of it is read, also behind Expect, and then no 100."""
        for more in ("", "Expect: 100-continue"):
            head = f"POST /completion HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n{more}\r\n"
            client = await self.sending(head.rstrip("\r\n").encode() + b"\r\n\r\n")
            await self.refused(client, 413, "too_large")
            self.assertNotIn(b" 100 ", client.received)

    async def test_expect(self) -> None:
        """One that fits is told to go on."""
        await self.server()
        client = await self.sending(
            b"POST /completion HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        await client.until(b" 100 Continue")
        client.send(b"ab")
        await client.until(b"{}")

    async def test_grows_too_large(self) -> None:
        """A body without a length is refused when it has become too large."""
        client = await self.sending(
            b"POST /completion HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"1f4\r\n"
            + b"x" * 500
            + b"\r\n"
            + b"1f5\r\n"
            + b"x" * 501
            + b"\r\n"
        )
        await self.refused(client, 413, "too_large")
        await until(lambda: self.admission.bodies.used == 0)

    async def test_client_that_goes_on_sending(self) -> None:
        """One that does not stop sending still gets to read why."""
        client = await self.sending(
            b"POST /completion HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n"
        )
        client.send(b"x" * 5_000_000)
        await client.until(b"too_large")

    async def test_buffer_of_bytes(self) -> None:
        """Bodies that wait fill the buffer; the next is refused, and room comes back."""
        one = await self.sending(post("/completion", b"x" * 900))
        await until(lambda: self.admission.queue().requests_waiting == 1)
        self.assertEqual(self.admission.queue().bytes_waiting, 900)
        two = await self.sending(post("/completion", b"x" * 601))
        headers = await self.refused(two, 429, "buffer_full")
        self.assertGreaterEqual(int(headers["retry-after"]), 1)
        three = await self.sending(post("/completion", b"x" * 600)[:-1])
        await until(lambda: self.admission.bodies.used == 1500)
        three.leave()
        await until(lambda: self.admission.bodies.used == 900)
        server = await self.server()
        await one.until(b"{}")
        self.assertEqual(len(server.calls), 1)
        self.assertEqual(self.admission.bodies.used, 0)

    async def test_bytes_are_given_back(self) -> None:
        """However a request ends, its bytes are free: answered, refused, waited too long, left."""
        await self.server()
        await self.ask(post("/completion", b"x" * 800))
        await self.ask(post("/metrics", b"x" * 800))
        self.assertEqual(self.admission.bodies.used, 0)
        self.admission.leave("one")
        client = await self.sending(post("/completion", b"x" * 800))
        await until(lambda: self.admission.queue().requests_waiting == 1)
        client.leave()
        await until(lambda: self.admission.bodies.used == 0)


class SlowClientTests(RefusedCase):
    """Clients that keep us waiting."""

    limits = Limits(body=10**9, quiet=0.4, connections=1000)

    async def test_head(self) -> None:
        """A head that trickles in is not waited for longer than the time for all of it."""
        began = reactor.seconds()
        client = await self.sending(b"GET / HTTP/1.1\r\nHost: h\r\n")
        while not client.closed.called:
            client.send(b"X: y\r\n")
            await deferLater(reactor, 0.05)
        self.assertLess(reactor.seconds() - began, 5)
        await client.closed

    async def test_nothing_at_all(self) -> None:
        """A connection on which nothing comes is closed, before a request and after one."""
        await self.server()
        silent = await self.client()
        answered = await self.sending(post("/completion"))
        await answered.until(b"{}")
        await gatherResults([silent.closed, answered.closed])

    async def test_body(self) -> None:
        """A pause in a body is not waited out; a slow body without a pause is."""
        server = await self.server()
        slow = await self.sending(post("/completion", b"x" * 20)[:-20])
        for _ in range(20):
            slow.send(b"x")
            await deferLater(reactor, 0.05)
        await slow.until(b"{}")
        pausing = await self.sending(post("/completion", b"x" * 20)[:-10])
        await pausing.closed
        self.assertEqual(len(server.calls), 1)
        self.assertEqual(self.admission.bodies.used, 0)

    async def test_we_owe_the_answer(self) -> None:
        """No time runs against a client that waits for us."""
        server = await self.server()
        running = await self.sending(post("/completion"))
        call = await self.next_call(server)
        waiting = await self.sending(post("/completion"))
        await until(lambda: self.admission.queue().requests_waiting == 1)
        await deferLater(reactor, 1.2)
        call.answer(200, b"late")
        await running.until(b"late")
        await waiting.until(b"{}")

    async def test_takes_nothing(self) -> None:
        """A client that takes nothing of its answer is let go, and the server with it."""
        server = await self.server()
        client = await self.sending(post("/completion"))
        call = await self.next_call(server)
        client.keep = False
        client.transport.pauseProducing()
        call.head(200, {b"Content-Length": b"%d" % 10**8})
        call.transport.write(b"x" * 10**8)
        await call.lost
        await until(lambda: self.admission.fleet().slots_processing <= 1)
        self.assertEqual(self.site._channels, set())

    async def test_takes_slowly(self) -> None:
        """A client that takes a little now and then gets all of it."""
        server = await self.server()
        size = 12_000_000
        server.on_request = lambda call: call.answer(200, b"x" * size)
        client = await self.client()
        client.keep = False
        client.transport.readBufferSize = 256 * 1024
        client.send(post("/completion"))
        while client.total < size and not client.closed.called:
            client.transport.resumeProducing()
            await deferLater(reactor, 0.01)
            client.transport.pauseProducing()
            await deferLater(reactor, 0.08)
        self.assertGreater(client.total, size)


class ConnectionsTests(RefusedCase):
    """How many connections there may be."""

    limits = Limits(body=1000, quiet=20.0, connections=3)

    async def test_accepting_pauses(self) -> None:
        """Over the limit new connections wait, with one line in the log, and go on after."""
        server = await self.server(slots=10)
        lines: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_namespace", "").endswith("ConnectionSite"):
                lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        held = [await self.client() for _ in range(3)]
        await until(lambda: len(self.site._channels) == 3)
        more = [await self.sending(post("/completion")) for _ in range(2)]
        await deferLater(reactor, 0.2)
        self.assertEqual(server.calls, [])
        for client in held:
            client.leave()
        for client in more:
            await client.until(b"{}")
        self.assertEqual(len(server.calls), 2)
        self.assertEqual(len(lines), 2)
        self.assertIn("--max-connections", lines[0])
        self.assertIn("again", lines[1])
