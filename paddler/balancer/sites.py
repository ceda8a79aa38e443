"""HTTP servers that know their connections."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.resource import IResource
from twisted.web.server import Site

from paddler.balancer.accounts import Ledger, Ledgers
from paddler.balancer.channel import Channel
from paddler.balancer.limits import BodyBudget, Limits
from paddler.balancer.plain import PlainRequest
from paddler.errors import PaddlerError, QueueFull, Stopping

__all__ = ["ConnectionSite"]

#: A full server takes new connections again when this share of its limit is free.
REOPENS_AT = 0.02


class ConnectionSite(Site):
    """A site that bounds its connections, and can close them without cutting an answer.

    It writes no access log of its own and shows nobody a traceback. HTTP/2 is not spoken.

    :param name: what the log calls it.
    :param bodies: counts the bodies that wait.
    :param no_room: makes the error for a body that `bodies` has no room for.
    :param ledger: told of requests that are refused before they are here.
    :param lane: takes the port's connections first, a `FastLane`; None: there is none.
    """

    protocol: Any = Channel
    displayTracebacks = False
    noisy = False
    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        reactor: Any,
        name: str,
        limits: Limits,
        bodies: BodyBudget | None = None,
        no_room: Callable[[], PaddlerError] | None = None,
        ledger: Ledger | None = None,
        lane: Any = None,
    ) -> None:
        super().__init__(
            resource, requestFactory=PlainRequest, timeout=limits.quiet, reactor=reactor
        )
        self.name = name
        self.limits = limits
        self.bodies = bodies or BodyBudget()
        self.no_room = no_room or (lambda: QueueFull(self.bodies.limit or 0, unit="bytes"))
        self.ledger = ledger or Ledgers()
        self._lane = lane
        self._port: Any = None
        self._channels: set[Any] = set()
        self._closed: Deferred[None] | None = None
        self._full = False

    @property
    def port(self) -> Any:
        """The listening port; set by who listens, to be paused while there are too many."""
        return self._port

    @port.setter
    def port(self, port: Any) -> None:
        self._port = port
        if hasattr(port, "numberAccepts"):
            port.doRead = partial(self._accept, port, port.doRead)
        if self._lane is not None and port is not None:
            self._lane.serve(port, self)

    def _accept(self, port: Any, accept: Callable[[], None]) -> None:
        """Take no more connections at once than there is room for.

        A port takes those of a burst in one go, and does not stop there when it is paused.
        """
        room = self.limits.connections - len(self._channels)
        port.numberAccepts = max(1, min(port.numberAccepts, room))
        accept()

    def seconds(self) -> float:
        """The time."""
        now: float = self.reactor.seconds()
        return now

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may agree on; Twisted offers HTTP/2 as soon as somebody has installed h2."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Nothing is to be done: twisted.web would tell an access log the time, each second."""

    def stopFactory(self) -> None:
        """Nothing is to be undone."""

    def log(self, request: Request) -> None:
        """Write nothing."""

    def connected(self, channel: Any) -> None:
        """A connection was made."""
        self._channels.add(channel)
        if len(self._channels) >= self.limits.connections and not self._full:
            self._full = True
            self._log.warn(
                "{name}: {count} connections, the most there may be (--max-connections); "
                "new ones wait until some end",
                name=self.name,
                count=len(self._channels),
            )
            if self.port is not None:
                self.port.stopReading()

    def disconnected(self, channel: Any) -> None:
        """A connection has ended."""
        self._channels.discard(channel)
        most = self.limits.connections
        if self._full and len(self._channels) < most * (1 - REOPENS_AT):
            self._full = False
            self._log.info("{name}: takes new connections again", name=self.name)
            if self.port is not None:
                self.port.startReading()
        closed = self._closed
        if closed is not None and not self._channels:
            self._closed = None
            closed.callback(None)

    def close(self) -> Deferred[None]:
        """Close all connections once what was written to them is sent; fires when they are.

        Who is still sending a request is told that nobody will answer it.
        """
        for channel in list(self._channels):
            if channel.is_reading:
                channel.refuse(Stopping())
            else:
                channel.loseConnection()
        if not self._channels:
            return succeed(None)
        self._closed = Deferred()
        return self._closed

    def abort(self) -> None:
        """Close all connections at once."""
        for channel in list(self._channels):
            channel.abort()
