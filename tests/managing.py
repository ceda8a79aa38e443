"""A management server in memory, over a real site, admission and scheduler, and a client of it."""

from __future__ import annotations

import json
from random import Random
from typing import Any, cast

import attrs
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from paddler.balancer.admission import Admission
from paddler.balancer.doorkeeping import Doorkeeper
from paddler.balancer.history import History
from paddler.balancer.management import management_resource
from paddler.balancer.metrics import MetricsText
from paddler.balancer.refusals import RefusedReports
from paddler.balancer.reports import ReportDesk
from paddler.balancer.streams import Streams
from paddler.balancer.tallies import Tallies
from paddler.errors import PaddlerError
from paddler.scheduling.policies import IdleSlots
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease
from paddler.values import Address, Report

__all__ = ["REPORT", "STARTED", "Got", "ManagementCase", "lines_heard_by"]

_BASE = "http://127.0.0.1:8085"
STARTED = 1_700_000_000.0
REPORT = Report("one", Address("10.0.0.1", 8088), 1.0, 4, slots_busy=1, version="1.0")


@attrs.frozen
class Got:
    """An answer, read whole."""

    code: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """A header's one value."""
        values = self.headers.getRawHeaders(name)
        return None if values is None else ", ".join(values)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """An error's status and word, which the body must have too, in llama-server's shape."""
        error = self.json["error"]
        assert set(error) == {"code", "message", "type"} and error["code"] == self.code
        assert self.header("content-type") == "application/json"
        return self.code, error["type"]


def lines_heard_by(test: SynchronousTestCase) -> list[str]:
    """What operators are told until a test ends."""
    lines = []

    def hear(event: LogEvent) -> None:
        if event["log_namespace"].startswith("paddler.") and event["log_level"] < LogLevel.critical:
            lines.append(formatEvent(event))

    observer = cast(ILogObserver, hear)
    globalLogPublisher.addObserver(observer)
    test.addCleanup(globalLogPublisher.removeObserver, observer)
    return lines


class ManagementCase(SynchronousTestCase):
    """A management server and a client of it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(STARTED)
        self.scheduler = Scheduler(IdleSlots(), Random(1), waiting_limit=10, missed_allowed=3)
        self.admission = Admission(self.clock, self.scheduler, 60.0)
        self.history = History()
        self.tallies = Tallies(lambda: self.admission.states())
        self.metrics: MetricsText | None = None
        self.streams = Streams.of(self.admission, self.clock)
        #: What operators were told.
        self.lines = lines_heard_by(self)
        self.serve()

    def tearDown(self) -> None:
        """Nothing is left to happen."""
        self.admission.stop()
        self.streams.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def serve(
        self,
        token: str | None = None,
        allowed_origins: tuple[str, ...] = (),
        dashboard: bool = False,
    ) -> None:
        """Serve anew, with these settings."""
        self.resource = management_resource(
            admission=self.admission,
            clock=self.clock,
            started_at=STARTED,
            desk=ReportDesk(self.admission, RefusedReports(self.clock)),
            door=Doorkeeper(token, allowed_origins),
            dashboard=dashboard,
            reverseproxy="127.0.0.1:8086",
            management="127.0.0.1:8085",
            history=self.history,
            metrics=self.metrics,
            streams=self.streams,
        )
        self.treq: Any = StubTreq(self.resource)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Got:
        """Send one request; underscores in the headers' names stand for hyphens."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        asking = self.treq.request(method, _BASE + path, headers=given, data=body)
        self.treq.flush()
        response = self.successResultOf(asking)
        content: bytes = self.successResultOf(self.treq.content(response))
        return Got(response.code, response.headers, content)

    def report(self, agent_id: str = "a1", report: Report = REPORT, **headers: str) -> Got:
        """Send a report."""
        path = f"/api/v1/agent_status_update/{agent_id}"
        return self.ask("POST", path, report.to_json(), **headers)

    def agents(self) -> list[dict[str, Any]]:
        """What the API shows of the agents."""
        agents: list[dict[str, Any]] = self.ask("GET", "/api/v1/agents").json["agents"]
        return agents

    def acquire(self) -> Deferred[Lease]:
        """Ask for a slot as a request does; given up at the end if it still waits."""
        waiting = self.admission.acquire(self.admission.waiter(1))
        waiting.addErrback(lambda failure: failure.trap(PaddlerError))
        return waiting
