"""What is told of each request when it has ended."""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.accounts import Account, Finished
from paddler.balancer.exchanges import Ways
from paddler.balancer.limits import Limits
from paddler.logs import json_line
from paddler.scheduling.trust import Fault
from tests.llamas import until
from tests.proxying import ProxyCase, post


class Book:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.requests: list[Finished] = []
        self.reasons: list[Fault] = []

    def finished(self, request: Finished) -> None:
        """One has ended."""
        self.requests.append(request)

    def retried(self, reason: Fault) -> None:
        """One goes elsewhere."""
        self.reasons.append(reason)


class AccountCase(ProxyCase):
    """A proxy, and what is told of its requests."""

    async def setUp(self) -> None:
        self.ledger = self.book = Book()
        await super().setUp()

    async def told(self, count: int = 1) -> Finished:
        """What was told of the newest of so many requests."""
        await until(lambda: len(self.book.requests) >= count)
        self.assertEqual(len(self.book.requests), count)
        return self.book.requests[-1]


class AccountTests(AccountCase):
    """Requests of all kinds, and what is told of them."""

    buffer_size = 1
    buffer_timeout = 0.3

    async def test_answered(self) -> None:
        """An answer: who gave it, its status, its bytes and its times."""
        server = await self.server(name="gpu")
        server.on_request = lambda call: call.answer(404, b"no such thing")
        await self.ask(post("/v1/chat/completions?x=y", {}, "X-Request-Id: mine"))
        told = await self.told()
        self.assertEqual(
            (told.request_id, told.method, told.path, told.code, told.agent, told.sent, told.tries),
            ("mine", "POST", "/v1/chat/completions", 404, "gpu", 13, 1),
        )
        self.assertEqual((told.left, told.cut), (None, False))
        assert told.waited is not None and told.first_byte is not None
        self.assertTrue(0 <= told.waited <= told.first_byte <= told.seconds < 5)

    async def test_without_slot(self) -> None:
        """What needs no slot does not wait; the fleet's own health is nobody's request."""
        await self.server()
        await self.ask(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        await self.ask(b"GET /props HTTP/1.1\r\nHost: h\r\n\r\n")
        told = await self.told()
        self.assertEqual((told.path, told.code, told.waited), ("/props", 200, None))

    async def test_waited_too_long(self) -> None:
        """Nobody answered: the status and the time in line."""
        await self.ask(post("/completion"))
        told = await self.told()
        self.assertEqual((told.code, told.agent, told.tries), (504, None, 0))
        assert told.waited is not None
        self.assertGreaterEqual(told.waited, 0.25)

    async def test_client_left(self) -> None:
        """Where the client was when it left: in line, before an answer, in it."""
        waiting = await self.client()
        waiting.send(post("/completion"))
        await until(lambda: self.admission.queue().requests_waiting == 1)
        waiting.leave()
        self.assertEqual((await self.told(1)).left, "waiting")
        server = await self.server(slots=3)
        for count, phase in ((2, "prefill"), (3, "streaming")):
            client = await self.client()
            client.send(post("/completion"))
            call = await self.next_call(server)
            if phase == "streaming":
                call.start_stream()
                call.chunk(b"data: 1\n\n")
                await client.until(b"data: 1")
            client.leave()
            self.assertEqual((await self.told(count)).left, phase)

    async def test_tried_again(self) -> None:
        """A request that went to two servers is told once, and why it went."""
        one = await self.server(name="one")
        one.on_request = lambda call: call.close()
        client = await self.client()
        client.send(post("/completion"))
        await until(lambda: self.book.reasons == ["died"])
        await self.server(name="two")
        await client.until(b"{}")
        told = await self.told()
        self.assertEqual((told.agent, told.tries, told.code), ("two", 2, 200))

    async def test_cut(self) -> None:
        """An answer that was cut says so."""
        server = await self.server()
        client = await self.client()
        client.send(post("/completion"))
        call = await self.next_call(server)
        call.answer(200, b"half", {b"Content-Length": b"10"})
        await client.until(b"half")
        call.reset()
        told = await self.told()
        self.assertEqual((told.code, told.cut, told.sent, told.left), (200, True, 4, None))

    async def test_taken_back(self) -> None:
        """What the balancer answers after a server failed is no answer of that server's."""
        server = await self.server(name="one")
        server.on_request = lambda call: call.close()
        code, _, body = await self.ask(post("/completion"))
        told = await self.told()
        self.assertEqual((code, told.code, told.agent, told.tries), (504, 504, None, 1))
        self.assertEqual(told.sent, len(body))
        self.join(server, name="two")
        code, _, _ = await self.ask(b"GET /props HTTP/1.1\r\nHost: h\r\n\r\n")
        told = await self.told(2)
        self.assertEqual((code, told.code, told.agent, told.tries), (503, 503, None, 1))

    async def test_last_server(self) -> None:
        """What a server failed for good is counted with it."""
        self.proxy.ways = Ways(max_tries=1)
        server = await self.server(name="one")
        server.on_request = lambda call: call.close()
        self.assertEqual((await self.ask(post("/completion")))[0], 502)
        told = await self.told()
        self.assertEqual((told.code, told.agent), (502, "one"))

    async def test_own_bytes(self) -> None:
        """The bytes of an error of the balancer's own count; HEAD is sent none."""
        for method, sent in ((b"GET", True), (b"HEAD", False)):
            request = method + b" /slots HTTP/1.1\r\nHost: h\r\n\r\n"
            code, _, body = await self.ask(request)
            told = self.book.requests[-1]
            self.assertEqual((code, told.code, told.sent), (403, 403, len(body)))
            self.assertEqual(told.sent > 0, sent)


class RefusedTests(AccountCase):
    """Requests that are refused before they are here."""

    limits = Limits(body=100, quiet=20.0, connections=100)
    buffer_bytes = 80

    async def refused(self, data: bytes) -> tuple[Finished, dict[str, str], bytes]:
        """What is told of it, and the headers and the body that its client gets."""
        client = await self.client()
        client.send(data)
        await client.closed
        head, _, body = client.received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")[1:]
        (told,) = self.book.requests
        self.book.requests.clear()
        return told, dict(line.split(": ", 1) for line in lines), body

    async def test_with_a_head(self) -> None:
        """Once its head is here, that tells of it: too large a body, and no room for it."""
        head = b"POST /completion?key=k HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\n"
        for length, code in ((b"101", 413), (b"90", 429)):
            sent = head + b"Content-Length: " + length + b"\r\n\r\n"
            told, headers, body = await self.refused(sent)
            self.assertEqual(
                (told.request_id, told.method, told.path, told.code, told.sent),
                ("mine", "POST", "/completion", code, len(body)),
            )
            self.assertEqual(
                (told.agent, told.waited, told.tries, told.left), (None, None, 0, None)
            )
            self.assertEqual(headers["X-Request-Id"], "mine")

    async def test_without_a_head(self) -> None:
        """Of one that can't be read the status is told."""
        for data, code in (
            (b"nonsense\r\n\r\n", 400),
            (b"GET /" + b"x" * 40_000, 431),
            (b"GET /b HTTP/1.1\r\nA: " + b"x" * 40_000, 431),
        ):
            told, headers, body = await self.refused(data)
            self.assertEqual((told.code, told.sent), (code, len(body)))
            self.assertIn((told.method, told.path), (("-", "-"), ("GET", "/b")))
            self.assertEqual(headers["X-Request-Id"], told.request_id)

    async def test_after_another(self) -> None:
        """It is told apart from the one before on its connection."""
        client = await self.client()
        client.send(b"GET /one HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.until(b"no_upstream")
        client.send(b"nonsense\r\n\r\n")
        await client.closed
        told = [(request.path, request.code) for request in self.book.requests]
        self.assertEqual(told, [("/one", 503), ("-", 400)])

    async def test_at_a_stop(self) -> None:
        """One that is still being sent at a stop is told as well."""
        client = await self.client()
        client.send(b"POST /completion HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
        await until(lambda: self.admission.bodies.used == 9)
        await self.site.close()
        (told,) = self.book.requests
        self.assertEqual((told.code, told.path), (503, "/completion"))


class AccountTimesTests(SynchronousTestCase):
    """`Account`, when the clock is set back."""

    def test_set_back(self) -> None:
        """Nothing takes less than no time."""
        account = Account("r", "POST", "/completion", arrived_at=1000.0)
        account.waits(1000.0)
        account.waits_no_more(400.0)
        account.waits(400.0)
        account.waits_no_more(401.0)
        account.first_byte_at = 402.0
        told = account.finished(403.0, client_left=False)
        self.assertEqual((told.waited, told.first_byte, told.seconds), (1.0, 0.0, 0.0))


class MistakeTests(AccountCase):
    """A mistake of the balancer's own."""

    async def test_told(self) -> None:
        """It is answered and counted, and logged without the address, which may hold a key."""
        events: list[LogEvent] = []
        observer = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await self.server()
        self.proxy.hop = None
        code, headers, body = await self.ask(post("/completion?key=hidden"))
        told = await self.told()
        self.assertEqual((code, told.code, told.sent), (500, 500, len(body)))
        lines = [json_line(event) for event in events]
        self.assertEqual([line for line in lines if "hidden" in line], [])
        self.assertTrue(any(headers["x-request-id"] in line for line in lines))
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
