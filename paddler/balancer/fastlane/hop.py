"""The hop to llama-server on asyncio's transports, parsed by httptools.

Connections are kept where llama-server keeps them: it closes one after a stream without saying
so, and idle ones after 5 seconds. A request that meets a closed one goes over a new one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from paddler.balancer.bodies import MemoryBody
from paddler.balancer.fastlane.line import Line
from paddler.errors import NoConnection, PaddlerError, UpstreamRefused, UpstreamTimedOut
from paddler.headers import Pairs
from paddler.interfaces import ICall, IUpstreamHop
from paddler.values import Address

__all__ = ["FastHop"]

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
    :param connect_timeout: seconds in which a connection must be made.
    :param other: the hop for what did not come by the fast lane, and for TLS.
    """

    loop: asyncio.AbstractEventLoop
    connect_timeout: float
    _other: Any
    _idle: dict[Address, list[Line]] = attrs.field(factory=dict, init=False)

    def send(
        self,
        upstream: Address,
        method: bytes,
        target: bytes,
        headers: Pairs,
        body: Any,
        receiver: Any,
    ) -> Any:
        """See `IUpstreamHop`."""
        if upstream.scheme != "http" or method != b"POST" or not isinstance(body, MemoryBody):
            return self._other.send(upstream, method, target, headers, body, receiver)
        parts = [method + b" " + target + b" HTTP/1.1"]
        parts += [name + b": " + value for name, value in headers]
        data = body.read()
        parts.append(b"Content-Length: %d\r\n\r\n" % len(data))
        call = _Call(self, upstream, b"\r\n".join(parts) + data, receiver)
        call.begin()
        return call

    def take(self, upstream: Address) -> Line | None:
        """A connection that is there already."""
        idle = self._idle.get(upstream)
        while idle:
            line = idle.pop()
            if self.loop.time() - line.idle_since < IDLE and line.usable:
                return line
            line.close()
        return None

    def keep(self, line: Line) -> None:
        """A connection has nothing to do."""
        idle = self._idle.setdefault(line.upstream, [])
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
@attrs.define(eq=False)
class _Call:
    """A request on its way: over a line that was kept, or over one that is to be made."""

    _hop: FastHop
    upstream: Address
    request: bytes
    receiver: Any
    _line: Line | None = attrs.field(default=None, init=False)
    _dialing: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _paused: bool = attrs.field(default=False, init=False)

    @property
    def in_frame(self) -> bool:
        """See `ICall`."""
        return self._line is not None and self._line.in_frame

    def begin(self) -> None:
        """Send it."""
        line = self._hop.take(self.upstream)
        if line is not None:
            self._line = line
            line.serve(self, again=True)
        else:
            self.dial()

    def dial(self) -> None:
        """Send it over a connection of its own."""
        self._line = None
        self._dialing = self._hop.loop.create_task(self._dial())

    def pause(self) -> None:
        """See `IFlow`."""
        if self._line is not None:
            self._line.pause()

    def resume(self) -> None:
        """See `IFlow`."""
        if self._line is not None:
            self._line.resume()

    def abort(self) -> None:
        """See `ICall`."""
        if self._dialing is not None:
            self._dialing.cancel()
        if self._line is not None:
            self._line.abort()

    async def _dial(self) -> None:
        upstream, hop = self.upstream, self._hop
        connecting = hop.loop.create_connection(
            lambda: Line(hop, upstream), upstream.host, upstream.port
        )
        error: PaddlerError
        try:
            _, line = await asyncio.wait_for(connecting, hop.connect_timeout)
        except asyncio.TimeoutError:
            error = UpstreamTimedOut(str(upstream), "no connection in time")
        except OSError as failed:
            # A look-up that fails has numbers of its own.
            ours = failed.errno is not None and not isinstance(failed, socket.gaierror)
            why = os.strerror(failed.errno or 0) if ours else failed.strerror or str(failed)
            if failed.errno in _OURS:
                # Ours, not llama-server's: no descriptor or no port is left to connect from.
                error = NoConnection(why)
            else:
                error = UpstreamRefused(str(upstream), why)
        else:
            self._dialing = None
            self._line = line
            line.serve(self, again=False)
            return
        self._dialing = None
        try:
            self.receiver.answer_ended(error)
        except Exception:  # its own error, of which nobody else would hear
            self.receiver.broke(Failure())
