"""Tests of what the management server does at each path."""

from __future__ import annotations

import json

import attrs

from paddler import __version__
from paddler.balancer.admission import Admission
from paddler.balancer.management import REPORT_LIMIT
from paddler.scheduling.views import AgentView
from paddler.values import Address, Model
from tests.managing import REPORT, STARTED, ManagementCase

__all__ = ["ManagementTests"]


class _Broken(Admission):
    """One with a mistake in it."""

    def agents(self) -> tuple[AgentView, ...]:
        raise RuntimeError("secret insides")


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
        self.assertEqual((got.code, got.json), (200, {"status": "ok", "slots_in_use": 0}))
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
                    "prompts": None,
                    "draining": False,
                    "last_update": STARTED,
                    "error": None,
                }
            ],
        )

    def test_issues(self) -> None:
        """An issue is shown with its time and who saw it."""
        self.report(report=attrs.evolve(REPORT, issues=("unauthorized",)))
        issue = {"issue": "unauthorized", "since": STARTED, "seen_by": "agent"}
        self.assertEqual(self.agents()[0]["issues"], [issue])

    def test_report_serves_who_waits(self) -> None:
        """A request that waits gets its slot with the report that brings it."""
        waiting = self.acquire()
        self.assertNoResult(waiting)
        self.report()
        lease = self.successResultOf(waiting)
        self.assertEqual(self.agents()[0]["in_flight"], 1)
        self.assertEqual(self.report().json["slots_in_use"], 1)
        self.admission.abandon(lease)
        # Its client has gone, and llama-server may not know: still worth a look.
        self.assertEqual(self.report().json["slots_in_use"], 1)

    def test_unknown_fields(self) -> None:
        """Fields that are not known are ignored."""
        fields = json.loads(REPORT.to_json())
        body = json.dumps({**fields, "mood": {"good": [True]}}).encode()
        self.assertEqual(self.ask("POST", "/api/v1/agent_status_update/a1", body).code, 200)

    def test_report_with_a_bad_field(self) -> None:
        """A report that does not fit is refused by the name of its field."""
        fields = {**json.loads(REPORT.to_json()), "slots_total": -1}
        got = self.ask("POST", "/api/v1/agent_status_update/a1", json.dumps(fields).encode())
        self.assertEqual(got.error, (400, "malformed_report"))
        self.assertIn("slots_total", got.json["error"]["message"])
        self.assertEqual(self.agents(), [])

    def test_report_without_sense(self) -> None:
        """What is no JSON, or nothing, is refused."""
        for body in (b"", b"{", b"\xff", b"[]", b"null", b'{"x":' + b"[" * 99_999):
            got = self.ask("POST", "/api/v1/agent_status_update/a1", body)
            self.assertEqual(got.error, (400, "malformed_report"), body[:9])

    def test_report_as_a_form(self) -> None:
        """curl -d says that it sends a form; the report in it is read all the same."""
        kind = "application/x-www-form-urlencoded"
        self.assertEqual(self.report(content_type=kind).code, 200)
        self.assertEqual(len(self.agents()), 1)

    def test_report_too_large(self) -> None:
        """A report of more than 1 MiB is refused, one of just that is read."""
        body = REPORT.to_json()
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
                got = self.ask(method, path, REPORT.to_json())
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
            {
                "requests_waiting": 2,
                "bytes_waiting": 0,
                "oldest_wait_seconds": 2.5,
                "limit": 10,
                "models": {},
            },
        )

    def test_demand(self) -> None:
        """The demand is what is processed and what waits, in flat numbers."""
        self.report(report=attrs.evolve(REPORT, slots_total=2))
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

    def test_demand_of_a_model(self) -> None:
        """The demand of what one name stands for, with those who wait for it by any name."""
        details = (Model("m", ("chat",)),)
        self.report(report=attrs.evolve(REPORT, slots_total=1, slots_busy=0, model_details=details))
        lease = self.successResultOf(self.acquire())
        for model in ("m", "chat", "chat", None, "x/y z"):
            self.admission.acquire(self.admission.waiter(1, model)).addErrback(lambda _: None)
            self.clock.advance(1.0 if model == "m" else 0.125)
        waiting = {"": 5, "?model=m": 3, "?model=chat": 3, "?model=x%2Fy+z": 1, "?model=n": 0}
        for query, expected in waiting.items():
            told = self.ask("GET", f"/api/v1/demand{query}").json
            there = "m" in query.partition("=")[2] or "chat" in query or not query
            self.assertEqual(told["requests_waiting"], expected, query)
            self.assertEqual((told["slots_total"], told["agents"]), (int(there), int(there)), query)
            self.assertEqual(told["demand"], expected + int(there))
        told = self.ask("GET", "/api/v1/demand?model=m").json
        self.assertEqual(told["oldest_wait_seconds"], 1.5)
        queue = self.ask("GET", "/api/v1/buffered_requests").json
        self.assertEqual(queue["models"], {"m": 1, "chat": 2, "x/y z": 1})
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
        """The dashboard is served when enabled, and only then."""
        for path in ("/dashboard", "/dashboard/", "/dashboard/main.js"):
            self.assertEqual(self.ask("GET", path).error, (404, "not_found"), path)
        self.serve(dashboard=True)
        self.assertEqual(self.ask("GET", "/dashboard").code, 200)
        self.assertEqual(self.ask("GET", "/dashboard/main.js").code, 200)
        self.assertEqual(self.ask("POST", "/dashboard").error, (405, "method_not_allowed"))

    def test_head(self) -> None:
        """HEAD answers wherever GET does, without a body."""
        self.serve(dashboard=True)
        self.report()
        for path in (
            "/health",
            "/dashboard",
            "/dashboard/main.js",
            "/api/v1/agents",
            "/api/v1/balancer",
            "/api/v1/buffered_requests",
            "/api/v1/demand",
        ):
            got, head = self.ask("GET", path), self.ask("HEAD", path)
            self.assertEqual((head.code, head.body), (200, b""), path)
            self.assertEqual(head.header("content-type"), got.header("content-type"), path)

    def test_not_found(self) -> None:
        """What is not served, or not yet, is not found."""
        for path in (
            "/",
            "/nothing",
            "/api/v1/agents/a1/dance",
            "/metrics",
            "/health/",
            "//health",
        ):
            self.assertEqual(self.ask("GET", path).error, (404, "not_found"), path)
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
        self.admission = _Broken(self.clock, self.scheduler, 60.0)
        self.serve()
        got = self.ask("GET", "/api/v1/agents")
        self.assertEqual(got.error, (500, "internal_error"))
        self.assertNotIn(b"secret", got.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_thousand_agents(self) -> None:
        """A thousand agents are all shown."""
        for number in range(1000):
            address = Address(f"10.0.{number // 250}.{number % 250}", 8088)
            report = attrs.evolve(REPORT, agent_name=f"n{number}", external=address)
            self.admission.report(f"a{number}", report)
        shown = self.agents()
        self.assertEqual([a["agent_id"] for a in shown], [f"a{n}" for n in range(1000)])
