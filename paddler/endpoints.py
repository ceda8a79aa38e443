"""Connections to servers by name, as an operator writes the name.

Twisted's HostnameEndpoint refuses names with underscores, which compose files and the
product's own examples use. Here the system's resolver is asked for whatever was
given, again at each connection, so that a name may move.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

__all__ = ["ServerEndpoint"]


@implementer(IResolutionReceiver)
@attrs.define(eq=False)
class _Receiver:
    """Collects the addresses of a name."""

    done: Deferred[list[str]] = attrs.field(factory=Deferred)
    _found: list[str] = attrs.field(factory=list)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing is done with it: a resolution in a thread can't be stopped."""

    def addressResolved(self, address: IAddress) -> None:
        host: str = address.host  # type: ignore[attr-defined]
        if host not in self._found:
            self._found.append(host)

    def resolutionComplete(self) -> None:
        if not self.done.called:
            self.done.callback(self._found)


@implementer(IStreamClientEndpoint)
@attrs.define(eq=False)
class ServerEndpoint:
    """A TCP server by name or address.

    :param reactor: connects and resolves.
    :param host: any name that the system's resolver knows, or an IP address.
    :param port: its TCP port.
    :param timeout: seconds for one attempt; a name may have several addresses.
    """

    _reactor: Any
    _host: str
    _port: int
    _timeout: float

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to the first of its addresses that answers.

        :raises DNSLookupError: the name is not known; by the Deferred.
        :raises ConnectError: none of its addresses answers.
        """
        if isIPAddress(self._host) or isIPv6Address(self._host):
            return self._connect_to(self._host, protocolFactory)
        return ensureDeferred(self._connect_by_name(protocolFactory))

    async def _connect_by_name(self, factory: IProtocolFactory) -> IProtocol:
        receiver = _Receiver()
        self._reactor.nameResolver.resolveHostName(receiver, self._host, self._port)
        addresses = await receiver.done
        if not addresses:
            raise DNSLookupError(f"no address for {self._host}")
        for address in addresses[:-1]:
            try:
                return await self._connect_to(address, factory)
            except ConnectError:
                continue
        return await self._connect_to(addresses[-1], factory)

    def _connect_to(self, address: str, factory: IProtocolFactory) -> Deferred[IProtocol]:
        kind = TCP6ClientEndpoint if isIPv6Address(address) else TCP4ClientEndpoint
        endpoint = kind(self._reactor, address, self._port, timeout=self._timeout)
        connecting: Deferred[IProtocol] = endpoint.connect(factory)
        return connecting
