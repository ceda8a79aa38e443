"""Agents that die, are cut off, come twice or take their leave, over a real management server."""

from __future__ import annotations

import json
from typing import Any

import attrs

from paddler.balancer.doorkeeping import Doorkeeper
from paddler.balancer.fastlane import loop_of
from paddler.balancer.fastlane.adoption import FastLane
from paddler.balancer.fastlane.reporting import FastReports
from paddler.balancer.history import History
from paddler.balancer.limits import Limits
from paddler.balancer.management import management_resource
from paddler.balancer.refusals import RefusedReports
from paddler.balancer.reports import ReportDesk
from paddler.balancer.sites import ConnectionSite
from paddler.balancer.streams import Streams
from paddler.testing import ScriptedServer
from paddler.values import Address, Report
from tests.faults import FaultCase
from tests.llamas import fetch, until
from tests.proxying import reactor


class AgentsCase(FaultCase):
    """A management server beside the proxy; reports go over it."""

    async def setUp(self) -> None:
        await super().setUp()
        desk = ReportDesk(self.admission, RefusedReports(self.clock))
        door, loop = Doorkeeper(None, ()), loop_of(reactor)
        root = management_resource(
            admission=self.admission,
            clock=self.clock,
            started_at=self.clock.seconds(),
            desk=desk,
            door=door,
            dashboard=False,
            reverseproxy="",
            management="",
            history=History(),
            metrics=None,
            streams=Streams.of(self.admission, self.clock),
        )
        limits = Limits(2**20, 20.0, 1000)
        lane = None if loop is None else FastLane(loop, FastReports(desk, door))
        self.management = ConnectionSite(root, reactor, "management", limits, lane=lane)
        listening = reactor.listenTCP(0, self.management, interface="127.0.0.1")
        self.management.port = listening
        self.management_port = listening.getHost().port

        async def close() -> None:
            await listening.stopListening()
            self.management.abort()
            await self.management.close()

        self.addCleanup(close)

    async def scripted(self) -> ScriptedServer:
        """A server that nobody has reported yet."""
        server = ScriptedServer(reactor)
        await server.start()
        self.addCleanup(server.stop)
        return server

    async def report(
        self, server: ScriptedServer, agent: str = "one", slots: int = 1, **more: Any
    ) -> None:
        """An agent's report, with whatever else it says."""
        told = Report(more.pop("name", agent), Address("127.0.0.1", server.port), 1.0, slots)
        headers = more.pop("headers", None)
        body = json.dumps({**json.loads(told.to_json()), **more}).encode()
        path = f"/api/v1/agent_status_update/{agent}"
        code, answer = await fetch(self.management_port, path, body, headers)
        self.assertEqual(code, 200, answer)

    async def leave(self, agent: str, expected: int = 200) -> None:
        """An agent says goodbye."""
        port, self.port = self.port, self.management_port
        client = await self.client()
        self.port = port
        client.send(f"DELETE /api/v1/agents/{agent} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        received = await client.until(b"\r\n\r\n")
        self.assertEqual(int(received.split()[1]), expected)

    def states(self) -> dict[str, str]:
        """All agents and their states."""
        return {view.agent_id: view.state for view in self.admission.agents()}


class DyingAgentTests(AgentsCase):
    """An agent that says nothing any more."""

    async def test_stale_then_forgotten(self) -> None:
        """Three reports missed: nothing new; a minute later: forgotten; running answers go on."""
        server = await self.scripted()
        await self.report(server, slots=2)
        client, call = await self.running(server)
        call.start_stream()
        call.chunk(b"data: 1\n\n")
        await client.until(b"data: 1")
        self.clock.advance(3.4)
        self.assertEqual(self.states(), {"one": "ready"})
        self.clock.advance(0.2)
        self.assertEqual(self.states(), {"one": "stale"})
        waiting = await self.queued()
        self.clock.advance(1)
        call.chunk(b"data: 2\n\n")
        await client.until(b"data: 2")
        self.clock.advance(58.9)
        self.assertEqual(self.states(), {"one": "stale"})
        self.clock.advance(0.2)
        self.assertEqual(self.states(), {})
        call.chunk(b"data: 3\n\n")
        call.chunk(b"")
        await client.until(b"\n0\r\n\r\n")
        await waiting.until(b"buffer_timeout")
        self.assertEqual(len(server.calls), 1)

    async def test_half_open_connection(self) -> None:
        """A connection that an agent keeps open is no sign of life."""
        server = await self.scripted()
        port, self.port = self.port, self.management_port
        agent = await self.client()
        self.port = port
        body = Report("one", Address("127.0.0.1", server.port), 1.0, 1).to_json()
        agent.send(
            b"POST /api/v1/agent_status_update/one HTTP/1.1\r\nHost: h\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        await agent.until(b"ok")
        self.assertEqual(self.states(), {"one": "ready"})
        self.clock.advance(3.6)
        self.assertEqual((self.states(), agent.closed.called), ({"one": "stale"}, False))
        self.clock.advance(60)
        self.assertEqual((self.states(), agent.closed.called), ({}, False))

    async def test_partition(self) -> None:
        """What waited while an agent was cut off is served at its first report after that."""
        server = await self.scripted()
        await self.report(server)
        for gone_for in (3.6, 10.0, 64.0):
            self.clock.advance(gone_for)
            client = await self.queued()
            calls = len(server.calls)
            await self.report(server)
            await client.until(b"{}")
            self.assertEqual(len(server.calls), calls + 1)
            self.assertEqual(self.states(), {"one": "ready"})

    async def test_partition_with_a_running_answer(self) -> None:
        """Its slot stays taken while its agent is forgotten and when it comes back."""
        server = await self.scripted()
        await self.report(server)
        client, call = await self.running(server)
        self.clock.advance(3.6)
        self.clock.advance(60)
        self.assertEqual(self.states(), {})
        await self.report(server)
        self.assertEqual((self.agent().in_flight, self.agent().slots_idle), (1, 0))
        waiting = await self.queued()
        call.answer(200, b"done")
        await client.until(b"done")
        await waiting.until(b"{}")


class TwiceTests(AgentsCase):
    """Two agents that report one server."""

    async def test_one_upstream(self) -> None:
        """It has its slots once, whoever reports it, and what runs there is taken over."""
        server = await self.scripted()
        await self.report(server, "first")
        client, call = await self.running(server)
        for agent in ("second", "first", "second"):
            await self.report(server, agent)
            self.assertEqual(self.states(), {agent: "full"})
            (view,) = self.admission.agents()
            self.assertEqual((view.in_flight, view.slots_total), (1, 1))
        waiting = await self.queued()
        self.assertEqual(len(server.calls), 1)
        call.answer(200, b"done")
        await client.until(b"done")
        received = await waiting.until(b"{}")
        self.assertIn(b"x-paddler-agent: second", received.lower())

    async def test_the_other_leaves(self) -> None:
        """The goodbye of one that was taken over changes nothing."""
        server = await self.scripted()
        await self.report(server, "first")
        await self.report(server, "second")
        await self.leave("first", 404)
        self.assertEqual(self.states(), {"second": "ready"})

    async def test_same_name(self) -> None:
        """Two servers whose agents have one name are told apart."""
        one, two = await self.scripted(), await self.scripted()
        await self.report(one, "a", name="gpu")
        await self.report(two, "b", name="gpu")
        self.assertEqual([view.agent_name for view in self.admission.agents()], ["gpu", "gpu#2"])


class LeavingTests(AgentsCase):
    """An agent that takes its leave."""

    async def test_running_answers_finish(self) -> None:
        """It is gone at once, nothing new is sent there, and what runs there ends well."""
        server = await self.scripted()
        await self.report(server, slots=2)
        client, call = await self.running(server)
        await self.leave("one")
        self.assertEqual(self.states(), {})
        waiting = await self.queued()
        call.start_stream()
        call.chunk(b"data: 1\n\n")
        call.chunk(b"")
        await client.until(b"\n0\r\n\r\n")
        self.assertEqual((len(server.calls), self.waiting()), (1, 1))
        await self.report(server, slots=2)
        await waiting.until(b"{}")

    async def test_back_while_running(self) -> None:
        """One that is back before its answers have ended finds their slots taken."""
        server = await self.scripted()
        await self.report(server, slots=1)
        client, call = await self.running(server)
        await self.leave("one")
        await self.report(server, slots=1)
        self.assertEqual((self.agent().in_flight, self.states()), (1, {"one": "full"}))
        call.answer(200, b"done")
        await client.until(b"done")
        self.assertEqual(self.states(), {"one": "ready"})

    async def test_death_after_the_goodbye(self) -> None:
        """A server that dies after its agent left: its request goes to another."""
        one, two = await self.scripted(), await self.scripted()
        await self.report(one, slots=2)
        client, call = await self.running(one)
        await self.report(two, "two")
        await self.leave("one")
        call.reset()
        self.assertIn(b"x-paddler-agent: two", (await client.until(b"{}")).lower())


class ClockTests(AgentsCase):
    """Clocks of other machines."""

    async def test_skewed(self) -> None:
        """Reports carry ages and intervals, no times of day, so no clock but ours counts."""
        times = [name for name in attrs.fields_dict(Report) if name.endswith(("_at", "time"))]
        self.assertEqual(times, [])
        server = await self.scripted()
        for date, sent_at in (
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Fri, 31 Dec 2099 23:59:59 GMT", 4e9),
        ):
            self.clock.advance(3)
            await self.report(server, headers={"Date": date}, sent_at=sent_at)
            self.assertEqual(self.states(), {"one": "ready"})
            self.assertEqual(self.agent().last_update, self.clock.seconds())

    async def test_ages(self) -> None:
        """How old a sample is counts from its arrival: what was ours then is not taken twice."""
        server = await self.scripted()
        await self.report(server, slots=2)
        client, call = await self.running(server)
        self.clock.advance(2)
        await self.report(server, slots=2, slots_busy=1, slots_age_s=0.0)
        self.assertEqual((self.agent().foreign_busy, self.agent().slots_idle), (0, 1))
        call.answer(200, b"done")
        await client.until(b"done")
        await until(lambda: self.agent().in_flight == 0)
        self.clock.advance(1)
        await self.report(server, slots=2, slots_busy=1, slots_age_s=1.5)
        self.assertEqual((self.agent().foreign_busy, self.agent().slots_idle), (0, 2))
        await self.report(server, slots=2, slots_busy=1, slots_age_s=0.0)
        self.assertEqual((self.agent().foreign_busy, self.agent().slots_idle), (1, 1))
