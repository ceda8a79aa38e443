"""Clients that leave, stop or hurry, at each point of a request's way, on real sockets."""

from __future__ import annotations

from collections.abc import Callable

from paddler.balancer.limits import Limits
from paddler.testing import Call
from tests.faults import FaultCase, answer_ok
from tests.llamas import until
from tests.proxying import Client, post


def _reset(client: Client) -> None:
    client.leave()


def _close(client: Client) -> None:
    client.transport.loseConnection()


def _half_close(client: Client) -> None:
    client.transport.loseWriteConnection()


_WAYS: tuple[Callable[[Client], None], ...] = (_reset, _close, _half_close)


class LeavingTests(FaultCase):
    """Clients that leave, however they do it, half-closed ones included."""

    async def test_while_queued(self) -> None:
        """Its place and its bytes are free at once, and those behind it keep their order."""
        for leave in _WAYS:
            first = await self.queued(b"1" * 1000)
            second = await self.queued(b"2" * 1000)
            third = await self.queued(b"3" * 1000)
            leave(second)
            await until(lambda: self.waiting() == 2)
            self.assertEqual(self.admission.queue().bytes_waiting, 2000)
            server = await self.server(name=leave.__name__)
            await first.until(b"{}")
            await third.until(b"{}")
            self.assertEqual([call.body[:1] for call in server.calls], [b"1", b"3"])
            self.admission.leave(leave.__name__)

    async def test_burst(self) -> None:
        """Half of those who wait leave at once: each of the others is served."""
        clients = [await self.queued({"number": number}) for number in range(10)]
        for client in clients[::2]:
            client.leave()
        await until(lambda: self.waiting() == 5)
        server = await self.server()
        for client in clients[1::2]:
            await client.until(b"{}")
        self.assertEqual(len(server.calls), 5)

    async def test_mid_body(self) -> None:
        """A request that is not here whole never counts, and its bytes are free."""
        server = await self.server()
        for leave in _WAYS:
            client = await self.client()
            client.send(post("/completion", b"x" * 200_000)[:-50_000])
            await until(lambda: self.admission.bodies.used == 200_000)
            leave(client)
            await until(lambda: self.admission.bodies.used == 0)
        self.assertEqual((server.calls, self.agent().in_flight), ([], 0))

    async def test_mid_stream(self) -> None:
        """While tokens flow: the server's connection is closed, and the slot is free for others."""
        server = await self.server()
        for leave in _WAYS:
            client, call = await self.running(server)
            call.start_stream()
            call.chunk(b"data: 1\n\n")
            await client.until(b"data: 1")
            waiting = await self.queued()
            leave(client)
            await call.lost
            await waiting.until(b"{}")
            self.assertEqual((self.agent().client_left, self.agent().slots_idle), (0, 1))

    async def test_before_the_answer(self) -> None:
        """A slot that may still work is nobody's until a sample shows it idle."""
        for leave in _WAYS:
            server = await self.server()
            client, call = await self.running(server)
            leave(client)
            await call.lost
            waiting = await self.queued()
            self.assertEqual((self.agent().client_left, self.agent().in_flight), (1, 0))
            self.clock.advance(1)
            self.join(server, slots_busy=1)
            self.assertEqual((self.agent().client_left, self.waiting()), (1, 1))
            self.clock.advance(1)
            self.join(server, slots_busy=0)
            await waiting.until(b"{}")
            self.admission.leave("one")

    async def test_between_tries(self) -> None:
        """While it waits for another server: gone at once, and never sent again."""
        for leave in _WAYS:
            server = await self.server()
            client, call = await self.running(server, b"x" * 1000)
            call.reset()
            await until(lambda: self.waiting() == 1)
            self.assertEqual(self.admission.bodies.used, 1000)
            leave(client)
            await until(lambda: self.waiting() == 0)
            self.assertEqual(self.admission.bodies.used, 0)
            self.join(server)
            await self.settled()
            self.assertEqual((len(server.calls), self.agent().in_flight), (1, 0))
            self.assertEqual(self.agent().client_left, 0)
            self.admission.leave("one")

    async def test_in_the_second_try(self) -> None:
        """Only the second server's slot is in doubt then, and only its connection is closed."""
        one = await self.server(slots=9, name="one")
        two = await self.server(slots=1, name="two")
        client, call = await self.running(one)
        came = self.next_call(two)
        call.reset()
        second = await came
        client.leave()
        await second.lost
        left = [(view.in_flight, view.client_left) for view in self.admission.agents()]
        self.assertEqual(left, [(0, 0), (0, 1)])

    async def test_together_with_its_server(self) -> None:
        """Both go at the same moment: nothing is sent again, nothing is lost."""
        server = await self.server()
        for _ in range(20):
            client, call = await self.running(server)
            client.leave()
            call.reset()
            await call.lost
            await until(lambda: self.agent().in_flight == 0 and self.waiting() == 0)
            self.admission.leave("one")
            self.join(server)
        self.assertEqual(len(server.calls), 20)

    async def test_without_slot(self) -> None:
        """A GET's connection to the server is closed too."""
        server = await self.server()
        came = self.next_call(server)
        client = await self.get()
        call = await came
        client.leave()
        await call.lost
        self.assertEqual((self.agent().client_left, self.state()), (0, "ready"))


class StoppingTests(FaultCase):
    """Clients that stop reading."""

    limits = Limits(body=10**8, quiet=0.3, connections=1000)

    async def test_let_go(self) -> None:
        """One that takes nothing for its time is let go: its slot serves the next."""
        server = await self.server()
        client, call = await self.running(server)
        client.keep = False
        client.transport.pauseProducing()
        call.start_stream()
        for _ in range(200):
            call.chunk(b"data: " + b"x" * 65536 + b"\n\n")
        waiting = await self.queued()
        await call.lost
        await waiting.until(b"{}")
        self.assertEqual(self.agent().client_left, 0)


class HurryingTests(FaultCase):
    """Clients that send the next request before the answer."""

    async def test_pipelined_while_waiting(self) -> None:
        """The second takes no place and no slot before the first was answered."""
        client = await self.queued({"number": 1})
        client.send(post("/completion", {"number": 2}))
        await self.settled()
        self.assertEqual(self.waiting(), 1)
        server = await self.server(slots=0)
        came = self.next_call(server)
        self.join(server, slots=2)
        call = await came
        await self.settled()
        self.assertEqual((self.agent().in_flight, self.waiting(), len(server.calls)), (1, 0, 1))
        server.on_request = answer_ok
        call.answer(200, b"first")
        received = await client.until(b'{"number": 2}')
        self.assertIn(b"first", received)

    async def test_pipelined_and_left(self) -> None:
        """Leaving takes both with it."""
        for ahead in (100, 15_000):
            client = await self.queued({"number": 1})
            client.send(post("/completion", b"x" * ahead))
            await self.settled()
            client.leave()
            await until(lambda: self.waiting() == 0)
            self.assertEqual(self.admission.bodies.used, 0)
        server = await self.server()
        self.assertEqual((await self.ask(post("/completion")))[0], 200)
        self.assertEqual(len(server.calls), 1)

    async def test_far_ahead_and_left(self) -> None:
        """One that sent too far ahead is not read, nor heard leaving, and still costs no slot."""
        client = await self.queued({"number": 1})
        client.send(post("/completion", b"x" * 1_000_000))
        await self.settled()
        client.leave()
        await self.settled()
        server = await self.server()
        server.on_request = answer_ok
        self.assertEqual((await self.ask(post("/completion")))[0], 200)
        await until(lambda: self.agent().in_flight == 0)
        self.assertEqual((self.waiting(), self.agent().client_left), (0, 0))

    async def test_pipelined_and_retried(self) -> None:
        """A first one that is tried again is still answered before the second."""
        one = await self.server(slots=9, name="one")
        two = await self.server(slots=1, name="two")
        two.on_request = answer_ok
        one.on_request = Call.reset
        client = await self.client()
        client.send(post("/completion", b"first") + post("/completion", b"second"))
        received = await client.until(b"second")
        self.assertLess(received.index(b"first"), received.index(b"second"))
        self.assertEqual([call.body for call in two.calls], [b"first", b"second"])
