"""Connections to a server by its name, looked up again each time.

Twisted's own endpoint for names refuses underscores, which Compose and Docker give to
names. Nothing here knows what a connection is for.
"""

from __future__ import annotations

import socket
from typing import Any

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimedOut
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from paddler.values import Address

__all__ = ["Dialing", "NamedEndpoint", "keep_alive", "look_up"]

#: Seconds that one of several addresses of a name gets before the next one is tried.
PATIENCE = 0.3
#: The system asks after 15 s of silence, every 5 s, and gives up after four unanswered times.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
#: Seconds for the last one.
LAST_PATIENCE = 5.0


@implementer(IResolutionReceiver)
class _Found:
    """Gathers the addresses of a name."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        # A look-up can't be called back; one that nobody waits for comes to nothing.
        self.all: Deferred[None] = Deferred(lambda _: None)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, (IPv4Address, IPv6Address)):
            self.addresses.append(address.host)

    def resolutionComplete(self) -> None:
        if not self.all.called:
            self.all.callback(None)


@implementer(IStreamClientEndpoint)
@attrs.frozen
class NamedEndpoint:
    """Connects to the first address of a host that takes the connection.

    :param reactor: connects TCP and looks up names.
    :param host: a name, which may have underscores, or an IP address.
    :param port: a TCP port.
    :param timeout: seconds for its look-up, and again for the last of its addresses.
    """

    _reactor: Any
    _host: str
    _port: int
    _timeout: float = LAST_PATIENCE

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, once.

        :raises DNSLookupError: when the name is not known.
        :raises TimeoutError: twisted.internet's, when nobody says so in time.
        :raises ConnectError: what the last address said.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        looking = Deferred.fromCoroutine(look_up(self._reactor, self._host))
        *others, last = await looking.addTimeout(
            self._timeout, self._reactor, onTimeoutCancel=self._not_found_in_time
        )
        for host in others:
            try:
                return await self._try(host, PATIENCE, factory)
            except ConnectError:
                continue
        return await self._try(last, self._timeout, factory)

    def _not_found_in_time(self, result: object, timeout: float) -> list[str]:
        raise ConnectTimedOut(string=f"no address found for {self._host} in {timeout:g} s")

    def _try(self, host: str, seconds: float, factory: IProtocolFactory) -> Deferred[IProtocol]:
        kind: type[Any] = TCP6ClientEndpoint if isIPv6Address(host) else TCP4ClientEndpoint
        attempt: Deferred[IProtocol] = kind(
            self._reactor, host, self._port, timeout=seconds
        ).connect(factory)
        return attempt.addCallback(_probed)


async def look_up(reactor: Any, host: str) -> list[str]:
    """The IP addresses of a host, in the order to try them; of an address, itself.

    :raises DNSLookupError: the name is not known.
    """
    if isIPAddress(host) or isIPv6Address(host):
        return [host]
    try:
        host.encode("idna")
    except UnicodeError:  # which a resolver would raise where nobody hears of it
        raise DNSLookupError(f"{host} is no name that anything can have") from None
    found = _Found()
    reactor.nameResolver.resolveHostName(found, host)
    await found.all
    if not found.addresses:
        raise DNSLookupError(f"no address found for the name {host}")
    return list(dict.fromkeys(found.addresses))


def keep_alive(connection: socket.socket) -> None:
    """Have the system find out when the host at the other end of a connection is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _probed(protocol: Any) -> IProtocol:
    """Have the system find out when the other host is gone without a word.

    A connection on which nothing is said, as while a long prompt is evaluated, would else stand
    for ever when the host behind it has lost its power or its network.
    """
    transport = protocol.transport
    if ITCPTransport.providedBy(transport) and hasattr(transport, "getHandle"):
        keep_alive(transport.getHandle())
    found: IProtocol = protocol
    return found


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class Dialing:
    """Makes an HTTP agent connect to one server, whatever the URL says.

    :param reactor: connects TCP and looks up names.
    :param address: the server; with https its certificate must be valid for the host.
    :param timeout: seconds in which the connection must be made.
    """

    _problem: str | None = None

    def __init__(self, reactor: Any, address: Address, timeout: float = LAST_PATIENCE) -> None:
        self._endpoint: IStreamClientEndpoint = NamedEndpoint(
            reactor, address.host, address.port, timeout
        )
        if address.scheme == "https":
            policy = BrowserLikePolicyForHTTPS()
            try:
                options = policy.creatorForNetloc(address.host.encode("idna"), address.port)
            except UnicodeError:  # names with underscores, for instance
                self._problem = f"no certificate is valid for the name {address.host}"
            else:
                self._endpoint = wrapClientTLS(options, self._endpoint)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The server's endpoint, which is this."""
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; without Twisted's lines in the log for each connection.

        :raises ConnectError: what `NamedEndpoint` raises; and where TLS can't be had.
        """
        if self._problem is not None:
            return fail(ConnectError(string=self._problem))
        protocolFactory.noisy = False  # type: ignore[attr-defined]
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting
