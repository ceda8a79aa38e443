"""Who watches a balancer in memory as the terminal's dashboard does; and servers that are none."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import HTTPConnectionPool
from twisted.web.http import Request
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from paddler.balancer.streams import Streams
from paddler.terminal.client import Watch
from paddler.values import Address
from paddler.web import HttpCaller
from tests.managing import ManagementCase

__all__ = ["Line", "Mute", "Scripted", "WatchCase", "Watching"]


class Line:
    """A way to a server in memory, which may be cut.

    :ivar error: what every request fails with.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.agent: Any = None

    def lead_to(self, resource: IResource) -> None:
        """Lead there from now on."""
        self.agent = RequestTraversalAgent(resource)

    def request(self, *arguments: Any, **named: Any) -> Deferred[Any]:
        """Ask there, as Twisted's agents do."""
        return self.agent.request(*arguments, **named) if self.error is None else fail(self.error)


class Watching:
    """Who watches over such a way."""

    def __init__(self, clock: Clock, line: Line, token: str | None = None) -> None:
        pool = HTTPConnectionPool(MemoryReactorClock(), persistent=False)
        address = Address("balancer", 8085)
        caller = HttpCaller(clock, address, line, pool, token)
        self.changes = 0
        self.clock, self.line = clock, line
        self.watch = Watch(clock, caller, token is not None, self._changed)
        self.running: Deferred[None] | None = None

    def _changed(self) -> None:
        self.changes += 1

    def start(self) -> None:
        """Watch from now on."""
        self.running = self.watch.run()
        self.settle()

    def settle(self) -> None:
        """Let all that was sent arrive."""
        for _ in range(4):
            if self.line.agent is not None:
                self.line.agent.flush()

    def later(self, seconds: float, step: float = 0.5) -> None:
        """Let time go by."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.settle()

    def stop(self, case: SynchronousTestCase) -> None:
        """Watch no more."""
        if self.running is not None:
            self.running.cancel()
            case.failureResultOf(self.running, CancelledError)
            self.settle()


class Mute(Resource):
    """Takes requests and says nothing."""

    isLeaf = True

    def render(self, request: Request) -> int:
        return NOT_DONE_YET


class Scripted(Resource):
    """Answers all requests alike, but for streams that it is given.

    :param status: its status.
    :param kind: its content type.
    """

    isLeaf = True

    def __init__(
        self, status: int = 200, body: bytes = b'{"points":[]}', kind: str = "text/html"
    ) -> None:
        super().__init__()
        self._answer = status, body, kind
        self._streams: dict[bytes, bytes] = {}
        self._date: float | None = None

    def stream(self, name: str, snapshot: Any, date: float | None = None) -> None:
        """Serve this as a stream's first event, and nothing after it."""
        told = f"event: snapshot\ndata: {json.dumps(snapshot)}\n\n".encode()
        self._streams[f"/api/v1/{name}/stream".encode()] = told
        self._date = date

    def render(self, request: Any) -> Any:
        status, body, kind = self._answer
        if self._streams and request.path.endswith(b"/stream"):
            if self._date is not None:
                request.setHeader("date", formatdate(self._date, usegmt=True))
            request.setHeader("content-type", "text/event-stream")
            request.write(self._streams.get(request.path, b":\n\n"))
            return NOT_DONE_YET
        request.setResponseCode(status)
        request.setHeader("content-type", kind)
        return body


class WatchCase(ManagementCase):
    """A management server in memory, and who watches it."""

    def setUp(self) -> None:
        super().setUp()
        self.line = Line()
        self.line.lead_to(self.resource)
        self.watchings: list[Watching] = []

    def watching(self, token: str | None = None) -> Watching:
        """One who watches until the test ends."""
        watching = Watching(self.clock, self.line, token)
        watching.start()
        self.watchings.append(watching)
        return watching

    def tearDown(self) -> None:
        for watching in self.watchings:
            watching.stop(self)
        super().tearDown()

    def restart(self) -> None:
        """Another balancer in its place, which knows nobody."""
        self.streams.stop()
        self.streams = Streams.of(self.admission, self.clock)
        self.serve()
        self.line.lead_to(self.resource)
