"""Servers that take no connection, or die with a request in their hands, on real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from paddler.balancer.proxy import Ways
from paddler.testing import Call, ScriptedServer
from paddler.values import Address, Report
from tests.faults import FaultCase, answer_ok, error_in, full_port
from tests.llamas import until
from tests.proxying import post

LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
LOADING_OLD = b'{"status":"loading model"}'


def post_number(number: int, *headers: str) -> bytes:
    """A request that can be told from others."""
    return post_bytes(json.dumps({"number": number}).encode(), *headers)


def post_bytes(body: bytes, *headers: str) -> bytes:
    """A request with that body."""
    return post("/completion", body, *headers)


class TakesNothingCase(FaultCase):
    """One try is all there is, so a request that is served later was not counted as tried."""

    ways = Ways(max_tries=1)


class RefusingTests(TakesNothingCase):
    """A server that refuses has seen nothing of the request."""

    async def test_another_is_healthy(self) -> None:
        """The other one answers; the one that refused is shown so, and gets nothing more."""
        one = await self.server(slots=9, name="one")
        two = await self.server(slots=2, name="two")
        two.on_request = answer_ok
        await one.refuse()
        for number in range(2):
            answer = await self.ask(post_number(number))
            self.assertEqual((answer[0], answer[1]["x-paddler-agent"]), (200, "two"))
            self.assertEqual(json.loads(answer[2]), {"number": number})
        agent = self.agent("one")
        self.assertEqual((agent.state, agent.in_flight), ("unreachable", 0))
        self.assertIn(("unreachable", "balancer"), [(i.issue, i.seen_by) for i in agent.issues])
        self.assertIn("refused", str(agent.error))

    async def test_alone(self) -> None:
        """Its place is kept: served when the server listens again and was reported so, in turn."""
        server = await self.server()
        server.on_request = answer_ok
        await server.refuse()
        first = await self.queued({"number": 1})
        second = await self.queued({"number": 2})
        await server.start()
        await self.settled()
        self.assertEqual((server.calls, self.waiting()), ([], 2))
        self.join(server)
        await first.until(b'{"number": 1}')
        await second.until(b'{"number": 2}')
        self.assertEqual([json.loads(call.body)["number"] for call in server.calls], [1, 2])

    async def test_reports_that_are_not_good(self) -> None:
        """A report that doubts the server, or knows no slots, does not send the request there."""
        server = await self.server()
        await server.refuse()
        client = await self.queued()
        await server.start()
        self.join(server, issues=("unreachable",))
        self.join(server, slots=0, issues=("no_slots",))
        await self.settled()
        self.assertEqual((server.calls, self.waiting()), ([], 1))
        self.join(server)
        await client.until(b"{}")

    async def test_refuses_again(self) -> None:
        """Each good report of a server that refuses all the same costs one attempt, no more."""
        server = await self.server()
        await server.refuse()
        client = await self.queued()
        for _ in range(5):
            self.join(server)
            await until(lambda: self.waiting() == 1 and self.agent().state == "unreachable")
        await server.start()
        self.join(server)
        await client.until(b"{}")
        self.assertEqual(len(server.calls), 1)

    async def test_deadline(self) -> None:
        """The time that a request may wait runs from its arrival, whatever happened between."""
        client = await self.queued()
        self.clock.advance(15)
        server = await self.server(slots=0)
        await server.refuse()
        self.join(server)
        await until(lambda: self.state() == "unreachable" and self.waiting() == 1)
        self.clock.advance(4.9)
        await self.settled()
        self.assertEqual((self.waiting(), client.received), (1, b""))
        self.clock.advance(0.2)
        received = await client.until(b"buffer_timeout")
        self.assertEqual(error_in(received), (504, "buffer_timeout"))
        self.assertIn(b"retry-after: ", received.lower())

    async def test_without_slot(self) -> None:
        """A GET goes to another; with none left it is told at once."""
        one = await self.server(name="one")
        two = await self.server(name="two")
        await one.refuse()
        while not one.calls and self.state("one") != "unreachable":
            client = await self.get()
            self.assertIn(b"x-paddler-agent: two", (await client.until(b"{}")).lower())
        await two.refuse()
        client = await self.get()
        self.assertEqual(error_in(await client.until(b"no_upstream")), (503, "no_upstream"))
        self.assertEqual((self.state("one"), self.state("two")), ("unreachable", "unreachable"))


class ConnectTimeoutTests(TakesNothingCase):
    """A server whose port neither takes nor refuses a connection."""

    connect_timeout = 0.15

    async def test_connect_timeout(self) -> None:
        """It does not count as a try; another server answers."""
        listening = await full_port(self)
        address = Address("127.0.0.1", listening.getsockname()[1])
        self.admission.report("full", Report("full", address, 1.0, 9))
        client = await self.asking()
        await until(lambda: self.state("full") == "unreachable")
        self.assertEqual(self.waiting(), 1)
        self.assertIn("no connection in time", str(self.agent("full").error))
        await self.server(name="two")
        received = await client.until(b"{}")
        self.assertIn(b"x-paddler-agent: two", received.lower())

    async def test_client_leaves(self) -> None:
        """A client that leaves meanwhile takes the connection that is being made with it."""
        listening = await full_port(self)
        address = Address("127.0.0.1", listening.getsockname()[1])
        self.admission.report("full", Report("full", address, 1.0, 9))
        client = await self.asking()
        await until(lambda: self.agent("full").in_flight == 1)
        client.leave()
        await until(lambda: self.agent("full").in_flight == 0)
        self.assertEqual(self.state("full"), "ready")


class LoadingTests(TakesNothingCase):
    """A server that is still loading its model."""

    async def test_another_is_healthy(self) -> None:
        """The other one answers, and the client sees nothing of it, in either version's words."""
        two = await self.server(slots=1, name="two")
        two.on_request = answer_ok
        for words in (LOADING, LOADING_OLD):
            one = await self.server(slots=9, name="one")
            one.on_request = lambda call, words=words: call.answer(503, words)
            code, headers, _ = await self.ask(post_number(1))
            self.assertEqual((code, headers["x-paddler-agent"]), (200, "two"))
            self.assertEqual((len(one.calls), self.state("one")), (1, "loading"))
            self.admission.leave("one")

    async def test_alone(self) -> None:
        """It waits in its place until the server was reported well, and is served then."""
        server = await self.server(slots=2)
        server.on_request = lambda call: call.answer(503, LOADING)
        first = await self.queued({"number": 1})
        second = await self.queued({"number": 2})
        self.assertEqual((self.state(), len(server.calls)), ("loading", 1))
        server.on_request = answer_ok
        self.join(server, slots=1)
        await first.until(b'{"number": 1}')
        await second.until(b'{"number": 2}')
        numbers = [json.loads(call.body)["number"] for call in server.calls]
        self.assertEqual(numbers, [1, 1, 2])
        self.assertNotIn(b"503", first.received)

    async def test_loading_is_never_quarantine(self) -> None:
        """However often it happens, the server is used as soon as it is reported well."""
        server = await self.server()
        server.on_request = lambda call: call.answer(503, LOADING)
        client = await self.queued()
        for count in range(2, 7):
            self.join(server)
            await until(lambda count=count: len(server.calls) == count and self.waiting() == 1)
        server.on_request = answer_ok
        self.join(server)
        await client.until(b"{}")

    async def test_without_slot(self) -> None:
        """A GET goes to another; with none left it is told at once."""
        server = await self.server()
        server.on_request = lambda call: call.answer(503, LOADING)
        client = await self.get()
        self.assertEqual(error_in(await client.until(b"no_upstream")), (503, "no_upstream"))
        self.assertEqual((self.state(), len(server.calls)), ("loading", 1))


def _half_a_head(call: Call) -> None:
    call.transport.write(b"HTTP/1.1 200 OK\r\nContent-Ty")


def _stream_head(call: Call) -> None:
    call.start_stream()


def _plain_head(call: Call) -> None:
    call.head(200, {b"Content-Type": b"application/json", b"Content-Length": b"100"})


def _chunk_begun(call: Call) -> None:
    call.start_stream()
    call.transport.write(b"10\r\n")


def _half_an_error(call: Call) -> None:
    call.answer(500, b'{"error":', {b"Content-Length": b"100"})


def _nothing(call: Call) -> None:
    pass


#: What a server may have said before it dies, of which the client is sent nothing.
LAST_WORDS: dict[str, Callable[[Call], None]] = {
    "nothing": _nothing,
    "half a head": _half_a_head,
    "a stream's head": _stream_head,
    "a plain answer's head": _plain_head,
    "a chunk's size": _chunk_begun,
    "half an error": _half_an_error,
}


class DyingTests(FaultCase):
    """A server that dies with a request of whose answer the client was sent nothing."""

    def dies(self, words: Callable[[Call], None], end: Callable[[Call], None]) -> Any:
        """A server's way to die."""

        def on_request(call: Call) -> None:
            words(call)
            end(call)

        return on_request

    async def test_replaced(self) -> None:
        """Another gets the same request, byte for byte, and the client its answer alone."""
        two = await self.server(slots=1, name="two")
        two.on_request = answer_ok
        for words, say in LAST_WORDS.items():
            for end in (Call.close, Call.reset):
                one = await self.server(slots=9, name="one")
                one.on_request = self.dies(say, end)
                told = (words, end.__name__)
                code, headers, body = await self.ask(
                    post_number(7, "X-Request-Id: mine", "Authorization: Bearer k")
                )
                self.assertEqual((code, json.loads(body)), (200, {"number": 7}), told)
                self.assertEqual(headers["x-paddler-agent"], "two", told)
                self.assertEqual(headers["x-request-id"], "mine", told)
                (call,) = one.calls
                again = two.calls[-1]
                self.assertEqual((call.line, call.body), (again.line, again.body), told)
                self.assertEqual(call.headers, again.headers, told)
                agent = self.agent("one")
                self.assertEqual((agent.state, agent.in_flight), ("unreachable", 0), told)
                self.admission.leave("one")

    async def test_own_id(self) -> None:
        """The id that a request was given is the same at each server and for the client."""
        one = await self.server(slots=9, name="one")
        one.on_request = Call.reset
        two = await self.server(slots=1, name="two")
        _, headers, _ = await self.ask(post_number(1))
        ids = [call.headers.getRawHeaders(b"x-request-id") for call in one.calls + two.calls]
        self.assertEqual(ids, [[headers["x-request-id"].encode()]] * 2)

    async def test_large_body_is_replayed(self) -> None:
        """A body in a file is sent whole again, also when the first server took part of it."""
        body = bytes(range(256)) * 12_000
        two = await self.server(slots=1, name="two")
        for take in ("all", "none"):
            one = await self.server(slots=9, name="one")
            one.on_request = Call.reset
            if take == "none":
                one.on_connection = lambda transport: transport.abortConnection()
            self.assertEqual((await self.ask(post_bytes(body)))[0], 200)
            self.assertEqual(len(one.calls), 1 if take == "all" else 0)
            self.assertEqual(two.calls[-1].body, body)
            self.assertEqual(self.agent("one").in_flight, 0)
            self.admission.leave("one")

    async def test_id_slot_is_taken_out_each_time(self) -> None:
        """What is changed of a body is changed for the second server too."""
        one = await self.server(slots=9, name="one")
        one.on_request = Call.reset
        two = await self.server(slots=1, name="two")
        await self.ask(post_bytes(b'{"id_slot":1,"prompt":"a"}'))
        self.assertEqual([call.body for call in one.calls + two.calls], [b'{"prompt":"a"}'] * 2)

    async def test_place_is_kept(self) -> None:
        """It goes back to its place, before all that came later."""
        server = await self.server()
        first, call = await self.running(server, {"number": 1})
        second = await self.queued({"number": 2})
        third = await self.queued({"number": 3})
        server.on_request = answer_ok
        call.reset()
        await until(lambda: self.waiting() == 3)
        self.join(server)
        for client in (first, second, third):
            await client.until(b"200")
        numbers = [json.loads(call.body)["number"] for call in server.calls]
        self.assertEqual(numbers, [1, 1, 2, 3])

    async def test_bytes_count_again(self) -> None:
        """While it waits once more its body counts as waiting."""
        server = await self.server()
        client, call = await self.running(server, b"x" * 5000)
        self.assertEqual(self.admission.bodies.used, 0)
        call.reset()
        await until(lambda: self.waiting() == 1)
        self.assertEqual(self.admission.queue().bytes_waiting, 5000)
        self.join(server)
        await client.until(b"{}")
        self.assertEqual(self.admission.bodies.used, 0)

    async def test_deadline(self) -> None:
        """A long prompt whose time to wait is over goes to another that has room all the same."""
        one = await self.server(slots=2, name="one")
        client, call = await self.running(one)
        two = await self.server(slots=1, name="two")
        for _ in range(30):
            self.clock.advance(1)
            self.join(one, slots=2, name="one")
            self.join(two, slots=1, name="two")
        call.reset()
        self.assertIn(b"x-paddler-agent: two", (await client.until(b"{}")).lower())

    async def test_restarts_under_load(self) -> None:
        """Running answers are cut or asked again, waiting requests wait, and then all goes on."""
        server = await self.server(slots=2)
        begun, call = await self.running(server, {"number": 1})
        call.start_stream()
        call.chunk(b"data: 1\n\n")
        await begun.until(b"data: 1")
        silent, _ = await self.running(server, {"number": 2})
        waiting = await self.queued({"number": 3})
        await server.stop()
        await begun.closed
        self.assertIn(b"upstream_truncated", begun.received)
        await until(lambda: self.waiting() == 2)
        server.on_request = answer_ok
        await server.start()
        self.join(server, slots=2)
        await silent.until(b'{"number": 2}')
        await waiting.until(b'{"number": 3}')


class TriesTests(FaultCase):
    """A request that kills each server that gets it must not kill the fleet."""

    async def killed_by(self, kill: ScriptedServer) -> None:
        """A server that dies of requests that say so, for good."""

        def on_request(call: Call) -> None:
            if b"kill" not in call.body:
                answer_ok(call)
            else:
                call.reset()
                self.addCleanup(kill.refuse)

        kill.on_request = on_request

    async def test_fleet_survives(self) -> None:
        """502 after two servers; the third never sees it and serves the others."""
        servers = [await self.server(slots=n, name=f"s{n}") for n in (3, 2, 1)]
        for server in servers:
            await self.killed_by(server)
        code, headers, body = await self.ask(post_bytes(b'{"prompt":"kill"}'))
        error = json.loads(body)["error"]
        self.assertEqual((code, error["code"], error["type"]), (502, 502, "upstream_failed"))
        self.assertNotIn("x-paddler-agent", headers)
        self.assertEqual([len(server.calls) for server in servers], [1, 1, 0])
        self.assertEqual([self.state(f"s{n}") for n in (3, 2, 1)], ["unreachable"] * 2 + ["ready"])
        answer = await self.ask(post_number(1))
        self.assertEqual((answer[0], answer[1]["x-paddler-agent"]), (200, "s1"))

    async def test_one_server(self) -> None:
        """Alone it gets the request again after its next good report, and then no more."""
        server = await self.server()
        server.on_request = Call.reset
        client = await self.queued()
        self.join(server)
        self.assertEqual(error_in(await client.until(b"upstream_failed")), (502, "upstream_failed"))
        self.assertEqual(len(server.calls), 2)

    async def test_refusals_between(self) -> None:
        """Servers that took nothing of it are not counted among those that died of it."""
        servers = [await self.server(slots=n, name=f"s{n}") for n in (5, 4, 3, 2, 1)]
        for server in servers[::2]:
            server.on_request = Call.reset
        await servers[1].refuse()
        await servers[3].refuse()
        code, _, _ = await self.ask(post_number(1))
        self.assertEqual(code, 502)
        self.assertEqual([len(server.calls) for server in servers], [1, 0, 1, 0, 0])

    async def test_without_slot(self) -> None:
        """The same holds for a GET, while all slots are busy."""
        servers = [await self.server(name=f"s{n}") for n in range(3)]
        for server in servers:
            server.on_request = lambda call: None
        for _ in servers:
            await self.asking()
        await until(lambda: all(server.calls for server in servers))
        servers[0].on_request = servers[1].on_request = Call.reset
        servers[2].on_request = answer_ok
        codes = []
        while len(servers[0].calls) + len(servers[1].calls) < 4:
            received = await (await self.get()).until(b"\r\n\r\n")
            codes.append(int(received.split()[1]))
            self.assertLess(len(codes), 100)
        self.assertTrue(set(codes) <= {200, 502}, codes)
        self.assertEqual([self.state(f"s{n}") for n in range(3)], ["unreachable"] * 2 + ["full"])
        received = await (await self.get()).until(b"\r\n\r\n")
        self.assertIn(b"x-paddler-agent: s2", received.lower())


class ThreeTriesTests(FaultCase):
    """With --max-tries 3."""

    ways = Ways(max_tries=3)

    async def test_third_answers(self) -> None:
        """Two die of it and the third answers."""
        servers = [await self.server(slots=n, name=f"s{n}") for n in (4, 3, 2, 1)]
        for server in servers[:2]:
            server.on_request = Call.reset
        answer = await self.ask(post_number(1))
        self.assertEqual((answer[0], answer[1]["x-paddler-agent"]), (200, "s2"))
        self.assertEqual([len(server.calls) for server in servers], [1, 1, 1, 0])
