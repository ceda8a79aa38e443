"""Servers that take no connection or are still loading, on real sockets: none of it is a try."""

from __future__ import annotations

import json

from paddler.balancer.exchanges import Ways
from paddler.values import Address, Report
from tests.faults import FaultCase, answer_ok, error_in, full_port, post_number
from tests.llamas import until

LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
LOADING_OLD = b'{"status":"loading model"}'


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
        self.assertTrue(first.received.startswith(b"HTTP/1.1 200 "), first.received)

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
