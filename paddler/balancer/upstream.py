"""The hop to llama-server, on twisted.web's client.

A connection serves one request: llama-server closes a connection after a stream
without saying so, and idle ones after 5 seconds, so keeping them would trade one
round trip for requests that meet a closed connection.
"""

from __future__ import annotations

from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionDone,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimedOut
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from paddler.balancer.bodies import Sending, sending
from paddler.dialing import Dialing
from paddler.errors import (
    NoConnection,
    PaddlerError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
)
from paddler.headers import AnswerHeaders, Forwarded, Pairs, pairs_of
from paddler.interfaces import Head, ICall, IUpstreamHop
from paddler.values import Address

__all__ = ["AgentHop"]


class _Line(Dialing):
    """The one connection that a request is sent over.

    It can be cut at any time, for twisted.web leaves it open when an answer ends before its
    request was sent whole.
    """

    _transport: Any = None
    #: The connection was lost, and not closed by llama-server.
    broken = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the connection is kept at hand."""
        return super().connect(protocolFactory).addCallback(self._made)

    def _made(self, protocol: Any) -> IProtocol:
        self._transport = protocol.transport
        tell = protocol.connectionLost

        def lost(reason: Failure) -> None:
            self.broken = reason.check(ConnectionDone) is None
            tell(reason)

        # twisted.web keeps to itself how an answer without a length came to its end.
        protocol.connectionLost = lost
        return cast(IProtocol, protocol)

    def cut(self) -> None:
        """Close the connection, whatever is still to be sent over it."""
        if self._transport is not None:
            self._transport.abortConnection()


@implementer(IUpstreamHop)
@attrs.define(eq=False)
class AgentHop:
    """Sends requests by a plain `Agent`: no cookies, no redirects, no decoding.

    :param reactor: connects.
    :param connect_timeout: seconds in which a connection must be made.
    """

    _reactor: Any
    _connect_timeout: float

    def send(
        self,
        upstream: Address,
        method: bytes,
        target: bytes,
        headers: Forwarded,
        more: Pairs,
        body: Any,
        receiver: Any,
    ) -> _Call:
        """See `IUpstreamHop`."""
        line = _Line(self._reactor, upstream, self._connect_timeout)
        call = _Call(upstream, line, sending(body, self._reactor), receiver)
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        agent = Agent.usingEndpointFactory(self._reactor, line, pool)
        uri = upstream.scheme.encode() + b"://upstream.invalid" + target
        sent = Headers()
        for name, value in (*headers.pairs, *more):
            sent.addRawHeader(name, value)
        call.begin(agent, method, uri, sent)
        return call

    def close(self) -> Deferred[None]:
        """See `IUpstreamHop`; nothing is kept open."""
        return succeed(None)


def _why(upstream: Address, failure: Failure) -> PaddlerError:
    """Our own words for why there is no answer."""
    error: Any = failure.value
    if isinstance(error, ConnectTimedOut):
        return UpstreamTimedOut(str(upstream), "no connection in time")
    if isinstance(error, ConnectBindError):
        # Ours, not llama-server's: no descriptor or no port is left to connect from.
        return NoConnection(str(error).rstrip("."))
    if isinstance(error, (ConnectError, DNSLookupError)):
        return UpstreamRefused(str(upstream), str(error).rstrip("."))
    if isinstance(error, (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed)):
        return UpstreamFailed(str(upstream), _first_reason(error.reasons))
    raise error


def _first_reason(reasons: list[Failure]) -> str:
    return reasons[0].getErrorMessage().rstrip(".") if reasons else "the connection was lost"


@implementer(ICall)
class _Call(Protocol):
    """A request that was sent, and the protocol that its answer's body comes to."""

    # What twisted.web gives a body's protocol to hold its connection by.
    transport: Any = None
    #: It takes chunks out of their frames.
    in_frame = False

    def __init__(
        self, upstream: Address, line: _Line, sending: Sending | None, receiver: Any
    ) -> None:
        self._upstream = upstream
        self._line = line
        self._sending = sending
        self._receiver: Any = receiver
        self._asking: Deferred[Any] | None = None

    def begin(self, agent: Agent, method: bytes, uri: bytes, headers: Headers) -> None:
        """Send it."""
        self._asking = asking = agent.request(method, uri, headers, self._sending)
        asking.addCallbacks(self._answered, self._failed)
        asking.addErrback(self._broke)

    def pause(self) -> None:
        if self.transport is not None:
            self.transport.pauseProducing()

    def resume(self) -> None:
        if self.transport is not None:
            self.transport.resumeProducing()

    def abort(self) -> None:
        self._receiver = None
        if self._sending is not None:
            self._sending.give_up()
        if self._asking is not None:
            self._asking.cancel()
        self._line.cut()

    def _answered(self, response: IResponse) -> None:
        self._asking = None
        receiver = self._receiver
        if receiver is None:
            self._line.cut()
            return
        length = None if response.length is UNKNOWN_LENGTH else response.length
        headers = AnswerHeaders(pairs_of(response.headers))
        receiver.head_received(
            Head(response.code, response.phrase, headers.passing, length, streams=headers.streams)
        )
        if self._receiver is not None:
            response.deliverBody(self)

    def _failed(self, failure: Failure) -> None:
        self._asking = None
        if self._receiver is None:
            # It was given up, which has many names.
            return
        problem = _why(self._upstream, failure)
        receiver, self._receiver = self._receiver, None
        receiver.answer_ended(problem)

    def _broke(self, failure: Failure) -> None:
        receiver, self._receiver = self._receiver, None
        self._line.cut()
        if receiver is not None:
            receiver.broke(failure)

    def dataReceived(self, data: bytes) -> None:
        if self._receiver is not None:
            try:
                self._receiver.data_received(data)
            except Exception:  # its own error, not the connection's
                self._broke(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        receiver, self._receiver = self._receiver, None
        # An answer may end before all of the request was sent.
        if self._sending is not None and self._sending.give_up():
            self._line.cut()
        if receiver is None:
            return
        error = reason.value
        problem = None
        if isinstance(error, PotentialDataLoss):
            # With neither length nor chunks its proper end is all that says it is whole.
            problem = "the connection was lost" if self._line.broken else None
        elif isinstance(error, ResponseFailed):
            problem = _first_reason(error.reasons)
        elif not isinstance(error, ResponseDone):
            problem = str(error)
        failed = None if problem is None else UpstreamFailed(str(self._upstream), problem)
        receiver.answer_ended(failed)
