"""The fast lane itself. `tests.test_fastlane` runs this on the reactors that have one."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from paddler.balancer.channel import Channel
from paddler.balancer.exchanges import Ways
from paddler.balancer.fastlane.connection import FastConnection
from paddler.balancer.fastlane.line import FOUND_CLOSED
from paddler.balancer.limits import Limits
from paddler.testing import Call
from tests.llamas import until
from tests.proxying import ProxyCase, post, reactor

__all__ = ["KeptTests", "PlainTests", "RelayTests"]

_GET = b"GET /props HTTP/1.1\r\nHost: h\r\n\r\n"


class PlainTests(ProxyCase):
    """What it takes, and what it leaves to twisted.web."""

    buffer_bytes = 5000
    limits = Limits(body=4000, quiet=20.0, connections=1000)

    def kinds(self) -> list[type[Any]]:
        """What the connections are."""
        return [type(channel) for channel in self.site._channels]

    async def test_plain(self) -> None:
        """A POST to a path with slots is served beside twisted.web, again and again."""
        server = await self.server()
        server.on_request = lambda call: call.answer(200, call.body)
        client = await self.client()
        for word in (b"one", b"two"):
            client.send(post("/v1/chat/completions", word))
            await client.until(word)
            self.assertEqual(self.kinds(), [FastConnection])

    async def test_others(self) -> None:
        """Any other request goes to twisted.web, whole, and its connection with it."""
        await self.server(slots=20)
        for request in (
            _GET,
            post("/v1/chat/completions?a=b"),
            post("/tokenize"),
            post("/completion", b"{}", "Expect: 100-continue"),
            post("/completion", b"{}", "Upgrade: h2c", "Connection: upgrade"),
            post("/completion", b"{}", " folded"),
            post("/completion").replace(b"HTTP/1.1", b"HTTP/1.0"),
            b"POST /completion HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ):
            client = await self.client()
            client.send(request)
            received = await client.until(b"\r\n\r\n")
            self.assertRegex(received, rb"^HTTP/1.[01] (200|400|100)", request)
            self.assertIn(self.kinds(), ([Channel], []), request)
            client.leave()
            await until(lambda: not self.site._channels)

    async def test_malformed(self) -> None:
        """What is no HTTP gets twisted.web's answer."""
        await self.server()
        for request in (
            b"POST /completion HTTP/1.1\nHost: h\nContent-Length: 0\n\n",
            post("/completion").replace(b"Host: llm.example\r\n", b""),
            post("/completion", b"{}", "Host: other"),
            post("/completion", b"{}", "Content-Length: 3"),
            b"POST /completion HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
            b"POST /completion HTTP/1.1\r\nHost : h\r\nContent-Length: 0\r\n\r\n",
            b"POST /completion RTSP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        ):
            client = await self.client()
            client.send(request)
            received = await client.until(b"\r\n\r\n")
            self.assertTrue(received.startswith(b"HTTP/1.1 400"), (request, received))
            client.leave()

    async def test_head_in_pieces(self) -> None:
        """A head that does not come in one piece is twisted.web's, and answered too."""
        server = await self.server()
        server.on_request = lambda call: call.answer(200, call.body)
        client = await self.client()
        request = post("/completion", b"whole")
        client.send(request[:30])
        await until(lambda: self.kinds() == [Channel])
        client.send(request[30:])
        await client.until(b"whole")

    async def test_body_in_pieces(self) -> None:
        """A body may come in pieces, and counts from its head on."""
        server = await self.server()
        server.on_request = lambda call: call.answer(200, call.body)
        client = await self.client()
        request = post("/completion", b"x" * 1000 + b"end")
        client.send(request[:-900])
        await until(lambda: self.admission.bodies.used == 1003)
        self.assertEqual(self.kinds(), [FastConnection])
        client.send(request[-900:-2])
        client.send(request[-2:])
        await client.until(b"xend")

    async def test_left_in_the_body(self) -> None:
        """Who leaves before the body is whole leaves nothing behind."""
        client = await self.client()
        client.send(post("/completion", b"x" * 1000)[:-1])
        await until(lambda: self.admission.bodies.used == 1000)
        client.leave()
        await until(lambda: self.admission.bodies.used == 0)

    async def test_no_room(self) -> None:
        """A body that is too large, or that the buffer has no room for, is refused."""
        large = await self.client()
        large.send(post("/completion", b"x" * 4001))
        await large.until(b"too_large")
        first = await self.client()
        first.send(post("/completion", b"x" * 3000))
        await until(lambda: self.waiting() == 1)
        second = await self.client()
        second.send(post("/completion", b"x" * 3000))
        await second.until(b"buffer_full")

    async def test_pipelined(self) -> None:
        """Requests sent at once are answered in their order, those of both lanes."""
        server = await self.server(slots=3)
        server.on_request = lambda call: call.answer(200, call.body or call.target)
        client = await self.client()
        client.send(post("/completion", b"first") + post("/completion", b"second") + _GET)
        received = await client.until(b"/props")
        places = [received.index(word) for word in (b"first", b"second", b"/props")]
        self.assertEqual(places, sorted(places))
        self.assertEqual(self.kinds(), [Channel])

    async def test_takes_nothing(self) -> None:
        """Who sends one request after another and takes no answer is served no more meanwhile."""
        server = await self.server()
        server.on_request = lambda call: call.answer(200, b"x" * 50_000)
        client = await self.client()
        client.transport.pauseProducing()
        client.send(post("/completion") * 600)
        (connection,) = self.site._channels
        await until(lambda: connection.stalls)
        await deferLater(reactor, 0.3)
        self.assertLess(connection.unsent, 500_000)
        self.assertEqual(self.kinds(), [FastConnection])
        client.keep = False
        client.transport.resumeProducing()
        await until(lambda: client.total > 600 * 50_000, within=15)
        self.assertEqual(len(server.calls), 600)
        client.send(post("/completion"))
        await until(lambda: client.total > 601 * 50_000)

    async def test_asked_to_close(self) -> None:
        """Connection: close is kept to."""
        await self.server()
        client = await self.client()
        client.send(post("/completion", b"{}", "Connection: close"))
        await client.closed
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        self.assertTrue(client.properly)


class KeptTests(ProxyCase):
    """Connections to a server serve one request after another."""

    ways = Ways(max_tries=1)

    async def test_kept(self) -> None:
        """One is used again, also for another client."""
        server = await self.server()
        for _ in range(3):
            self.assertEqual((await self.ask(post("/completion")))[0], 200)
        self.assertEqual(len(server.calls), 3)
        self.assertEqual(len(server.connections), 1)

    async def test_same_head(self) -> None:
        """Answers that differ in their bodies alone, one in pieces and one of two among them."""
        server = await self.server()
        head = b"HTTP/1.1 %b OK\r\nX-One: 1\r\nContent-Length: %d\r\n\r\n"
        bodies = (b"a", b"bcd", b"", b"c" * 1000, b"d")

        def answer(call: Call) -> None:
            code = b"201" if call.body == b"d" else b"200"
            text = head % (code, len(call.body)) + call.body
            middle = len(text) // 2 if call.body == b"d" else len(text)
            call.transport.write(text[:middle])
            reactor.callLater(0.01, call.transport.write, text[middle:])

        server.on_request = answer
        for body in (*bodies, *bodies):
            code, headers, got = await self.ask(post("/completion", body))
            self.assertEqual((code, got), (201 if body == b"d" else 200, body))
            self.assertEqual((headers["x-one"], headers["content-length"]), ("1", str(len(body))))
            self.assertEqual(headers["x-paddler-agent"], "one")
        self.assertEqual(len(server.connections), 1)
        twice = head % (b"200", 1) + b"a"
        server.on_request = lambda call: call.transport.write(twice + twice)
        self.assertEqual((await self.ask(post("/completion")))[2], b"a")
        await until(lambda: not server.connections)

    async def test_closes_behind_the_same_head(self) -> None:
        """Answers with known heads do not make a connection kept that is not, however they come."""
        server = await self.server()
        closes = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlast"
        for cut in (10, len(closes) - 4, len(closes) - 1, len(closes)):
            transports: list[Any] = []

            def answer(call: Call, transports: list[Any] = transports, cut: int = cut) -> None:
                transports.append(call.transport)
                if len(transports) == 3:
                    call.transport.write(closes[:cut])
                    reactor.callLater(0.01, call.transport.write, closes[cut:])
                else:
                    call.answer(200, b"some")

            server.on_request = answer
            answers = [(await self.ask(post("/completion")))[2] for _ in range(4)]
            self.assertEqual(answers, [b"some", b"some", b"last", b"some"], cut)
            self.assertIs(transports[0], transports[2])
            self.assertIsNot(transports[2], transports[3])

    async def test_not_behind_a_stream(self) -> None:
        """A server closes behind a stream without saying so; nothing is asked there again."""
        server = await self.server()
        transports: list[Any] = []

        def stream(call: Call) -> None:
            transports.append(call.transport)
            call.start_stream()
            call.chunk(b"data: 1\n\n")
            call.chunk(b"")

        server.on_request = stream
        for _ in range(2):
            self.assertIn(b"data: 1", (await self.ask(post("/completion")))[2])
        self.assertIsNot(transports[0], transports[1])

    async def test_found_closed(self) -> None:
        """A request that meets a closed connection has not been tried."""
        server = await self.server()
        await self.ask(post("/completion"))
        (kept,) = server.connections

        def refuse_the_first(call: Call) -> None:
            if call.transport is kept.transport:
                call.close()
            else:
                call.answer(200, b"again")

        server.on_request = refuse_the_first
        self.assertEqual((await self.ask(post("/completion")))[2], b"again")

    async def test_dies_on_both(self) -> None:
        """A request that kills is sent over a new connection once, and counts then."""
        server = await self.server()
        await self.ask(post("/completion"))
        server.on_request = Call.close
        self.assertEqual((await self.ask(post("/completion")))[0], 502)
        self.assertEqual(len(server.calls), 3)

    async def test_killed_by_it(self) -> None:
        """A server that worked on a request before it died counts, also over a kept connection."""
        server = await self.server()
        await self.ask(post("/completion"))

        def die(call: Call) -> None:
            reactor.callLater(FOUND_CLOSED + 0.1, call.close)

        server.on_request = die
        self.assertEqual((await self.ask(post("/completion")))[0], 502)
        self.assertEqual(len(server.calls), 2)

    async def test_gone_for_good(self) -> None:
        """One that has died of it and does not come back counts as one that died of it."""
        server = await self.server()
        await self.ask(post("/completion"))

        async def die(call: Call) -> None:
            await server.refuse()
            call.close()

        server.on_request = lambda call: Deferred.fromCoroutine(die(call))
        self.assertEqual((await self.ask(post("/completion")))[0], 502)

    async def test_closed_at_once(self) -> None:
        """A server that takes connections and closes them answers nothing, and holds no slot."""
        server = await self.server()
        server.on_connection = lambda transport: transport.loseConnection()
        for _ in range(30):
            self.assertEqual((await self.ask(post("/completion")))[0], 502)
            self.join(server)

    async def test_left_as_it_connects(self) -> None:
        """Who leaves in that moment is not asked for, wherever it was."""
        server = await self.server(slots=50)
        for _ in range(10):
            client = await self.client()
            server.on_connection = lambda transport, client=client: client.leave()
            client.send(post("/completion"))
            await client.closed
            await until(lambda: not server.connections)

    async def test_not_behind_an_error(self) -> None:
        """Behind an error some servers leave the body unread; nothing is asked there again."""
        server = await self.server()
        server.on_request = lambda call: call.answer(401, b"{}")
        self.assertEqual((await self.ask(post("/completion")))[0], 401)
        await until(lambda: not server.connections)

    async def test_probed(self) -> None:
        """The system finds out when the host behind a connection is gone."""
        await self.server()
        await self.ask(post("/completion"))
        ((line,),) = self.proxy.hop._idle.values()
        its = line.transport.get_extra_info("socket")
        self.assertTrue(its.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    async def test_unasked(self) -> None:
        """A connection over which something came that nobody asked for is not used again."""
        server = await self.server()
        await self.ask(post("/completion"))
        (kept,) = server.connections
        kept.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await until(lambda: not server.connections)
        self.assertEqual((await self.ask(post("/completion")))[2], b"{}")

    async def test_more_than_the_answer(self) -> None:
        """Two answers to one request: the client gets none of the second."""
        server = await self.server()
        second = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

        def twice(call: Call) -> None:
            call.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno" + second)

        server.on_request = twice
        _, _, body = await self.ask(post("/completion"))
        self.assertNotIn(b"evil", body)
        await until(lambda: not server.connections)

    async def test_interim(self) -> None:
        """An interim answer is passed over, together with the answer or before it."""
        server = await self.server()
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        gap: list[Deferred[None]] = []

        def hints(call: Call) -> None:
            call.transport.write(interim)
            call.transport.write(interim)
            call.start_stream()
            call.chunk(b"together")
            call.chunk(b"")

        def slowly(call: Call) -> None:
            call.transport.write(interim[:9])
            gap.append(deferLater(reactor, 0.02, call.transport.write, interim[9:]))
            gap[0].addCallback(lambda _: deferLater(reactor, 0.02, call.answer, 200, b"behind it"))

        server.on_request = hints
        self.assertIn(b"8\r\ntogether\r\n0\r\n\r\n", (await self.ask(post("/completion")))[2])
        server.on_request = slowly
        code, headers, body = await self.ask(post("/completion"))
        self.assertEqual((code, body), (200, b"behind it"))
        self.assertNotIn("link", headers)


class RelayTests(ProxyCase):
    """Answers."""

    ways = Ways(max_tries=1)

    async def test_frames_pass(self) -> None:
        """Chunks pass as they are framed, and their ends where they were cut by the network."""
        server = await self.server()
        raw = b"5;a=b\r\nhello\r\n00A\r\ndata: 12\n\n\r\n0\r\n\r\n"

        async def send(call: Call) -> None:
            call.start_stream()
            for place in range(len(raw)):
                call.transport.write(raw[place : place + 1])
                if not place % 5:
                    await deferLater(reactor, 0.002)

        server.on_request = lambda call: Deferred.fromCoroutine(send(call))
        _, headers, body = await self.ask(post("/completion"))
        self.assertEqual((headers["transfer-encoding"], body), ("chunked", raw))

    async def test_cut_between_frames(self) -> None:
        """A stream that is cut between two chunks gets a last event, in a chunk of its own."""
        server = await self.server()

        def die(call: Call) -> None:
            call.start_stream()
            call.chunk(b"data: 1\n\n")
            call.close()

        server.on_request = die
        _, _, body = await self.ask(post("/completion"))
        event, _, rest = body.partition(b"data: 1\n\n\r\n")[2].partition(b"\r\n")
        self.assertEqual(int(event, 16), len(rest) - 2)
        self.assertIn(b"upstream_truncated", rest)
        self.assertFalse(body.endswith(b"0\r\n\r\n"))

    async def test_cut_within_a_frame(self) -> None:
        """One that is cut within a chunk is cut there."""
        server = await self.server()

        def die(call: Call) -> None:
            call.start_stream()
            call.transport.write(b"20\r\ndata: 1\n\n")
            call.close()

        server.on_request = die
        _, _, body = await self.ask(post("/completion"))
        self.assertEqual(body, b"20\r\ndata: 1\n\n")

    async def test_not_http(self) -> None:
        """What is no HTTP is a server's failure."""
        server = await self.server()
        switches = b"HTTP/1.1 101 Go on\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        for words in (b"220 mail.example ESMTP\r\n\r\n", switches):
            server.on_request = lambda call, words=words: call.transport.write(words)
            self.assertEqual((await self.ask(post("/completion")))[0], 502, words)
            self.join(server)

    async def test_body_where_none_can_be(self) -> None:
        """What a server sends behind the head of a 204 is not part of an answer to anybody."""
        server = await self.server()
        heads = (b"Content-Length: 2\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        for head in heads:
            server.on_request = lambda call, head=head: call.transport.write(
                b"HTTP/1.1 204 No\r\n" + head
            )
            code, headers, body = await self.ask(post("/completion"))
            self.assertEqual((code, body), (204, b""), head)
            self.assertNotIn("transfer-encoding", headers)
