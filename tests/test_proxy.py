"""The proxy on real sockets: what passes, what is kept, and who is told what."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import deferLater

from paddler.balancer.exchanges import Ways
from paddler.balancer.requests import Doors
from paddler.testing import Call
from tests.llamas import until
from tests.proxying import ProxyCase, post, reactor


class PassingTests(ProxyCase):
    """Requests and answers pass unchanged but for what is between neighbours."""

    async def test_answer(self) -> None:
        """Status, headers and body are the server's, with the agent's name and an id added."""
        server = await self.server(name="gpu-01")
        server.on_request = lambda call: call.answer(
            418, b'{"a": 1 }', {b"X-Mine": b"yes", b"Keep-Alive": b"timeout=5", b"TE": b"x"}
        )
        code, headers, body = await self.ask(post("/completion?q=1", {"prompt": "hi"}))
        self.assertEqual((code, body), (418, b'{"a": 1 }'))
        self.assertEqual(headers["x-mine"], "yes")
        self.assertEqual(headers["x-paddler-agent"], "gpu-01")
        self.assertRegex(headers["x-request-id"], "^[0-9a-f]{32}$")
        self.assertFalse({"keep-alive", "te"} & set(headers))
        self.assertNotIn("server", headers)

    async def test_request(self) -> None:
        """The server gets the path, the body and the end-to-end headers, and ours."""
        server = await self.server()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await self.ask(
            post(
                "/v1/chat/completions?x=%20y",
                b'{"messages": []}',
                "Authorization: Bearer k",
                "Connection: X-Gone",
                "X-Gone: 1",
                "Keep-Alive: 5",
                "X-Conversation-Id: c",
                "X-Forwarded-For: 10.0.0.1",
                "X-Request-Id: mine.1",
                "Cookie: a=b",
                f"Traceparent: {trace}",
            )
        )
        (call,) = server.calls
        self.assertEqual(call.line, b"POST /v1/chat/completions?x=%20y HTTP/1.1")
        self.assertEqual(call.body, b'{"messages": []}')
        expected = {
            b"authorization": b"Bearer k",
            b"host": b"llm.example",
            b"cookie": b"a=b",
            b"traceparent": trace.encode(),
            b"x-forwarded-for": b"10.0.0.1, 127.0.0.1",
            b"x-forwarded-proto": b"http",
            b"x-forwarded-host": b"llm.example",
            b"x-request-id": b"mine.1",
            b"x-conversation-id": b"c",
        }
        for name, value in expected.items():
            self.assertEqual(call.headers.getRawHeaders(name), [value], name)
        for name in (b"x-gone", b"keep-alive", b"accept-encoding"):
            self.assertFalse(call.headers.hasHeader(name), name)

    async def test_request_id(self) -> None:
        """The client's own id comes back when it is a good one, another when it is not."""
        await self.server()
        good = await self.ask(post("/completion", {}, "X-Request-Id: A-z_0.9"))
        bad = await self.ask(post("/completion", {}, "X-Request-Id: a b"))
        self.assertEqual(good[1]["x-request-id"], "a-z_0.9")
        self.assertRegex(bad[1]["x-request-id"], "^[0-9a-f]{32}$")

    async def test_id_slot_is_taken_out(self) -> None:
        """A client can't pin a slot; the rest of its body is the same to the byte."""
        server = await self.server()
        await self.ask(post("/completion", b'{"id_slot":3,"top_p":0.10,"prompt":"a"}'))
        self.assertEqual(server.calls[0].body, b'{"top_p":0.10,"prompt":"a"}')

    async def test_id_slot_behind_blanks(self) -> None:
        """Nor can it by what JSON passes over before it begins."""
        server = await self.server()
        for before in (b" " * 9999, b"\xef\xbb\xbf"):
            await self.ask(post("/completion", before + b'{"id_slot":3,"prompt":"a"}'))
            self.assertEqual(server.calls[-1].body, b'{"prompt":"a"}')

    async def test_chunked_request_and_large_body(self) -> None:
        """A body without a length, and one that is spilled to disk, arrive whole."""
        server = await self.server()
        client = await self.client()
        client.send(
            b"POST /completion HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        )
        await client.until(b"{}")
        large = b"x" * 3_000_000
        await self.ask(post("/completion", large))
        self.assertEqual([call.body for call in server.calls], [b"hello world", large])

    async def test_form_is_left_alone(self) -> None:
        """A body that looks like a broken form is passed on, not taken apart."""
        server = await self.server()
        kind = "Content-Type: multipart/form-data"
        code, _, _ = await self.ask(post("/v1/audio/transcriptions", b"--no boundary", kind))
        self.assertEqual((code, server.calls[0].body), (200, b"--no boundary"))

    async def test_head_and_no_body(self) -> None:
        """HEAD keeps its length and has no body; 204 has neither."""
        server = await self.server()
        server.on_request = lambda call: call.head(200, {b"Content-Length": b"11"})
        client = await self.client()
        client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        head = await client.until(b"\r\n\r\n")
        self.assertIn(b"content-length: 11", head.lower())
        server.on_request = lambda call: call.head(204, {b"X-A": b"b"})
        client.send(post("/completion"))
        answer = await client.until(b"204 Scripted")
        self.assertEqual(answer.count(b"HTTP/1.1"), 2)
        self.assertNotIn(b"chunked", answer.lower())

    async def test_keep_alive_and_pipelining(self) -> None:
        """Two requests sent at once on one connection are answered in their order."""
        server = await self.server(slots=2)
        server.on_request = lambda call: call.answer(200, call.body)
        client = await self.client()
        client.send(post("/completion", b"first") + post("/completion", b"second"))
        received = await client.until(b"second")
        self.assertLess(received.index(b"first"), received.index(b"second"))

    async def test_answer_without_length(self) -> None:
        """An answer that ends with its connection is passed on, and ended properly."""
        server = await self.server()

        def answer(call: Call) -> None:
            call.head(200, {b"Content-Type": b"text/plain", b"Connection": b"close"})
            call.transport.write(b"all of it")
            call.close()

        server.on_request = answer
        client = await self.client()
        client.send(post("/completion"))
        received = await client.until(b"\n0\r\n\r\n")
        self.assertIn(b"all of it", received)
        self.assertFalse(client.closed.called)


class HostTests(ProxyCase):
    """With --rewrite-host-header."""

    ways = Ways(rewrite_host=True)

    async def test_host_is_rewritten(self) -> None:
        """The server gets its own address as Host, and the client's beside it."""
        server = await self.server()
        await self.ask(post("/completion"))
        headers = server.calls[0].headers
        host = b"127.0.0.1:%d" % server.port
        self.assertEqual(headers.getRawHeaders(b"host"), [host])
        self.assertEqual(headers.getRawHeaders(b"x-forwarded-host"), [b"llm.example"])


class StreamingTests(ProxyCase):
    """Answers stream: at once, no faster than the client reads, and cut where they were cut."""

    async def test_events_pass_at_once(self) -> None:
        """Each event reaches the client before the next one is made."""
        server = await self.server()
        client = await self.client()
        client.send(post("/completion", {"stream": True}))
        call = await self.next_call(server)
        call.start_stream()
        for number in range(3):
            call.chunk(b"data: %d\n\n" % number)
            await client.until(b"data: %d\n\n" % number)
        call.chunk(b"")
        received = await client.until(b"\n0\r\n\r\n")
        self.assertIn(b"text/event-stream", received)
        self.assertEqual(self.admission.fleet().slots_processing, 0)

    async def test_head_waits_for_the_first_byte(self) -> None:
        """Nothing is sent to the client before the body begins."""
        server = await self.server()
        client = await self.client()
        client.send(post("/completion", {"stream": True}))
        call = await self.next_call(server)
        call.start_stream()
        await deferLater(reactor, 0.1)
        self.assertEqual(client.received, b"")
        call.chunk(b": ping\n\n")
        received = await client.until(b": ping")
        self.assertTrue(received.startswith(b"HTTP/1.1 200"))

    async def test_backpressure(self) -> None:
        """A client that stops reading stops the server; what it missed comes when it reads."""
        server = await self.server()
        client = await self.client()
        client.keep = False
        client.send(post("/completion"))
        call = await self.next_call(server)
        total = 64 * 1024 * 1024
        sent = 0

        class Producer:
            def resumeProducing(self) -> None:
                nonlocal sent
                if sent < total:
                    call.transport.write(b"x" * 65536)
                    sent += 65536
                else:
                    call.transport.unregisterProducer()

        client.transport.pauseProducing()
        call.head(200, {b"Content-Length": b"%d" % total})
        call.transport.registerProducer(Producer(), False)
        seen = -1
        while sent != seen:
            seen = sent
            await deferLater(reactor, 0.3)
        # What the four sockets' buffers hold, and no more.
        self.assertLess(sent, total // 2)
        client.transport.resumeProducing()
        await until(lambda: client.total > total, within=20, what="the rest")
        self.assertEqual(sent, total)

    async def test_truncated_answer_is_cut(self) -> None:
        """A server that dies in its answer: the client's is cut without an end."""
        server = await self.server()
        for start in ("stream", "length"):
            self.join(server)
            client = await self.client()
            client.send(post("/completion"))
            call = await self.next_call(server)
            if start == "stream":
                call.head(200, {b"Transfer-Encoding": b"chunked", b"Content-Type": b"text/plain"})
                call.chunk(b"half of")
            else:
                call.answer(200, b"half of", {b"Content-Length": b"100"})
            await client.until(b"half of")
            call.reset()
            await client.closed
            self.assertTrue(client.received.rstrip().endswith(b"half of"))
            self.assertEqual(self.admission.fleet().slots_processing, 0)
            self.assertEqual(self.admission.agents()[0].state, "unreachable")

    async def test_answer_before_the_request_is_read(self) -> None:
        """A server may refuse a large body early; the client gets that answer."""
        server = await self.server()

        def refuse(transport: Any) -> None:
            transport.write(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
            transport.pauseProducing()

        server.on_connection = refuse
        code, _, body = await self.ask(post("/completion", b"x" * 20_000_000))
        self.assertEqual((code, body), (413, b"no"))
        server.connections[0].transport.resumeProducing()
        await until(lambda: not server.connections, what="the end of the connection")


class LeavingTests(ProxyCase):
    """Clients that leave."""

    async def test_while_waiting(self) -> None:
        """Its place is free at once, half-closed or reset."""
        for half in (False, True):
            client = await self.client()
            client.send(post("/completion"))
            await until(lambda: self.admission.queue().requests_waiting == 1)
            if half:
                client.transport.loseWriteConnection()
            else:
                client.leave()
            await until(lambda: self.admission.queue().requests_waiting == 0)
        server = await self.server()
        self.assertEqual((await self.ask(post("/completion")))[0], 200)
        self.assertEqual(len(server.calls), 1)

    async def test_while_tokens_flow(self) -> None:
        """The server's connection is closed at once, and the slot is free."""
        server = await self.server()
        client = await self.client()
        client.send(post("/completion"))
        call = await self.next_call(server)
        call.start_stream()
        call.chunk(b": ping\n\n")
        call.chunk(b"data: 1\n\n")
        await client.until(b"data: 1")
        client.leave()
        await call.lost
        fleet = self.admission.fleet()
        self.assertEqual((fleet.slots_idle, fleet.slots_processing), (1, 0))

    async def test_while_a_prompt_is_evaluated(self) -> None:
        """The server's connection is closed at once; its slot is not trusted to be free."""
        progress = b'data: {"content":"","prompt_progress":{"total":9}}\n\n'
        for begin in ("plain", "headers", "pings", "halved ping", "progress", "answer"):
            server = await self.server(name=begin)
            client = await self.client()
            client.send(post("/completion"))
            call = await self.next_call(server)
            if begin == "headers":
                call.start_stream()
            elif begin == "pings":
                call.start_stream()
                call.chunk(b": ping\n\n")
                await client.until(b"ping")
            elif begin == "halved ping":
                call.start_stream()
                call.chunk(b":")
                await client.until(b":\r\n")
                call.chunk(b"\n\n")
                await client.until(b"2\r\n\n\n")
            elif begin == "progress":
                call.start_stream()
                call.chunk(progress)
                await client.until(b"prompt_progress")
            elif begin == "answer":
                call.answer(200, b"half", {b"Content-Length": b"10"})
                await client.until(b"half")
            client.leave()
            await call.lost
            agent = self.admission.agents()[0]
            self.assertEqual((agent.client_left, agent.in_flight, agent.slots_idle), (1, 0, 0))
            self.admission.leave(begin)


class ErrorTests(ProxyCase):
    """What the balancer answers by itself."""

    buffer_size = 1
    buffer_timeout = 0.2

    def assert_error(self, answer: tuple[int, dict[str, str], bytes], code: int, kind: str) -> None:
        """An answer is that error, in llama-server's shape."""
        error = json.loads(answer[2])["error"]
        self.assertEqual((answer[0], error["code"], error["type"]), (code, code, kind))
        self.assertIn("x-request-id", answer[1])
        self.assertNotIn("x-paddler-agent", answer[1])

    async def test_buffer(self) -> None:
        """No agent: one waits and gets 504; the next is turned away with 429."""
        client = await self.client()
        client.send(post("/completion"))
        await until(lambda: self.admission.queue().requests_waiting == 1)
        turned_away = await self.ask(post("/completion"))
        self.assert_error(turned_away, 429, "buffer_full")
        self.assertGreaterEqual(int(turned_away[1]["retry-after"]), 1)
        waited = await client.until(b"buffer_timeout")
        self.assertTrue(waited.startswith(b"HTTP/1.1 504"))
        self.assertIn(b"retry-after", waited.lower())

    async def test_no_upstream(self) -> None:
        """What needs no slot does not wait for a server."""
        for request in (b"GET /props HTTP/1.1\r\nHost: h\r\n\r\n", post("/tokenize")):
            self.assert_error(await self.ask(request), 503, "no_upstream")

    async def test_full_fleet_still_serves_pages(self) -> None:
        """GETs and POSTs that need no slot pass while all slots are busy."""
        server = await self.server()
        client = await self.client()
        client.send(post("/completion"))
        await self.next_call(server)
        server.on_request = lambda call: call.answer(200, call.target)
        code, _, body = await self.ask(b"GET /props?a HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual((code, body), (200, b"/props?a"))
        self.assertEqual((await self.ask(post("/tokenize")))[0], 200)

    async def test_closed_doors(self) -> None:
        """What is closed says which option opens it, however its path is written."""
        await self.server()
        for path in ("/slots", "/%73lots", "//slots", "/a/../slots", "http://h/slots?x"):
            answer = await self.ask(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            self.assert_error(answer, 403, "slots_endpoint_disabled")
            self.assertIn(b"--slots-endpoint-enable", answer[2])
        for method, path in (
            ("POST", "/slots/0?action=erase"),
            ("GET", "/metrics"),
            ("POST", "/props"),
            ("POST", "/models/load"),
            ("GET", "/lora-adapters"),
            ("POST", "/cvectors"),
            ("GET", "/tools"),
            ("GET", "/cors-proxy?url=x"),
        ):
            answer = await self.ask(
                f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode()
            )
            self.assert_error(answer, 403, "admin_endpoint_disabled")
            self.assertIn(b"--admin-endpoints-enable", answer[2])

    async def test_bad_target(self) -> None:
        """A target that is no path is refused."""
        answer = await self.ask(b"GET example.com:80 HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assert_error(answer, 400, "malformed_request")

    async def test_health(self) -> None:
        """The balancer answers for the fleet."""
        get = "GET {} HTTP/1.1\r\nHost: h\r\n\r\n"
        server = await self.server(slots=2)
        client = await self.client()
        client.send(post("/completion"))
        await self.next_call(server)
        for path in ("/health", "/v1/health", "/health?fail_on_no_slot=1"):
            code, _, body = await self.ask(get.format(path).encode())
            self.assertEqual(code, 200)
            self.assertEqual(
                json.loads(body),
                {
                    "status": "ok",
                    "agents": 1,
                    "slots_idle": 1,
                    "slots_processing": 1,
                    "slots_total": 2,
                    "requests_waiting": 0,
                },
            )
        client.send(b"")
        other = await self.client()
        other.send(post("/completion"))
        await self.next_call(server)
        answer = await self.ask(get.format("/health?fail_on_no_slot=0").encode())
        self.assert_error(answer, 503, "unavailable_error")
        self.assertIn(b"no slot available", answer[2])
        self.assertEqual((await self.ask(get.format("/health").encode()))[0], 200)

    async def test_stopping(self) -> None:
        """On a connection that is kept: 503 for what comes, health included."""
        await self.server()
        client = await self.client()
        self.proxy.begin_stop()
        for request in (post("/completion"), b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"):
            client.received = b""
            client.send(request)
            received = await client.until(b"shutting_down")
            self.assertTrue(received.startswith(b"HTTP/1.1 503"))


class OpenDoorTests(ProxyCase):
    """With --slots-endpoint-enable and --admin-endpoints-enable."""

    ways = Ways(doors=Doors(slots=True, admin=True))

    async def test_open(self) -> None:
        """The paths pass."""
        server = await self.server()
        for path in ("/slots", "/metrics", "/slots/0"):
            code, _, _ = await self.ask(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            self.assertEqual(code, 200)
        self.assertEqual(len(server.calls), 3)


class SharingTests(ProxyCase):
    """Slots are shared as the contract says."""

    async def test_two_servers_two_requests(self) -> None:
        """One each; the fifth of five on 2 x 2 slots waits, and goes where room is made."""
        one = await self.server(slots=2, name="one")
        two = await self.server(slots=2, name="two")
        calls: list[Call] = []
        one.on_request = two.on_request = calls.append
        clients = [await self.client() for _ in range(5)]
        for count, client in enumerate(clients, 1):
            client.send(post("/completion"))
            await until(lambda count=count: len(calls) + self.waiting() == count)
            if count == 2:
                self.assertEqual((len(one.calls), len(two.calls)), (1, 1))
        self.assertEqual((len(one.calls), len(two.calls), self.waiting()), (2, 2, 1))
        one.calls[0].answer(200, b"done")
        await until(lambda: len(one.calls) == 3)
        self.assertEqual(self.waiting(), 0)

    async def test_request_waits_for_an_agent(self) -> None:
        """No agent, then one without slots, then one with: served."""
        client = await self.client()
        client.send(post("/completion"))
        await until(lambda: self.waiting() == 1)
        none = await self.server(slots=0, name="none")
        self.assertEqual(self.waiting(), 1)
        await self.server(slots=1, name="some")
        await client.until(b"200")
        self.assertEqual(none.calls, [])

    async def test_weight(self) -> None:
        """A request for two answers takes two slots."""
        server = await self.server(slots=3)
        client = await self.client()
        client.send(post("/v1/chat/completions", {"n": 2}))
        call = await self.next_call(server)
        self.assertEqual(self.admission.fleet().slots_idle, 1)
        call.answer(200, b"done")
        await client.until(b"done")
        self.assertEqual(self.admission.fleet().slots_idle, 3)
