"""Connections that Twisted's port took, on asyncio's transports; and back again."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.tcp import Port, Server

from paddler.balancer.fastlane.connection import FastConnection
from paddler.balancer.fastlane.outbox import Outbox

if TYPE_CHECKING:
    from paddler.balancer.sites import ConnectionSite

__all__ = ["Adoption", "FastLane"]


#: Seconds between two looks at who keeps us waiting, at least, and as a share of how long one may.
LOOK = 1.0
LOOKS = 1 / 30
#: Connections that are on their way to twisted.web at the same time.
MOVING = 16


@attrs.define(eq=False)
class FastLane:
    """Has the connections that a port takes served on asyncio's transports.

    :param loop: the asyncio loop that the reactor runs on.
    :param server: serves requests, an `IPlainServer`.
    """

    loop: asyncio.AbstractEventLoop
    server: Any
    outbox: Outbox = attrs.field(init=False)
    _connections: set[FastConnection] = attrs.field(factory=set, init=False)
    _adopting: set[asyncio.Task[Any]] = attrs.field(factory=set, init=False)
    #: How many go to twisted.web just now, and those that wait for it.
    _moving: int = attrs.field(default=0, init=False)
    _queue: deque[FastConnection] = attrs.field(factory=deque, init=False)
    _looking: asyncio.TimerHandle | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.outbox = Outbox(self.loop)

    def serve(self, port: Any, site: ConnectionSite) -> None:
        """Take over what a port accepts, where that is to be had: not with TLS."""
        if type(port) is Port and port.factory is site:
            its: Any = port
            its.transport = lambda *accepted: self._adopt(site, *accepted)

    def ended(self, connection: FastConnection) -> None:
        """A connection is no more, or no longer here."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        connection.site.disconnected(connection)
        if not self._connections and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def may_go(self, connection: FastConnection) -> bool:
        """Whether a connection may go to twisted.web now; else it is told when to try again.

        On its way each has two descriptors, and all at once may be more than there are.
        """
        if self._moving >= MOVING:
            self._queue.append(connection)
            return False
        self._moving += 1
        return True

    def gone(self) -> None:
        """One that was let go has arrived, or is no more."""
        self._moving -= 1
        while self._queue and self._moving < MOVING:
            self._moving += self._queue.popleft().go()

    def _adopt(
        self,
        site: ConnectionSite,
        accepted: socket.socket,
        protocol: Any,
        address: Any,
        port: Port,
        number: int,
        reactor: Any,
    ) -> None:
        """In the place of a transport of Twisted's: `protocol` is not needed yet."""
        protocol.makeConnection = lambda transport: None
        adoption = Adoption(self, protocol, address, port, number, reactor)
        connection = FastConnection(adoption, site, self.server, address[0].encode())
        self._connections.add(connection)
        site.connected(connection)
        if self._looking is None:
            self._look_later(site)
        adopting = self.loop.connect_accepted_socket(lambda: connection, accepted)
        task = self.loop.create_task(adopting)
        self._adopting.add(task)
        task.add_done_callback(lambda done: self._adopted(done, connection))

    def _adopted(self, task: asyncio.Task[Any], connection: FastConnection) -> None:
        self._adopting.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.ended(connection)

    def _look_later(self, site: ConnectionSite) -> None:
        # Of the loop's own: a timer of Twisted's costs some times as much.
        pause = max(LOOK, site.limits.quiet * LOOKS)
        self._looking = self.loop.call_later(pause, self._look, site)

    def _look(self, site: ConnectionSite) -> None:
        self._look_later(site)
        now = site.seconds()
        for connection in list(self._connections):
            connection.look(now)


@attrs.define(eq=False)
class Adoption:
    """What Twisted would have made a connection of, to be made of it later."""

    lane: FastLane
    protocol: Any
    address: Any
    port: Port
    number: int
    reactor: Any

    def duplicate(self, transport: Any) -> socket.socket:
        """Another descriptor of the same connection.

        :raises OSError: none is left.
        """
        again = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        again.setblocking(False)
        return again

    def hand_over(self, connection: FastConnection, again: socket.socket, unread: bytes) -> Any:
        """Make it a connection of Twisted's that has read nothing but `unread`.

        :param again: from `duplicate`.
        :returns: Twisted's protocol for it.
        """
        self.lane.ended(connection)
        protocol = self.protocol
        del protocol.makeConnection
        server = Server(again, protocol, self.address, self.port, self.number, self.reactor)
        protocol.makeConnection(server)
        if unread:
            protocol.dataReceived(unread)
        return protocol
