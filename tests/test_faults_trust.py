"""Servers that answer, but not as they should, on real sockets: how far they are trusted."""

from __future__ import annotations

import json
from itertools import count

from paddler.testing import Call, ScriptedServer
from tests.faults import FaultCase, answer_ok, error_in

BROKEN = b'{"error":{"code":503,"message":"out of order","type":"server_error"}}'
CONTEXT = (
    b'{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}'
)
UNREADABLE = b'{"error":{"code":500,"message":"parse error","type":"server_error"}}'
UNSUPPORTED = b'{"error":{"code":501,"message":"not here","type":"not_supported_error"}}'


def broken(call: Call) -> None:
    """Answer with an error within a millisecond."""
    call.answer(503, BROKEN)


class TrustCase(FaultCase):
    """A server that goes wrong, most idle of all, and one that works."""

    async def setUp(self) -> None:
        await super().setUp()
        self.one = await self.server(slots=9, name="one")
        self.one.on_request = broken
        self.numbers = count()

    async def add_other(self) -> ScriptedServer:
        """A server that works."""
        other = await self.server(slots=1, name="other")
        other.on_request = answer_ok
        return other

    async def status(self) -> int:
        """The status of the answer to another request."""
        client = await self.asking({"number": next(self.numbers)})
        received = await client.until(b"}")
        client.leave()
        return int(received.split()[1])

    async def fail_requests(self, times: int = 3) -> None:
        """Requests that the first server answers with errors."""
        for _ in range(times):
            self.assertEqual(await self.status(), 503)

    async def pass_time(self, seconds: float) -> None:
        """Time passes, and agents report."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            for name, server in (("one", self.one), ("other", getattr(self, "other", None))):
                if server is not None:
                    slots = self.agent(name).slots_total
                    self.join(server, slots=slots, name=name)


class QuarantineTests(TrustCase):
    """A server that fails within milliseconds looks idle and would draw all requests."""

    async def setUp(self) -> None:
        await super().setUp()
        self.other = await self.add_other()

    async def test_three_in_a_row(self) -> None:
        """The client gets each error as it is; after the third nothing more goes there."""
        client = await self.asking({"number": -1})
        received = await client.until(BROKEN)
        self.assertEqual(error_in(received), (503, "server_error"))
        self.assertIn(b"x-paddler-agent: one", received.lower())
        await self.fail_requests(1)
        self.assertEqual(self.state(), "ready")
        await self.fail_requests(1)
        agent = self.agent()
        self.assertEqual((agent.state, agent.slots_idle), ("quarantined", 0))
        self.assertEqual(agent.quarantined_until, self.clock.seconds() + 10)
        self.assertIn(("quarantined", "balancer"), [(i.issue, i.seen_by) for i in agent.issues])
        self.assertIn("503 within milliseconds", str(agent.error))
        for _ in range(3):
            self.assertEqual(await self.status(), 200)
            self.assertIn(b"other", (await (await self.get()).until(b"\r\n\r\n")).lower())
        self.assertEqual(len(self.one.calls), 3)

    async def test_not_in_a_row(self) -> None:
        """A good answer between them makes them count anew."""
        for _ in range(3):
            self.one.on_request = broken
            await self.fail_requests(2)
            self.one.on_request = answer_ok
            self.assertEqual(await self.status(), 200)
        self.assertEqual((self.state(), self.agent().error), ("ready", None))

    async def test_trial(self) -> None:
        """When it is over one request tries it, alone; a good answer brings all others back."""
        await self.fail_requests()
        self.assertEqual(self.state(), "quarantined")
        held, call = await self.running(self.other)
        waiting = [await self.queued() for _ in range(3)]
        self.one.on_request = answer_ok
        came = self.next_call(self.one)
        await self.pass_time(9)
        await self.settled()
        self.assertEqual(len(self.one.calls), 3)
        await self.pass_time(1)
        trial = await came
        await self.settled()
        self.assertEqual((len(self.one.calls), self.waiting()), (4, 2))
        trial.answer(200, b"good")
        for client in waiting:
            self.assertIn(b"x-paddler-agent: one", (await client.until(b"\r\n\r\n")).lower())
        self.assertEqual((self.state(), self.agent().quarantined_until), ("ready", None))
        call.answer(200, b"held")
        await held.until(b"held")

    async def test_longer_each_time(self) -> None:
        """A trial that fails doubles it, up to four times the first."""
        await self.fail_requests()
        for length in (20, 40, 40):
            held, call = await self.running(self.other)
            await self.pass_time(float(self.agent().quarantined_until or 0) - self.clock.seconds())
            await self.fail_requests(1)
            self.assertEqual(self.agent().quarantined_until, self.clock.seconds() + length)
            call.answer(200, b"held")
            await held.until(b"held")
            held.leave()

    async def test_deaths_count_too(self) -> None:
        """A server that its agent finds well after each death is left out after the third."""
        self.one.on_request = Call.reset
        for _ in range(3):
            self.join(self.one, slots=9, name="one")
            self.assertEqual(await self.status(), 200)
        self.join(self.one, slots=9, name="one")
        self.assertEqual((self.state(), len(self.one.calls)), ("quarantined", 3))
        self.assertEqual(await self.status(), 200)
        self.assertEqual(len(self.one.calls), 3)

    async def test_refusals_count_too(self) -> None:
        """So is one that refuses, while its agent reaches it."""
        await self.one.refuse()
        for _ in range(3):
            self.join(self.one, slots=9, name="one")
            self.assertEqual(await self.status(), 200)
        self.join(self.one, slots=9, name="one")
        self.assertEqual(self.state(), "quarantined")

    async def test_client_leaves_in_the_trial(self) -> None:
        """A trial without an answer proves nothing: the next request tries again."""
        await self.fail_requests()
        held, call = await self.running(self.other)
        await self.pass_time(10)
        self.one.on_request = answer_ok
        client, trial = await self.running(self.one)
        client.leave()
        await trial.lost
        self.assertEqual(self.state(), "quarantined")
        self.assertEqual(await self.status(), 200)
        self.assertEqual(self.state(), "ready")
        call.answer(200, b"held")
        await held.until(b"held")


class AloneTests(TrustCase):
    """The last server is never locked out for good."""

    async def test_it_does_not_grow(self) -> None:
        """Its quarantine is as long each time, and who waits meanwhile tries it then."""
        await self.fail_requests()
        for _ in range(3):
            self.assertEqual(self.agent().quarantined_until, self.clock.seconds() + 10)
            client = await self.queued({"number": next(self.numbers)})
            await self.pass_time(10)
            await client.until(BROKEN)
            client.leave()
        client = await self.queued({"number": next(self.numbers)})
        self.one.on_request = answer_ok
        await self.pass_time(10)
        await client.until(b"200")
        self.assertEqual(self.state(), "ready")

    async def test_without_slot(self) -> None:
        """What needs no slot still goes there, and a good answer ends its quarantine."""
        await self.fail_requests()
        self.one.on_request = answer_ok
        client = await self.get()
        self.assertIn(b"200", await client.until(b"\r\n\r\n"))
        self.assertEqual(self.state(), "ready")


class RequestsOwnTests(TrustCase):
    """What is the request's fault is passed on and never counts."""

    async def check(self, code: int, answer: bytes, body: bytes | None = None) -> None:
        """Five such answers leave the server as trusted as before."""
        self.one.on_request = lambda call: call.answer(code, answer)
        for _ in range(5):
            sent = body or json.dumps({"number": next(self.numbers)}).encode()
            client = await self.asking(sent)
            received = await client.until(answer)
            self.assertEqual(int(received.split()[1]), code)
            client.leave()
        agent = self.agent()
        self.assertEqual((agent.state, agent.in_flight, agent.issues), ("ready", 0, ()))

    async def test_client_errors(self) -> None:
        """4xx of every kind."""
        for code in (400, 401, 403, 404, 413, 422, 429):
            await self.check(code, b'{"error":{}}')

    async def test_context_size(self) -> None:
        """A pool of context that ran out fails all who run, and the server is well."""
        await self.check(500, CONTEXT)

    async def test_not_supported(self) -> None:
        """What the server can't do at all."""
        await self.check(501, UNSUPPORTED)

    async def test_malformed_body(self) -> None:
        """A broken body that some versions call their own error."""
        await self.check(500, UNREADABLE, b'{"prompt":')

    async def test_slow_errors(self) -> None:
        """An error after some work is no sign of a server that fails at once."""
        self.one.on_request = lambda call: None
        for _ in range(5):
            client, call = await self.running(self.one, {"number": next(self.numbers)})
            self.clock.advance(0.5)
            self.join(self.one, slots=9, name="one")
            call.answer(500, BROKEN)
            await client.until(BROKEN)
        self.assertEqual(self.state(), "ready")
