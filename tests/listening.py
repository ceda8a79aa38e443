"""Resources on real sockets, which tests start and stop as they like."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.llamas import free_port, until

__all__ = ["ListeningResource"]

reactor = cast(Any, _reactor)


class ListeningResource(Resource):
    """A resource with a port of its own on the loopback.

    :ivar port: the same after each start.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self._listening: Any = None
        self._factory: Any = None

    def start(self) -> None:
        """Listen."""
        self._factory = WrappingFactory(Site(self))
        self._listening = reactor.listenTCP(self.port, self._factory, interface="127.0.0.1")

    async def stop(self) -> None:
        """Be gone, connections too; it may be started again."""
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        await listening.stopListening()
        for protocol in list(self._factory.protocols):
            protocol.transport.abortConnection()
        await until(lambda: not self._factory.protocols)
