"""The hop to llama-server, on twisted.web's client.

A connection serves one request: llama-server closes a connection after a stream
without saying so, and idle ones after 5 seconds, so keeping them would trade one
round trip for requests that meet a closed connection.
"""

from __future__ import annotations

from typing import Any, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectingCancelledError,
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
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IResponse
from zope.interface import implementer

from paddler.dialing import Dialing
from paddler.errors import NoConnection, UpstreamFailed, UpstreamRefused, UpstreamTimedOut
from paddler.headers import end_to_end
from paddler.interfaces import IAnswer, IBodyReceiver, IUpstreamHop
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
        headers: Headers,
        body: IBodyProducer | None,
    ) -> Deferred[IAnswer]:
        """See `IUpstreamHop`."""
        line = _Line(self._reactor, upstream, self._connect_timeout)
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        agent = Agent.usingEndpointFactory(self._reactor, line, pool)
        uri = upstream.scheme.encode() + b"://upstream.invalid" + target
        asking = agent.request(method, uri, headers, body)
        return ensureDeferred(_answer(upstream, line, asking))

    def close(self) -> Deferred[None]:
        """See `IUpstreamHop`; nothing is kept open."""
        return succeed(None)


async def _answer(upstream: Address, line: _Line, asking: Deferred[IResponse]) -> IAnswer:
    """The answer, or our own words for why there is none."""
    try:
        response = await asking
    except ConnectTimedOut:
        raise UpstreamTimedOut(str(upstream), "no connection in time") from None
    except ConnectBindError as error:
        # Ours, not llama-server's: no descriptor or no port is left to connect from.
        raise NoConnection(str(error).rstrip(".")) from None
    except (ConnectError, DNSLookupError) as error:
        raise UpstreamRefused(str(upstream), str(error).rstrip(".")) from None
    except ConnectingCancelledError:
        raise CancelledError from None
    except (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed) as error:
        if any(reason.check(CancelledError) for reason in error.reasons):
            raise CancelledError from None
        raise UpstreamFailed(str(upstream), _first_reason(error.reasons)) from None
    return _Answer(response, line)


def _first_reason(reasons: list[Failure]) -> str:
    return reasons[0].getErrorMessage().rstrip(".") if reasons else "the connection was lost"


@implementer(IAnswer)
class _Answer(Protocol):
    """A twisted.web response, and the protocol that its body comes to."""

    def __init__(self, response: IResponse, line: _Line) -> None:
        self._response = response
        self._line = line
        self.code: int = response.code
        self.phrase: bytes = response.phrase
        self.headers = end_to_end(response.headers)
        unknown = response.length is UNKNOWN_LENGTH
        self.length: int | None = None if unknown else response.length
        self._receiver: IBodyReceiver | None = None

    # What twisted.web gives a body's protocol to hold its connection by.
    transport: Any = None

    def deliver(self, receiver: IBodyReceiver) -> None:
        self._receiver = receiver
        self._response.deliverBody(self)

    def pause(self) -> None:
        if self._receiver is not None and self.transport is not None:
            self.transport.pauseProducing()

    def resume(self) -> None:
        if self._receiver is not None and self.transport is not None:
            self.transport.resumeProducing()

    def abort(self) -> None:
        self._receiver = None
        self._line.cut()

    def dataReceived(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.data_received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        error = reason.value
        if isinstance(error, PotentialDataLoss):
            # With neither length nor chunks its proper end is all that says it is whole.
            receiver.body_ended("the connection was lost" if self._line.broken else None)
        elif isinstance(error, ResponseDone):
            receiver.body_ended(None)
        elif isinstance(error, ResponseFailed):
            receiver.body_ended(_first_reason(error.reasons))
        else:
            receiver.body_ended(str(error))
