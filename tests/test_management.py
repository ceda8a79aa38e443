"""Tests of the management server, over a real site, admission and scheduler in memory."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import attrs
import msgspec
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from paddler import __version__
from paddler.balancer.admission import Admission
from paddler.balancer.management import REPORT_LIMIT, management_resource
from paddler.errors import PaddlerError
from paddler.scheduling.policies import IdleSlots
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease
from paddler.values import Address, Report
from tests.logs import LinesLogged

__all__ = ["ManagementTests"]

_BASE = "http://127.0.0.1:8085"
_STARTED = 1_700_000_000.0
_REPORT = Report("one", Address("10.0.0.1", 8088), 1.0, 4, slots_busy=1, version="1.0")


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


class ManagementCase(SynchronousTestCase):
    """A management server and a client of it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(_STARTED)
        scheduler = Scheduler(IdleSlots(), Random(1), waiting_limit=10, missed_allowed=3)
        self.admission = Admission(self.clock, scheduler, 60.0)
        self.lines = LinesLogged()
        self.lines.start(self)
        self.serve()

    def tearDown(self) -> None:
        """Nothing is left to happen."""
        self.admission.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def serve(
        self,
        token: str | None = None,
        allowed_origins: tuple[str, ...] = (),
        dashboard: bool = False,
    ) -> None:
        """Serve anew, with these settings."""
        self.treq: Any = StubTreq(
            management_resource(
                admission=self.admission,
                clock=self.clock,
                started_at=_STARTED,
                token=token,
                allowed_origins=allowed_origins,
                dashboard=dashboard,
                reverseproxy="127.0.0.1:8086",
                management="127.0.0.1:8085",
            )
        )

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Got:
        """Send one request; underscores in the headers' names stand for hyphens."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        asking = self.treq.request(method, _BASE + path, headers=given, data=body)
        self.treq.flush()
        response = self.successResultOf(asking)
        content: bytes = self.successResultOf(self.treq.content(response))
        return Got(response.code, response.headers, content)

    def report(self, agent_id: str = "a1", report: Report = _REPORT, **headers: str) -> Got:
        """Send a report."""
        path = f"/api/v1/agent_status_update/{agent_id}"
        return self.ask("POST", path, report.to_json(), **headers)

    def agents(self) -> list[dict[str, Any]]:
        """What the API shows of the agents."""
        agents: list[dict[str, Any]] = self.ask("GET", "/api/v1/agents").json["agents"]
        return agents

    def acquire(self, weight: int = 1) -> Deferred[Lease]:
        """Ask for a slot as a request does; given up at the end if it still waits."""
        waiting = self.admission.acquire(weight)
        waiting.addErrback(lambda failure: failure.trap(PaddlerError))
        return waiting


class ManagementTests(ManagementCase):
    """What each path does."""

    def test_health(self) -> None:
        """Health says the version and how many agents there are."""
        self.report()
        got = self.ask("GET", "/health")
        self.assertEqual(got.code, 200)
        self.assertEqual(got.json, {"status": "ok", "version": __version__, "agents": 1})
        self.assertEqual(got.header("content-type"), "application/json")

    def test_report_and_agents(self) -> None:
        """An agent that reports is shown, in the contract's fields and no others."""
        got = self.report()
        self.assertEqual((got.code, got.json), (200, {"status": "ok"}))
        self.assertEqual(got.header("cache-control"), "no-store")
        self.assertEqual(
            self.agents(),
            [
                {
                    "agent_id": "a1",
                    "agent_name": "one",
                    "external_llamacpp_addr": "10.0.0.1:8088",
                    "state": "ready",
                    "issues": [],
                    "slots_total": 4,
                    "slots_idle": 3,
                    "slots_processing": 1,
                    "in_flight": 0,
                    "promised": 0,
                    "foreign_busy": 1,
                    "client_left": 0,
                    "models": [],
                    "quarantined_until": None,
                    "draining": False,
                    "last_update": _STARTED,
                    "error": None,
                }
            ],
        )

    def test_issues(self) -> None:
        """An issue is shown with its time and who saw it."""
        self.report(report=attrs.evolve(_REPORT, issues=("unauthorized",)))
        issue = {"issue": "unauthorized", "since": _STARTED, "seen_by": "agent"}
        self.assertEqual(self.agents()[0]["issues"], [issue])

    def test_report_serves_who_waits(self) -> None:
        """A request that waits gets its slot with the report that brings it."""
        waiting = self.acquire()
        self.assertNoResult(waiting)
        self.report()
        lease = self.successResultOf(waiting)
        self.assertEqual(self.agents()[0]["in_flight"], 1)
        self.admission.release(lease)

    def test_unknown_fields(self) -> None:
        """Fields that are not known are ignored."""
        fields = json.loads(_REPORT.to_json())
        body = json.dumps({**fields, "mood": {"good": [True]}}).encode()
        self.assertEqual(self.ask("POST", "/api/v1/agent_status_update/a1", body).code, 200)

    def test_report_with_a_bad_field(self) -> None:
        """A report that does not fit is refused by the name of its field."""
        fields = {**json.loads(_REPORT.to_json()), "slots_total": -1}
        got = self.ask("POST", "/api/v1/agent_status_update/a1", json.dumps(fields).encode())
        self.assertEqual(got.error, (400, "malformed_report"))
        self.assertIn("slots_total", got.json["error"]["message"])
        self.assertEqual(self.agents(), [])

    def test_report_without_sense(self) -> None:
        """What is no JSON, or nothing, is refused."""
        for body in (b"", b"{", b"\xff", b"[]", b"null"):
            got = self.ask("POST", "/api/v1/agent_status_update/a1", body)
            self.assertEqual(got.error, (400, "malformed_report"), body)

    def test_report_as_a_form(self) -> None:
        """curl -d says that it sends a form; the report in it is read all the same."""
        kind = "application/x-www-form-urlencoded"
        self.assertEqual(self.report(content_type=kind).code, 200)
        self.assertEqual(len(self.agents()), 1)

    def test_report_too_large(self) -> None:
        """A report of more than 1 MiB is refused, one of just that is read."""
        body = _REPORT.to_json()
        body += b" " * (REPORT_LIMIT - len(body))
        path = "/api/v1/agent_status_update/a1"
        self.assertEqual(self.ask("POST", path, body).code, 200)
        self.assertEqual(self.ask("POST", path, body + b" ").error, (413, "too_large"))

    def test_agent_ids(self) -> None:
        """Ids that fit are taken wherever an id stands; others are not."""
        for good in ("a", "A-b_c.9", "x" * 128, "..."):
            self.assertEqual(self.report(good).code, 200, good)
            self.assertEqual(self.ask("POST", f"/api/v1/agents/{good}/drain").code, 200, good)
            self.assertEqual(self.ask("DELETE", f"/api/v1/agents/{good}").code, 200, good)
        for bad in ("", "x" * 129, "a%20b", "a%2Fb", "a%0A", "%C3%A4", "%00", "a:b", "%7Bid%7D"):
            for method, path in (
                ("POST", f"/api/v1/agent_status_update/{bad}"),
                ("DELETE", f"/api/v1/agents/{bad}"),
                ("POST", f"/api/v1/agents/{bad}/drain"),
                ("POST", f"/api/v1/agents/{bad}/resume"),
            ):
                got = self.ask(method, path, _REPORT.to_json())
                self.assertEqual(got.error, (400, "malformed_request"), path)
        self.assertEqual(self.agents(), [])

    def test_leave(self) -> None:
        """An agent that takes its leave is gone at once; its running answers finish."""
        self.report()
        lease = self.successResultOf(self.acquire())
        self.assertEqual(self.ask("DELETE", "/api/v1/agents/a1").code, 200)
        self.assertEqual(self.agents(), [])
        self.assertFalse(lease.ended)
        self.admission.release(lease)
        self.assertEqual(self.ask("DELETE", "/api/v1/agents/a1").error, (404, "no_such_agent"))

    def test_drain_and_resume(self) -> None:
        """A drained agent gets nothing new until it is resumed."""
        self.report()
        self.assertEqual(self.ask("POST", "/api/v1/agents/a1/drain").code, 200)
        shown = self.agents()[0]
        self.assertEqual((shown["state"], shown["draining"]), ("draining", True))
        self.assertEqual(shown["slots_idle"], 0)
        waiting = self.acquire()
        self.assertNoResult(waiting)
        self.assertEqual(self.ask("POST", "/api/v1/agents/a1/resume").code, 200)
        self.admission.release(self.successResultOf(waiting))
        self.assertFalse(self.agents()[0]["draining"])

    def test_drain_nobody(self) -> None:
        """Draining an agent that is not known is an error."""
        for word in ("drain", "resume"):
            got = self.ask("POST", f"/api/v1/agents/a1/{word}")
            self.assertEqual(got.error, (404, "no_such_agent"))

    def test_buffered_requests(self) -> None:
        """The buffer is shown."""
        waiting = self.acquire()
        self.acquire()
        self.clock.advance(2.5)
        self.assertNoResult(waiting)
        self.assertEqual(
            self.ask("GET", "/api/v1/buffered_requests").json,
            {"requests_waiting": 2, "bytes_waiting": 0, "oldest_wait_seconds": 2.5, "limit": 10},
        )

    def test_demand(self) -> None:
        """The demand is what is processed and what waits, in flat numbers."""
        self.report(report=attrs.evolve(_REPORT, slots_total=2))
        lease = self.successResultOf(self.acquire())
        self.acquire()
        self.acquire()
        self.clock.advance(1.0)
        self.assertEqual(
            self.ask("GET", "/api/v1/demand").json,
            {
                "slots_total": 2,
                "slots_processing": 2,
                "slots_idle": 0,
                "requests_waiting": 2,
                "demand": 4,
                "oldest_wait_seconds": 1.0,
                "agents": 1,
            },
        )
        self.admission.stop()
        self.admission.release(lease)

    def test_balancer(self) -> None:
        """The balancer says what it is, where it is and since when."""
        self.ask("POST", "/api/v1/agent_status_update/a1", b"{}")
        self.clock.advance(12.0)
        self.assertEqual(
            self.ask("GET", "/api/v1/balancer").json,
            {
                "version": __version__,
                "uptime_seconds": 12.0,
                "reverseproxy": "127.0.0.1:8086",
                "management": "127.0.0.1:8085",
                "request_buffer_timeout": 60.0,
                "refused_reports": 1,
            },
        )

    def test_dashboard(self) -> None:
        """The dashboard's page is served when enabled, and lets a browser do nothing else."""
        self.assertEqual(self.ask("GET", "/dashboard").error, (404, "not_found"))
        self.serve(dashboard=True)
        got = self.ask("GET", "/dashboard")
        self.assertEqual(got.code, 200)
        self.assertEqual(got.header("content-type"), "text/html; charset=utf-8")
        self.assertIn("default-src 'none'", got.header("content-security-policy") or "")
        self.assertIn(b'href="api/v1/agents"', got.body)

    def test_head(self) -> None:
        """HEAD has the same headers as GET, and no body."""
        self.serve(dashboard=True)
        self.report()
        for path in (
            "/health",
            "/dashboard",
            "/api/v1/agents",
            "/api/v1/balancer",
            "/api/v1/buffered_requests",
            "/api/v1/demand",
        ):
            got, head = self.ask("GET", path), self.ask("HEAD", path)
            self.assertEqual((head.code, head.body), (200, b""), path)
            self.assertEqual(head.header("content-type"), got.header("content-type"), path)
            self.assertEqual(got.header("content-length"), str(len(got.body)), path)

    def test_not_found(self) -> None:
        """What is not served, or not yet, is not found."""
        for path in (
            "/",
            "/nothing",
            "/api/v1/agents/",
            "/api/v1/agents/stream",
            "/api/v1/agents/a1/dance",
            "/api/v1/buffered_requests/stream",
            "/api/v1/history",
            "/metrics",
            "/health/",
            "//health",
        ):
            got = self.ask("GET", path)
            expected = (400, "malformed_request") if path == "x" else (404, "not_found")
            if path == "/api/v1/agents/":
                self.assertEqual(got.error, (405, "method_not_allowed"))
            else:
                self.assertEqual(got.error, expected, path)
        self.assertEqual(self.ask("POST", "/register/target", b"{}").error, (404, "not_found"))

    def test_method_not_allowed(self) -> None:
        """A method that a path does not take is refused, and those that it takes are named."""
        for method, path, allowed in (
            ("POST", "/health", "GET, HEAD"),
            ("DELETE", "/api/v1/agents", "GET, HEAD"),
            ("GET", "/api/v1/agents/a1", "DELETE"),
            ("HEAD", "/api/v1/agents/a1/drain", "POST"),
            ("GET", "/api/v1/agent_status_update/a1", "POST"),
            ("OPTIONS", "/api/v1/demand", "GET, HEAD"),
            ("FROB", "/api/v1/demand", "GET, HEAD"),
        ):
            got = self.ask(method, path)
            self.assertEqual((got.code, got.header("allow")), (405, allowed), path)
            if method != "HEAD":
                self.assertEqual(got.error, (405, "method_not_allowed"))

    def test_own_error(self) -> None:
        """An error of our own is logged whole and answered without its insides."""
        self.report()

        def broken() -> None:
            raise RuntimeError("secret insides")

        # What is handed in is a real Admission; this breaks one of its parts from outside.
        self.admission._scheduler = attrs.evolve(_Broken(broken))  # type: ignore[assignment]
        got = self.ask("GET", "/api/v1/agents")
        self.assertEqual(got.error, (500, "internal_error"))
        self.assertNotIn(b"secret", got.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


@attrs.frozen
class _Broken:
    agents: Any
    next_event: None = None


class TokenTests(ManagementCase):
    """The token."""

    def setUp(self) -> None:
        super().setUp()
        self.serve(token="s3cret", dashboard=True)

    def test_without(self) -> None:
        """Without the token nothing is told and nothing is done, on any path."""
        self.assertEqual(self.report().error, (401, "unauthorized"))
        for path in ("/api/v1/agents", "/dashboard", "/nothing", "/health/x", "/"):
            got = self.ask("GET", path)
            self.assertEqual(got.error, (401, "unauthorized"), path)
            self.assertEqual(got.header("www-authenticate"), "Bearer")
        self.assertEqual(self.admission.agents(), ())

    def test_wrong(self) -> None:
        """Only the whole token fits, in the right scheme."""
        for shown in ("Bearer s3cre", "Bearer s3cret!", "Basic s3cret", "s3cret", "Bearer", ""):
            got = self.ask("GET", "/api/v1/agents", authorization=shown)
            self.assertEqual(got.error, (401, "unauthorized"), shown)
            self.assertNotIn(b"s3cret", got.body)

    def test_right(self) -> None:
        """With the token all is open; the scheme's word may be in any case."""
        for word in ("Bearer", "bearer", "BEARER"):
            self.assertEqual(self.report(authorization=f"{word} s3cret").code, 200)
        got = self.ask("GET", "/api/v1/agents", authorization="Bearer s3cret")
        self.assertEqual(len(got.json["agents"]), 1)

    def test_health(self) -> None:
        """Health needs no token."""
        self.assertEqual(self.ask("GET", "/health").code, 200)
        self.assertEqual(self.ask("HEAD", "/health").code, 200)

    def test_bytes(self) -> None:
        """A header with bytes beyond ASCII is a wrong token, not an error."""
        got = self.ask("GET", "/api/v1/agents", authorization="Bearer s3crét")
        self.assertEqual(got.error, (401, "unauthorized"))


class OriginTests(ManagementCase):
    """Web pages."""

    ours = "https://ops.example.com"

    def setUp(self) -> None:
        super().setUp()
        self.serve(allowed_origins=(self.ours, "dash.example:3000"))
        self.report()

    def test_allowed(self) -> None:
        """A page of an allowed origin may read, errors included."""
        for path, code in (("/api/v1/agents", 200), ("/nothing", 404)):
            got = self.ask("GET", path, origin=self.ours)
            self.assertEqual(got.code, code)
            self.assertEqual(got.header("access-control-allow-origin"), self.ours)
            self.assertEqual(got.header("vary"), "Origin")

    def test_allowed_by_host(self) -> None:
        """An origin that is allowed without a scheme is allowed with both."""
        for origin in ("http://dash.example:3000", "https://dash.example:3000"):
            got = self.ask("GET", "/api/v1/agents", origin=origin)
            self.assertEqual(got.header("access-control-allow-origin"), origin)

    def test_others(self) -> None:
        """A page of another origin is told nothing that its browser would let it read."""
        for origin in (
            "https://evil.example",
            "http://ops.example.com",
            "https://ops.example.com:8443",
            "https://ops.example.com.evil.example",
            "ftp://dash.example:3000",
            "dash.example:3000",
            "null",
        ):
            got = self.ask("GET", "/api/v1/agents", origin=origin)
            self.assertIsNone(got.header("access-control-allow-origin"), origin)
            self.assertEqual(got.header("vary"), "Origin")

    def test_no_origins(self) -> None:
        """Where no origin is allowed, answers say nothing of origins."""
        self.serve()
        got = self.ask("GET", "/api/v1/agents", origin=self.ours)
        self.assertIsNone(got.header("access-control-allow-origin"))
        self.assertIsNone(got.header("vary"))

    def test_unauthorized(self) -> None:
        """An allowed page may read that its token is missing."""
        self.serve(token="s3cret", allowed_origins=(self.ours,))
        got = self.ask("GET", "/api/v1/agents", origin=self.ours)
        self.assertEqual(got.error, (401, "unauthorized"))
        self.assertEqual(got.header("access-control-allow-origin"), self.ours)

    def test_preflight(self) -> None:
        """A browser's question needs no token and is answered for allowed origins alone."""
        self.serve(token="s3cret", allowed_origins=(self.ours,))
        path = "/api/v1/agents/a1/drain"
        asked = {"access_control_request_method": "POST"}
        got = self.ask("OPTIONS", path, origin=self.ours, **asked)
        self.assertEqual((got.code, got.body), (204, b""))
        self.assertEqual(got.header("access-control-allow-origin"), self.ours)
        self.assertEqual(got.header("access-control-allow-methods"), "GET, HEAD, POST, DELETE")
        self.assertEqual(
            got.header("access-control-allow-headers"), "Authorization, Content-Type"
        )
        got = self.ask("OPTIONS", path, origin="https://evil.example", **asked)
        self.assertEqual(got.code, 204)
        self.assertIsNone(got.header("access-control-allow-origin"))
        self.assertIsNone(got.header("access-control-allow-methods"))
        self.assertEqual(self.ask("OPTIONS", path).error, (401, "unauthorized"))

    def test_foreign_change(self) -> None:
        """A foreign page changes nothing."""
        for origin in ("https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:80"):
            for method, path in (
                ("POST", "/api/v1/agents/a1/drain"),
                ("DELETE", "/api/v1/agents/a1"),
                ("POST", "/api/v1/agent_status_update/a2"),
            ):
                got = self.ask(method, path, _REPORT.to_json(), origin=origin)
                self.assertEqual(got.error, (403, "origin_not_allowed"), origin)
        shown = self.agents()
        self.assertEqual([(a["agent_id"], a["draining"]) for a in shown], [("a1", False)])

    def test_own_change(self) -> None:
        """Pages of this server and of allowed origins may change things."""
        for origin in ("http://127.0.0.1:8085", "https://127.0.0.1:8085", self.ours):
            got = self.ask("POST", "/api/v1/agents/a1/drain", origin=origin)
            self.assertEqual(got.code, 200, origin)

    def test_own_by_default_port(self) -> None:
        """A default port, given or not, makes no other origin."""
        for origin, host, code in (
            ("https://bal.example", "bal.example:443", 200),
            ("https://BAL.example:443", "bal.example", 200),
            ("http://bal.example", "bal.example", 200),
            ("http://bal.example", "bal.example:443", 403),
            ("http://", "", 403),
        ):
            got = self.ask("POST", "/api/v1/agents/a1/drain", origin=origin, host=host)
            self.assertEqual(got.code, code, origin)

    def test_null_is_never_allowed(self) -> None:
        """Any sandboxed page has the origin null, so it can't be allowed."""
        self.serve(allowed_origins=("null",))
        got = self.ask("POST", "/api/v1/agents/a1/drain", origin="null")
        self.assertEqual(got.error, (403, "origin_not_allowed"))
        self.assertIsNone(got.header("access-control-allow-origin"))


class RefusedReportTests(ManagementCase):
    """What is counted and logged of reports that are refused."""

    path = "/api/v1/agent_status_update/"

    def refused(self) -> int:
        """How many the API says were refused."""
        count: int = self.ask("GET", "/api/v1/balancer").json["refused_reports"]
        return count

    def test_one_line_a_change(self) -> None:
        """A problem is logged when it is new, when it is another, and when it is over."""
        for body in (b"{}", b"{}", b"{}", b"[]", b"[]", _REPORT.to_json(), _REPORT.to_json()):
            self.ask("POST", self.path + "a1", body)
        lines = [line for line in self.lines.lines if "reports of" in line]
        self.assertEqual(len(lines), 3, lines)
        self.assertIn("agent a1 from 127.0.0.1 are refused: ", lines[0])
        self.assertIn("agent_name", lines[0])
        self.assertIn("agent a1 from 127.0.0.1 are refused: ", lines[1])
        self.assertIn("agent a1 from 127.0.0.1 are taken again", lines[2])
        self.assertEqual(self.refused(), 5)

    def test_good_reports(self) -> None:
        """Good reports are not logged; the agent's joining is."""
        for _ in range(5):
            self.report()
        self.assertEqual(len(self.lines.lines), 1)

    def test_hostile_ids(self) -> None:
        """However many ids are made up, the log has a few lines, each one line."""
        for number in range(300):
            self.ask("POST", f"{self.path}x%0Aroot{number}%1B%E2%80%A8", b"{}")
        lines = self.lines.lines
        self.assertLess(len(lines), 20)
        for line in lines:
            self.assertTrue(line.isprintable(), ascii(line))
        self.assertEqual(self.refused(), 300)

    def test_lines_come_back(self) -> None:
        """After a while there is a line again, and it says how many there were not."""
        for number in range(30):
            self.ask("POST", f"{self.path}x{number}", b"{}")
        said = len(self.lines.lines)
        self.clock.advance(60.0)
        self.ask("POST", f"{self.path}late", b"{}")
        self.assertEqual(len(self.lines.lines), said + 1)
        self.assertIn(f"({30 - said} more such changes", self.lines.lines[-1])

    def test_hostile_problems(self) -> None:
        """What a report says is not repeated at length, nor as lines of its own."""
        fields = {**json.loads(_REPORT.to_json()), "issues": ["a\nb\x1b[2J" + "c" * 9999]}
        self.ask("POST", self.path + "a1", json.dumps(fields).encode())
        (line,) = self.lines.lines
        self.assertTrue(line.isprintable(), ascii(line))
        self.assertLess(len(line), 500)

    def test_too_large_is_counted(self) -> None:
        """A report that is too large is a refused one."""
        self.ask("POST", self.path + "a1", b" " * (REPORT_LIMIT + 1))
        self.assertEqual(self.refused(), 1)

    def test_unauthorized_is_not_counted(self) -> None:
        """What is turned away at the door was never a report."""
        self.serve(token="s3cret")
        self.ask("POST", self.path + "a1", b"{}")
        got = self.ask("GET", "/api/v1/balancer", authorization="Bearer s3cret")
        self.assertEqual(got.json["refused_reports"], 0)


class ManyAgentsTests(ManagementCase):
    """A large fleet."""

    def test_thousand(self) -> None:
        """A thousand agents are all shown."""
        for number in range(1000):
            address = Address(f"10.0.{number // 250}.{number % 250}", 8088)
            report = attrs.evolve(_REPORT, agent_name=f"n{number}", external=address)
            self.admission.report(f"a{number}", report)
        shown = msgspec.json.decode(self.ask("GET", "/api/v1/agents").body)["agents"]
        self.assertEqual([a["agent_id"] for a in shown], [f"a{n}" for n in range(1000)])
