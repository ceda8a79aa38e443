"""Tests for paddler.web: what comes of asking, on treq's in-memory servers."""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import Error as SSLError
from service_identity import VerificationError
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import HTTPConnectionPool, ResponseFailed, ResponseNeverReceived
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from paddler.calls import Answer, NoAnswer
from paddler.values import Address
from paddler.web import BODY_LIMIT, HttpCaller


class Scripted(Resource):
    """Answers with `status` and `start`; the end comes when the test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.start: bytes | None = b"hello"
        self.ends = True
        self.requests: list[Any] = []
        self.bodies: list[bytes] = []
        self.gone: list[object] = []

    def render(self, request: Any) -> Any:
        self.requests.append(request)
        self.bodies.append(request.content.read())
        request.notifyFinish().addErrback(self.gone.append)
        request.setResponseCode(self.status)
        if self.status == 302:
            request.setHeader("location", "/elsewhere")
        request.addCookie("seen", "yes")
        if self.start is not None:
            request.write(self.start)
        if self.ends:
            request.finish()
        return NOT_DONE_YET


class FailingAgent:
    """An agent whose requests fail in one way, or never end."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def request(self, *arguments: Any, **named: Any) -> Deferred[Any]:
        if self.error is None:
            return Deferred(lambda d: d.errback(ConnectingCancelledError(None)))
        return fail(self.error)


class CountingPool(HTTPConnectionPool):  # type: ignore[misc]
    """Counts how often its connections are closed."""

    closed = 0

    def closeCachedConnections(self) -> Deferred[None]:
        self.closed += 1
        closing: Deferred[None] = super().closeCachedConnections()
        return closing


class HttpCallerTests(SynchronousTestCase):
    """What comes of asking."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.resource = Scripted()
        self.agent = RequestTraversalAgent(self.resource)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def caller(self, agent: Any = None, secret: str | None = None) -> HttpCaller:
        pool = HTTPConnectionPool(MemoryReactorClock(), persistent=False)
        return HttpCaller(self.clock, Address("my_host", 81), agent or self.agent, pool, secret)

    def test_answer(self) -> None:
        """An answer is a value, whatever its status."""
        self.resource.status = 418
        asking = self.caller().call("GET", "/health")
        self.agent.flush()
        self.assertEqual(self.successResultOf(asking), Answer(418, b"hello"))
        (request,) = self.resource.requests
        self.assertEqual((request.method, request.path), (b"GET", b"/health"))
        self.assertEqual(request.requestHeaders.getRawHeaders("host"), ["my_host:81"])
        self.assertFalse(request.requestHeaders.hasHeader("authorization"))

    def test_body_and_secret(self) -> None:
        """A body is sent as JSON, a secret as bearer token; no repr shows it."""
        caller = self.caller(secret="s3cret")
        asking = caller.call("POST", "/x", b"{}")
        self.agent.flush()
        self.successResultOf(asking)
        headers = self.resource.requests[0].requestHeaders
        self.assertEqual(headers.getRawHeaders("authorization"), ["Bearer s3cret"])
        self.assertEqual(headers.getRawHeaders("content-type"), ["application/json"])
        self.assertEqual(self.resource.bodies, [b"{}"])
        self.assertNotIn("s3cret", repr(caller))

    def test_redirect(self) -> None:
        """Redirects are not followed: the key is for nobody else."""
        self.resource.status = 302
        asking = self.caller(secret="k").call("GET", "/health")
        self.agent.flush()
        self.assertEqual(self.successResultOf(asking), Answer(302, b"hello"))
        self.assertEqual(len(self.resource.requests), 1)

    def test_more_headers(self) -> None:
        """Headers may be given for one request; no cookie is kept for the next one."""
        caller = self.caller()
        for headers in ({"X-Asked": "1"}, None):
            asking = caller.call("GET", "/x", headers=headers)
            self.agent.flush()
            self.successResultOf(asking)
        first, second = (request.requestHeaders for request in self.resource.requests)
        self.assertEqual(first.getRawHeaders("x-asked"), ["1"])
        self.assertFalse(second.hasHeader("x-asked") or second.hasHeader("cookie"))

    def test_no_connection_in_time(self) -> None:
        """Silence before there is a connection is told apart from silence after it."""
        asking = self.caller(FailingAgent(None)).call("GET", "/health")
        self.clock.advance(1)
        silence = NoAnswer("timeout", "no connection within 1 s", connected=False)
        self.assertEqual(self.successResultOf(asking), silence)

    def test_no_headers_in_time(self) -> None:
        """Silence before the headers; the connection is closed."""
        self.resource.start, self.resource.ends = None, False
        asking = self.caller().call("GET", "/health")
        self.agent.flush()
        self.clock.advance(0.99)
        self.assertNoResult(asking)
        self.clock.advance(0.02)
        self.assertEqual(self.successResultOf(asking), NoAnswer("timeout", "no answer within 1 s"))
        self.agent.flush()
        self.assertEqual(len(self.resource.gone), 1)

    def test_no_end_in_time(self) -> None:
        """Silence within the body counts against the same limit; the connection is closed."""
        self.resource.ends = False
        asking = self.caller().call("GET", "/health", seconds=0.5)
        self.agent.flush()
        self.assertNoResult(asking)
        self.clock.advance(0.5)
        self.assertEqual(
            self.successResultOf(asking), NoAnswer("timeout", "no answer within 0.5 s")
        )
        self.agent.flush()
        self.assertEqual(len(self.resource.gone), 1)

    def test_given_up(self) -> None:
        """Cancelled in the body or before: that is what it fails with, and no more."""
        for start in (b"hello", None):
            self.resource.start, self.resource.ends = start, False
            asking = self.caller().call("GET", "/health")
            self.agent.flush()
            asking.cancel()
            self.failureResultOf(asking, CancelledError)
            self.agent.flush()
        self.assertEqual(len(self.resource.gone), 2)

    def test_given_up_while_connecting(self) -> None:
        """Cancelled while it connects."""
        asking = self.caller(FailingAgent(None)).call("GET", "/health")
        asking.cancel()
        self.failureResultOf(asking, CancelledError)

    def test_overlong(self) -> None:
        """An answer without an end is not read to its end."""
        self.resource.start, self.resource.ends = b"x" * (BODY_LIMIT + 1), False
        asking = self.caller().call("GET", "/health")
        self.agent.flush()
        outcome = self.successResultOf(asking)
        assert isinstance(outcome, NoAnswer)
        self.assertEqual(outcome.kind, "garbled")
        self.agent.flush()
        self.assertEqual(len(self.resource.gone), 1)

    def test_broken_body(self) -> None:
        """A connection that ends in the body."""
        self.resource.ends = False
        asking = self.caller().call("GET", "/health")
        self.agent.flush()
        request: Request = self.resource.requests[0]
        request.loseConnection()
        self.agent.flush()
        outcome = self.successResultOf(asking)
        assert isinstance(outcome, NoAnswer)
        self.assertEqual(outcome.kind, "lost")

    def test_ways_to_fail(self) -> None:
        """What Twisted raises, as a value."""
        for error, kind in (
            (ConnectionRefusedError(), "refused"),
            (ConnectError(), "lost"),
            (DNSLookupError("no address found"), "lost"),
            (OSError(24, "Too many open files"), "lost"),
            (ResponseNeverReceived([Failure(ConnectionLost())]), "lost"),
            (ResponseFailed([Failure(ValueError("no status line"))]), "garbled"),
            (ResponseFailed([Failure(ResponseFailed([Failure(ConnectionLost())]))]), "lost"),
        ):
            outcome = self.successResultOf(self.caller(FailingAgent(error)).call("GET", "/"))
            assert isinstance(outcome, NoAnswer)
            self.assertEqual(outcome.kind, kind, error)
            self.assertRegex(outcome.problem, r"[^.]\Z", error)  # it stands within a sentence

    def test_renewed(self) -> None:
        """A kept connection is given up once a minute, so that a name may move."""
        pool = CountingPool(MemoryReactorClock())
        self.clock.advance(1000)
        caller = HttpCaller(self.clock, Address("my_host", 81), self.agent, pool)
        for seconds, closed in ((0, 1), (59, 1), (1, 2), (1, 2), (-500, 3), (59, 3), (1, 4)):
            self.clock.rightNow += seconds
            asking = caller.call("GET", "/x")
            self.agent.flush()
            self.successResultOf(asking)
            self.assertEqual(pool.closed, closed)

    def test_tls(self) -> None:
        """What is wrong with TLS is said in words."""
        routines = [("SSL routines", "", "certificate verify failed")]
        for error, problem in (
            (SSLError(routines), "TLS failed: certificate verify failed"),
            (SSLError([]), "TLS failed: the handshake failed"),
            (SSLError(-1, "Unexpected EOF"), "TLS failed: the handshake failed"),
            (VerificationError([]), "TLS failed: its certificate is for another host"),
        ):
            agent = FailingAgent(ResponseNeverReceived([Failure(error)]))
            outcome = self.successResultOf(self.caller(agent).call("GET", "/"))
            self.assertEqual(outcome, NoAnswer("lost", problem))

    def test_close(self) -> None:
        """With nothing kept there is nothing to wait for."""
        self.assertIsNone(self.successResultOf(self.caller().close()))
