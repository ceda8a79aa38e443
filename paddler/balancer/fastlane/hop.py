"""The hop to llama-server on asyncio's transports, parsed by httptools.

Connections are kept where llama-server keeps them: it closes one after a stream without saying
so, and idle ones after 5 seconds. A request that meets a closed one goes over a new one.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import attrs
import msgspec
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure
from zope.interface import implementer

from paddler.balancer.bodies import MemoryBody
from paddler.balancer.fastlane.line import Line
from paddler.balancer.fastlane.outbox import Outbox
from paddler.dialing import PATIENCE, look_up
from paddler.errors import (
    NoConnection,
    PaddlerError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
)
from paddler.headers import Forwarded, Pairs, text_of
from paddler.interfaces import ICall, IUpstreamHop
from paddler.values import Address

__all__ = ["FastHop"]

T = TypeVar("T")

#: Seconds for which an idle connection is taken again; llama-server closes it after 5.
IDLE = 4.0
#: Idle connections that are kept to one llama-server.
KEPT = 64
#: What it means that nothing is left to connect with.
_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM))


@implementer(IUpstreamHop)
@attrs.define(eq=False)
class FastHop:
    """Sends requests over kept connections.

    :param loop: the asyncio loop that the reactor runs on.
    :param reactor: looks up names.
    :param connect_timeout: seconds in which a connection must be made.
    :param other: the hop for what did not come by the fast lane, and for TLS.
    """

    loop: asyncio.AbstractEventLoop
    _reactor: Any
    connect_timeout: float
    _other: Any
    outbox: Outbox = attrs.field(init=False)
    _idle: dict[Address, list[Line]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.outbox = Outbox(self.loop)

    def send(
        self,
        upstream: Address,
        method: bytes,
        target: bytes,
        headers: Forwarded,
        more: Pairs,
        body: Any,
        receiver: Any,
    ) -> Any:
        """See `IUpstreamHop`."""
        if upstream.scheme != "http" or method != b"POST" or not isinstance(body, MemoryBody):
            return self._other.send(upstream, method, target, headers, more, body, receiver)
        data = body.read()
        text = headers.text + text_of(more)
        request = b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b"
        call = _Call(self, upstream, request % (target, text, len(data), data), receiver)
        now = self.loop.time()
        line = self.take(upstream, now)
        if line is not None:
            call.line = line
            line.serve(call, now, again=True)
        else:
            call.dial()
        return call

    async def addresses(self, upstream: Address) -> list[str]:
        """Where it is reached; one at least.

        :raises DNSLookupError: its name is not known.
        """
        host = upstream.host
        if isIPAddress(host) or isIPv6Address(host):
            return [host]
        looking: asyncio.Future[list[str]] = Deferred.fromCoroutine(
            look_up(self._reactor, host)
        ).asFuture(self.loop)
        return await looking

    def take(self, upstream: Address, now: float) -> Line | None:
        """A connection that is there already.

        :param now: the loop's time.
        """
        idle = self._idle.get(upstream)
        while idle:
            line = idle.pop()
            if now - line.idle_since < IDLE and not line.transport.is_closing():
                return line
            line.close()
        return None

    def keep(self, line: Line) -> None:
        """A connection has nothing to do."""
        idle = self._idle.get(line.upstream)
        if idle is None:
            idle = self._idle[line.upstream] = []
        if len(idle) >= KEPT:
            line.close()
            return
        line.idle_since = self.loop.time()
        idle.append(line)

    def lost(self, line: Line) -> None:
        """A connection is no more."""
        idle = self._idle.get(line.upstream)
        if idle is not None:
            if line in idle:
                idle.remove(line)
            if not idle:
                del self._idle[line.upstream]

    def close(self) -> Deferred[None]:
        """See `IUpstreamHop`."""
        for idle in list(self._idle.values()):
            for line in list(idle):
                line.close()
        self._idle.clear()
        return succeed(None)


@implementer(ICall)
class _Call(msgspec.Struct, eq=False):
    """A request on its way: over a line that was kept, or over one that is to be made."""

    _hop: FastHop
    upstream: Address
    request: bytes
    receiver: Any
    line: Line | None = None
    _dialing: asyncio.Task[None] | None = None
    #: It was sent over a line that was kept, and is sent once more.
    _again: bool = False
    aborted: bool = False

    @property
    def in_frame(self) -> bool:
        """See `ICall`."""
        return self.line is not None and self.line.in_frame

    def dial(self) -> None:
        """Send it over a line of its own."""
        self._dialing = self._hop.loop.create_task(self._dial())

    def found_closed(self) -> None:
        """The line that was kept had been closed: send it over one of its own."""
        self.line, self._again = None, True
        self.dial()

    def connected(self, line: Line) -> None:
        """There is a line of its own."""
        self.line = line
        line.serve(self, self._hop.loop.time(), again=False)

    def ended(self, *, parted: bool) -> Any:
        """Its answer has ended; the receiver has still to hear how.

        :param parted: its line goes on without it.
        """
        receiver, self.receiver = self.receiver, None
        if parted:
            self.line = None
        return receiver

    def pause(self) -> None:
        """See `IFlow`."""
        if self.line is not None:
            self.line.pause()

    def resume(self) -> None:
        """See `IFlow`."""
        if self.line is not None:
            self.line.resume()

    def abort(self) -> None:
        """See `ICall`."""
        self.aborted = True
        if self._dialing is not None:
            self._dialing.cancel()
        if self.line is not None:
            self.line.abort()

    async def _dial(self) -> None:
        """Connect; what comes of that is told by the line, or here where there is none."""
        try:
            error = await self._connect()
        except Exception as bug:  # its own, of which nobody else would hear
            error = None
            if self.line is None and not self.aborted:
                self.receiver.broke(Failure(bug))
        self._dialing = None
        if error is None or self.line is not None or self.aborted:
            return
        if self._again and isinstance(error, UpstreamRefused):
            # It may have died of this very request.
            error = UpstreamFailed(str(self.upstream), error.problem)
        self.receiver.answer_ended(error)

    async def _connect(self) -> PaddlerError | None:
        upstream, hop = self.upstream, self._hop
        try:
            *others, last = await self._within(hop.connect_timeout, hop.addresses(upstream))
            for host in others:
                with suppress(OSError, asyncio.TimeoutError):
                    await self._within(PATIENCE, self._connection(host))
                    return None
                if self.line is not None:
                    return None
            await self._within(hop.connect_timeout, self._connection(last))
        except asyncio.TimeoutError:
            return UpstreamTimedOut(str(upstream), "no connection in time")
        except DNSLookupError as unknown:
            return UpstreamRefused(str(upstream), str(unknown).rstrip("."))
        except OSError as failed:
            why = os.strerror(failed.errno) if failed.errno else str(failed)
            if failed.errno in _OURS:
                # Ours, not llama-server's: no descriptor or no port is left to connect from.
                return NoConnection(why)
            return UpstreamRefused(str(upstream), why)
        return None

    async def _within(self, seconds: float, doing: Coroutine[Any, Any, T]) -> T:
        """Wait for something as a part of this very task; `asyncio.wait_for` makes another.

        :raises asyncio.TimeoutError: it takes longer.
        """
        task, late = asyncio.current_task(), []

        def give_up() -> None:
            late.append(True)
            assert task is not None
            task.cancel()

        timer = self._hop.loop.call_later(seconds, give_up)
        try:
            return await doing
        except asyncio.CancelledError:
            if late and not self.aborted:
                raise asyncio.TimeoutError from None
            raise
        finally:
            timer.cancel()

    def _connection(self, host: str) -> Any:
        made = lambda: Line(self._hop, self.upstream, self)  # noqa: E731
        return self._hop.loop.create_connection(made, host, self.upstream.port)
