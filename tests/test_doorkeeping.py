"""Tests of who may ask the management server: tokens and web pages."""

from __future__ import annotations

from tests.managing import REPORT, ManagementCase

__all__ = ["OriginTests", "TokenTests"]


class TokenTests(ManagementCase):
    """The token."""

    def setUp(self) -> None:
        super().setUp()
        self.serve(token="s3cret", dashboard=True)

    def test_without(self) -> None:
        """Without the token nothing is told and nothing is done, on any path."""
        self.assertEqual(self.report().error, (401, "unauthorized"))
        for path in ("/api/v1/agents", "/dashboard/x", "/nothing", "/health/x", "/"):
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
        got = self.ask("OPTIONS", path, origin=self.ours, access_control_request_method="POST")
        self.assertEqual((got.code, got.body), (204, b""))
        self.assertEqual(got.header("access-control-allow-origin"), self.ours)
        self.assertEqual(got.header("access-control-allow-methods"), "GET, HEAD, POST, DELETE")
        self.assertEqual(got.header("access-control-allow-headers"), "Authorization, Content-Type")
        got = self.ask(
            "OPTIONS", path, origin="https://evil.example", access_control_request_method="POST"
        )
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
                got = self.ask(method, path, REPORT.to_json(), origin=origin)
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
