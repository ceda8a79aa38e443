"""One client's connection in the fast lane.

It takes plain requests: a well-formed POST of HTTP/1.1 that its server takes, whose head comes in
one piece and whose body has a length and is not large. At the first request that is anything else
the connection goes to twisted.web, with every byte of that request, and stays there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from paddler.balancer.bodies import MemoryBody
from paddler.balancer.fastlane.plain import PlainHeads
from paddler.balancer.fastlane.request import FastRequest
from paddler.errors import PaddlerError

if TYPE_CHECKING:
    from paddler.balancer.fastlane.adoption import Adoption
    from paddler.balancer.sites import ConnectionSite

__all__ = ["FastConnection"]

#: Bytes of further requests that are read ahead while one is served.
AHEAD = 64 * 1024
#: Seconds until a connection that could not go to twisted.web is tried again.
AGAIN = 0.01


class FastConnection(asyncio.Protocol):
    """A connection.

    :param adoption: where it came from, and how it goes to twisted.web.
    :param site: knows it, and has its limits.
    :param server: serves its requests, an `IPlainServer`.
    :param host: the client's address.
    """

    def __init__(self, adoption: Adoption, site: ConnectionSite, server: Any, host: bytes) -> None:
        self.site = site
        self._adoption = adoption
        self._server = server
        self._host = host
        self._transport: Any = None
        self.write: Callable[[bytes], None] = lambda data: None
        self._heads = PlainHeads(server.takes)
        self._request: FastRequest | None = None
        self._exchange: Any = None
        #: The body that is coming, in pieces, and how much of it is not here yet.
        self._pieces: list[bytes] = []
        self._missing = 0
        self._ahead = b""
        self._feeding = self._deaf = self._closing = False
        #: The client takes less than it is sent.
        self.stalls = False
        #: It goes to twisted.web as soon as what was written is sent.
        self._going = False
        #: It is on its way there.
        self._goes = False
        #: Since when the client keeps us waiting, and bytes that it had not taken then. None: for
        #: no longer than since the last look.
        self._waits_since: float | None = None
        self._unsent = 0

    # From asyncio.

    def connection_made(self, transport: Any) -> None:
        """It is here."""
        self._transport = transport
        self.write = partial(self._adoption.lane.outbox.put, transport)
        if self._closing:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Some bytes of requests."""
        if self._closing:
            return
        self._ahead = self._ahead + data if self._ahead else data
        if self._request is not None or (self.stalls and not self._missing):
            if len(self._ahead) > AHEAD and not self._deaf:
                self._deaf = True
                self._transport.pause_reading()
        elif not (self._feeding or self._going):
            self._feed()

    def eof_received(self) -> bool:
        """The client sends nothing more: it has left."""
        self._left()
        return False

    def connection_lost(self, reason: Exception | None) -> None:
        """It is no more, or no more here."""
        if self._goes:
            self._adoption.lane.gone()
        self._left()
        self._adoption.lane.ended(self)

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self.stalls = True
        self._waits_since = None
        if self._request is not None and self._request.flow is not None:
            self._request.flow.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.stalls = False
        if self._going:
            self._go()
        elif self._request is None and not (self._feeding or self._closing):
            self._feed()
        elif self._request is not None and self._request.flow is not None:
            self._request.flow.resume()

    # Requests.

    def _feed(self) -> None:
        """Begin what has come, one request after another while they are answered at once."""
        if self._deaf:
            self._deaf = False
            self._transport.resume_reading()
        self._feeding = True
        try:
            while self._ahead and self._request is None and not self._closing:
                if self._missing:
                    self._more_of_body()
                elif self.stalls:
                    return  # or answers that it does not take would pile up
                elif not self._begin():
                    self._go()
                    return
        finally:
            self._feeding = False

    def _begin(self) -> bool:
        """Read a head, and begin its request; tells whether it is a plain one."""
        data, site = self._ahead, self.site
        found = self._heads.read(data)
        if found is None:
            return False
        end, size = found
        if size > site.limits.body or not site.bodies.has_room(size):
            return False
        site.bodies.used += size
        body, self._ahead = data[end : end + size], data[end + size :]
        if self._heads.parses:
            self._heads.pass_body(body)
        if len(body) < size:
            self._pieces, self._missing, self._waits_since = [body], size - len(body), None
        else:
            self._serve(body)
        return True

    def _more_of_body(self) -> None:
        piece = self._ahead[: self._missing]
        self._ahead = self._ahead[self._missing :]
        self._missing -= len(piece)
        self._pieces.append(piece)
        if self._heads.parses:
            self._heads.pass_body(piece)
        self._waits_since = None
        if not self._missing:
            body, self._pieces = b"".join(self._pieces), []
            self._serve(body)

    def _serve(self, body: bytes) -> None:
        heads, held = self._heads, MemoryBody(body)
        uri, headers, its_id = heads.uri, heads.headers, heads.headers.request_id()
        request = FastRequest(self, uri, headers, its_id, held, self._host, heads.keeps, len(body))
        self._request, self._exchange = request, self._server.new(request)
        self._exchange.begin()

    # From the request that is served.

    def answered(self, request: FastRequest) -> None:
        """Its answer is whole."""
        self._request = self._exchange = self._waits_since = None
        if not request.keeps or self._closing:
            self.loseConnection()
        elif not (self._feeding or self.stalls):
            self._feed()

    def cut(self) -> None:
        """What the client was sent can't be ended properly."""
        self._request = self._exchange = None
        self.loseConnection()

    def go(self) -> bool:
        """Go to twisted.web now; tells whether it is there to go."""
        if self._closing:
            return False
        self._goes = True
        try:
            again = self._adoption.duplicate(self._transport)
        except OSError:
            # Some of the descriptors are given back soon.
            self._adoption.lane.loop.call_later(AGAIN, self.go)
        else:
            self._hand_over(again)
        return True

    # From its site.

    @property
    def unsent(self) -> int:
        """Bytes that wait in this process to be sent."""
        self._adoption.lane.outbox.send()
        size: int = self._transport.get_write_buffer_size()
        return size

    @property
    def is_reading(self) -> bool:
        """A request has begun to come and is not here yet."""
        return self._missing > 0

    def refuse(self, error: PaddlerError) -> None:
        """Take no more of a request; twisted.web says why not."""
        if self._transport is None or self.unsent:
            self.abort()
            return
        try:
            again = self._adoption.duplicate(self._transport)
        except OSError:
            self.abort()
            return
        self._ahead = b""
        self._hand_over(again).refuse(error)

    def loseConnection(self) -> None:
        """Close it once what was written to it is sent."""
        self._closing = True
        if self._transport is not None and self._request is None:
            self._adoption.lane.outbox.send()
            self._transport.close()

    def abort(self) -> None:
        """Cut it."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def look(self, now: float) -> None:
        """See whether the client keeps us waiting for too long."""
        if self._transport is None:
            return
        if self._waits_since is None:
            self._waits_since, self._unsent = now, self.unsent
        if now - self._waits_since < self.site.limits.quiet:
            return
        before, self._unsent = self._unsent, self.unsent
        if self._unsent:
            # While an answer comes the queue may grow although the client takes from it.
            if self._unsent >= before > 0 and (self.stalls or self._request is None):
                self.abort()
            self._waits_since = now
        elif self._missing:
            self.abort()
        elif self._request is None:
            self.loseConnection()

    # Inside.

    def _left(self) -> None:
        exchange, self._exchange = self._exchange, None
        request, self._request = self._request, None
        self._closing = True
        if request is not None:
            request.let_go()
        elif self._missing:
            self._forget_body()
        if exchange is not None:
            exchange.client_has_left()

    def _forget_body(self) -> None:
        self.site.bodies.used -= sum(map(len, self._pieces)) + self._missing
        self._pieces, self._missing = [], 0

    def _go(self) -> None:
        """Go to twisted.web, once what was written is sent."""
        self._going = True
        self._stop_reading()
        if self.unsent:
            self._transport.set_write_buffer_limits(0)
        elif not self._closing and self._adoption.lane.may_go(self):
            self.go()

    def _hand_over(self, again: Any) -> Any:
        """Give the connection to twisted.web, with what came of the next request."""
        if self._missing:
            self._forget_body()
        self._closing = True
        self._stop_reading()
        self._transport.abort()
        return self._adoption.hand_over(self, again, self._ahead)

    def _stop_reading(self) -> None:
        if self._transport.is_reading():
            self._transport.pause_reading()
