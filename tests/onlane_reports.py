"""Agents' reports in the fast lane. `tests.test_fastlane` runs this where there is one."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import msgspec
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from paddler.balancer.admission import Admission
from paddler.balancer.channel import Channel
from paddler.balancer.doorkeeping import Doorkeeper
from paddler.balancer.fastlane import loop_of
from paddler.balancer.fastlane.adoption import FastLane
from paddler.balancer.fastlane.connection import FastConnection
from paddler.balancer.fastlane.reporting import FastReports
from paddler.balancer.limits import Limits
from paddler.balancer.refusals import RefusedReports
from paddler.balancer.reports import ReportDesk
from paddler.balancer.sites import ConnectionSite
from paddler.scheduling.policies import IdleSlots
from paddler.scheduling.scheduler import Scheduler
from tests.llamas import until
from tests.managing import REPORT
from tests.proxying import Client, reactor

__all__ = ["ReportTests"]


class _Other(Resource):
    """All that twisted.web is asked."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"twisted.web"


class ReportTests(TestCase):
    """What is taken there, and what is left to twisted.web."""

    timeout = 20

    def setUp(self) -> None:
        scheduler = Scheduler(IdleSlots(), Random(1), 10, 3)
        self.admission = Admission(reactor, scheduler, 60.0)
        self.addCleanup(self.admission.stop)
        self.desk = ReportDesk(self.admission, RefusedReports(reactor))
        loop: Any = loop_of(reactor)
        assert isinstance(loop, asyncio.AbstractEventLoop)
        lane = FastLane(loop, FastReports(self.desk, Doorkeeper("secret", ())))
        self.site = ConnectionSite(
            _Other(), reactor, "management", Limits(2**20, 20.0, 100), lane=lane
        )
        self.listening = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.site.port = self.listening
        self.addCleanup(self._close)

    async def _close(self) -> None:
        await self.listening.stopListening()
        self.site.abort()
        await self.site.close()

    async def ask(self, request: bytes, *, kind: type[Any]) -> bytes:
        """What comes of one request, seen to be answered by one kind of connection."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.listening.getHost().port)
        client = await connectProtocol(endpoint, Client())
        client.send(request)
        await until(lambda: client.received.partition(b"\r\n\r\n")[2] != b"")
        self.assertEqual([type(channel) for channel in self.site._channels], [kind])
        client.leave()
        await until(lambda: not self.site._channels)
        return bytes(client.received)

    def report(
        self, *more: str, agent: str = "a1", body: bytes = REPORT.to_json(), token: str = "secret"
    ) -> bytes:
        """A report as it is sent."""
        head = [
            f"POST /api/v1/agent_status_update/{agent} HTTP/1.1",
            "Host: h",
            f"Authorization: Bearer {token}",
            f"Content-Length: {len(body)}",
            *more,
        ]
        return "\r\n".join([*head, "", ""]).encode() + body

    async def test_taken(self) -> None:
        """A report is taken in, and answered as twisted.web's side would."""
        answer = await self.ask(self.report(), kind=FastConnection)
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertEqual(msgspec.json.decode(body), {"status": "ok", "slots_in_use": 0})
        self.assertIn(b"cache-control: no-store", head.lower())
        self.assertEqual([view.agent_id for view in self.admission.agents()], ["a1"])

    async def test_refused(self) -> None:
        """One that can't be understood is answered with what is wrong, and counted."""
        answer = await self.ask(self.report(body=b'{"interval_s":1}'), kind=FastConnection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b'"type":"malformed_report"', answer)
        self.assertEqual(self.desk.refusals.count, 1)

    async def test_left_to_twisted(self) -> None:
        """What nobody let in, what a browser sent and what is no report goes to twisted.web."""
        for request in (
            self.report(token="wrong"),
            self.report("Origin: https://elsewhere.example"),
            self.report("Authorization: Bearer secret"),
            self.report(agent="a%31"),
            self.report(agent="a1/drain"),
            self.report(agent=""),
            b"GET /api/v1/agents HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer secret\r\n\r\n",
        ):
            answer = await self.ask(request, kind=Channel)
            self.assertTrue(answer.endswith(b"twisted.web"), (request, answer))
        self.assertEqual(self.admission.agents(), ())
