"""Servers whose number of slots is odd, or another than before, on real sockets."""

from __future__ import annotations

from paddler.testing import Call
from tests.faults import FaultCase, answer_ok
from tests.llamas import until
from tests.proxying import Client


class SlotsTests(FaultCase):
    """Servers that say how many slots they have, and then another number."""

    buffer_size = 1000

    async def ask_many(self, number: int) -> list[Client]:
        """So many requests at once."""
        return [await self.asking({"number": each}) for each in range(number)]

    async def test_none(self) -> None:
        """One without slots gets nothing; what waits is served when it has some."""
        server = await self.server(slots=0, issues=("no_slots",))
        server.on_request = answer_ok
        client = await self.queued()
        self.assertEqual(self.state(), "unreachable")
        self.join(server, slots=1)
        await client.until(b"{}")

    async def test_a_hundred(self) -> None:
        """One with a hundred gets a hundred at a time, and not one more."""
        server = await self.server(slots=100)
        calls: list[Call] = []
        server.on_request = calls.append
        clients = await self.ask_many(101)
        await until(lambda: len(calls) == 100 and self.waiting() == 1)
        self.assertEqual(self.state(), "full")
        calls[0].answer(200, b"done")
        await until(lambda: len(calls) == 101)
        for call in calls[1:]:
            call.answer(200, b"done")
        for client in clients:
            await client.until(b"done")

    async def test_more_under_load(self) -> None:
        """New slots are given to those who wait at once."""
        server = await self.server(slots=1)
        calls: list[Call] = []
        server.on_request = calls.append
        clients = await self.ask_many(5)
        await until(lambda: len(calls) == 1 and self.waiting() == 4)
        self.join(server, slots=4)
        await until(lambda: len(calls) == 4)
        self.assertEqual(self.waiting(), 1)
        for call in calls:
            call.answer(200, b"done")
        await until(lambda: len(calls) == 5)
        calls[4].answer(200, b"done")
        for client in clients:
            await client.until(b"done")

    async def test_fewer_under_load(self) -> None:
        """What runs goes on; nothing new is sent until fewer run than there are slots."""
        server = await self.server(slots=4)
        calls: list[Call] = []
        server.on_request = calls.append
        clients = await self.ask_many(6)
        await until(lambda: len(calls) == 4 and self.waiting() == 2)
        self.join(server, slots=1)
        agent = self.agent()
        self.assertEqual((agent.in_flight, agent.slots_idle, agent.state), (4, 0, "full"))
        for call in calls[:3]:
            call.answer(200, b"done")
        await until(lambda: self.agent().in_flight == 1)
        await self.settled()
        self.assertEqual((len(calls), self.waiting()), (4, 2))
        for number in (3, 4, 5):
            await until(lambda number=number: len(calls) == number + 1)
            self.assertEqual(self.agent().in_flight, 1)
            calls[number].answer(200, b"done")
        for client in clients:
            await client.until(b"done")

    async def test_none_under_load(self) -> None:
        """One that has none any more still ends what it runs."""
        server = await self.server(slots=2)
        client, call = await self.running(server)
        self.join(server, slots=0)
        waiting = await self.queued()
        call.answer(200, b"done")
        await client.until(b"done")
        self.assertEqual((self.waiting(), self.agent().in_flight), (1, 0))
        self.join(server, slots=2)
        await waiting.until(b"{}")

    async def test_sleeping(self) -> None:
        """One that sleeps is woken only when nobody who is awake has room."""
        asleep = await self.server(slots=9, name="asleep", sleeping=True)
        awake = await self.server(slots=1, name="awake")
        first, call = await self.running(awake)
        self.assertEqual(asleep.calls, [])
        second = await self.asking()
        self.assertIn(b"x-paddler-agent: asleep", (await second.until(b"{}")).lower())
        call.answer(200, b"done")
        await first.until(b"done")
