"""Tests for paddler.dialing."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimedOut
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface.verify import verifyObject

from paddler.dialing import Dialing, NamedEndpoint
from paddler.values import Address


class Resolver:
    """Knows some names; one that it was told to be slow about is answered by the test."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names
        self.asked: list[str] = []
        self.slow: list[Any] = []

    def resolveHostName(self, receiver: Any, name: str, *more: Any, **named: Any) -> Any:
        self.asked.append(name)
        if name == "slow":
            self.slow.append(receiver)
            return None
        receiver.resolutionBegan(None)
        for host in self.names.get(name, []):
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, 0))
        receiver.resolutionComplete()
        return None


class NamedEndpointTests(SynchronousTestCase):
    """Connections by name."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.reactor.nameResolver = self.resolver = Resolver(
            my_host=["10.0.0.1"], both=["::1", "10.0.0.2"]
        )
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))

    def connect(self, host: str) -> Deferred[Any]:
        return NamedEndpoint(self.reactor, host, 80).connect(Factory.forProtocol(Protocol))

    def dialed(self) -> list[str]:
        return [client[0] for client in self.reactor.tcpClients]

    def refuse(self, number: int) -> None:
        factory = self.reactor.tcpClients[number][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def accept(self, number: int) -> None:
        protocol = self.reactor.tcpClients[number][2].buildProtocol(None)
        protocol.makeConnection(StringTransport())

    def test_underscore(self) -> None:
        """Names with underscores are names."""
        connecting = self.connect("my_host")
        self.assertEqual(self.dialed(), ["10.0.0.1"])
        self.accept(0)
        self.assertIsInstance(self.successResultOf(connecting), Protocol)

    def test_looked_up_each_time(self) -> None:
        """A name that moved is found where it is now."""
        self.connect("my_host").addErrback(lambda _: None).cancel()
        self.resolver.names["my_host"] = ["10.0.0.9"]
        self.connect("my_host").addErrback(lambda _: None).cancel()
        self.assertEqual(self.dialed(), ["10.0.0.1", "10.0.0.9"])

    def test_addresses(self) -> None:
        """Addresses are not looked up."""
        for host in ("127.0.0.1", "::1"):
            self.connect(host).addErrback(lambda _: None).cancel()
        self.assertEqual(self.dialed(), ["127.0.0.1", "::1"])
        self.assertEqual(self.resolver.asked, [])

    def test_next_address(self) -> None:
        """Where one address refuses, the next one is tried; a silent one gets 0.3 s."""
        connecting = self.connect("both")
        self.assertEqual(self.dialed(), ["::1"])
        self.assertEqual(self.reactor.tcpClients[0][3], 0.3)
        self.refuse(0)
        self.assertEqual(self.dialed(), ["::1", "10.0.0.2"])
        self.refuse(1)
        self.failureResultOf(connecting, ConnectionRefusedError)

    def test_unknown_name(self) -> None:
        """A name without addresses."""
        error = self.failureResultOf(self.connect("nobody"), DNSLookupError)
        self.assertIn("nobody", str(error.value))

    def test_no_name(self) -> None:
        """What no resolver could make a question of is not asked for."""
        for host in ("a..b", "a" * 64):
            self.failureResultOf(self.connect(host), DNSLookupError)
        self.assertEqual(self.resolver.asked, [])

    def test_look_up_takes_too_long(self) -> None:
        """Nobody waits for a resolver longer than for a connection."""
        connecting = self.connect("slow")
        self.reactor.advance(4.9)
        self.assertNoResult(connecting)
        self.reactor.advance(0.1)
        error = self.failureResultOf(connecting, ConnectTimedOut)
        self.assertIn("no address found for slow in 5 s", str(error.value))
        self.resolver.slow[0].resolutionComplete()
        self.assertEqual(self.dialed(), [])

    def test_given_up_while_looking_up(self) -> None:
        """A look-up that ends when nobody waits for it comes to nothing."""
        connecting = self.connect("slow")
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.resolver.slow[0].resolutionComplete()
        self.assertEqual(self.dialed(), [])


class DialingTests(SynchronousTestCase):
    """Dialing for an HTTP agent."""

    def test_interfaces(self) -> None:
        """It is what an agent wants, and its own endpoint."""
        dialing = Dialing(MemoryReactorClock(), Address("my_host", 80))
        self.assertTrue(verifyObject(IAgentEndpointFactory, dialing))
        self.assertTrue(verifyObject(IStreamClientEndpoint, dialing.endpointForURI(None)))

    def test_quiet(self) -> None:
        """Its connections have no lines in the log."""
        reactor: Any = MemoryReactorClock()
        factory = Factory.forProtocol(Protocol)
        Dialing(reactor, Address("127.0.0.1", 80)).connect(factory)
        self.assertFalse(factory.noisy)
        self.assertEqual(reactor.tcpClients[0][:2], ("127.0.0.1", 80))

    def test_no_certificate(self) -> None:
        """With https a name that no certificate can be for is not connected to."""
        reactor: Any = MemoryReactorClock()
        for host in ("my_host", "-x", "ab--c"):
            dialing = Dialing(reactor, Address(host, 443, "https"))
            error = self.failureResultOf(dialing.connect(Factory()), ConnectError).value
            self.assertIn(f"no certificate is valid for the name {host}", str(error))
        self.assertEqual(reactor.tcpClients, [])

    def test_tls(self) -> None:
        """With https the connection speaks TLS first."""
        reactor: Any = MemoryReactorClock()
        Dialing(reactor, Address("127.0.0.1", 443, "https")).connect(Factory.forProtocol(Protocol))
        transport = StringTransport()
        reactor.tcpClients[0][2].buildProtocol(None).makeConnection(transport)
        self.assertEqual(transport.value()[:2], b"\x16\x03")
