"""Servers that die with a request in their hands, on real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from paddler.balancer.exchanges import Ways
from paddler.testing import Call, ScriptedServer
from tests.faults import FaultCase, answer_ok, error_in, post_bytes, post_number
from tests.llamas import until


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
