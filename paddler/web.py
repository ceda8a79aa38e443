"""One request to one server, within one time limit, as a value.

For the control plane: small answers, read whole, or one that goes on and is read by who asks.
Nothing here knows what is asked.

Note [time limit]: treq's own timeout ends with the headers, and cancelling what reads
a body leaves the connection open. So the limit here is on the whole of it, connecting,
headers and body, and a body given up is a connection closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from paddler.calls import Answer, NoAnswer, Outcome
from paddler.dialing import Dialing
from paddler.values import Address

__all__ = ["HttpCaller", "read_body"]

#: Bytes of an answer that are read; more is no answer to anything that is asked here.
BODY_LIMIT = 4 * 1024 * 1024
#: Seconds that a connection is kept in use, for a name is looked up when a new one is made.
KEPT_FOR = 60.0

_BROKEN = (RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived)


class _Overlong(Exception):
    """A body has more bytes than anybody wants to read."""


class _Body(Protocol):
    """Gathers a body; the connection is closed when it is given up."""

    def __init__(self, limit: int) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._close())
        self._limit = limit
        self._received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > self._limit and not self.whole.called:
            self._close()
            self.whole.errback(Failure(_Overlong()))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # Without a length the end of the connection is the end of the body.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._received))
        else:
            self.whole.errback(reason)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


@implementer(IBodyProducer)
@attrs.frozen
class _Bytes:
    """A request's body, written in one go: treq's own needs the global reactor for it."""

    _body: bytes

    @property
    def length(self) -> int:
        return len(self._body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def stopProducing(self) -> None:
        pass

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass


def read_body(response: IResponse, limit: int = BODY_LIMIT) -> Deferred[bytes]:
    """Read a body of at most `limit` bytes; cancelling it closes the connection."""
    body = _Body(limit)
    response.deliverBody(body)
    return body.whole


def _silence(failure: object, seconds: float) -> NoAnswer:
    """What it means that the time is over."""
    error = getattr(failure, "value", None)
    connected = not isinstance(getattr(error, "__cause__", None), ConnectingCancelledError)
    what = "answer" if connected else "connection"
    return NoAnswer("timeout", f"no {what} within {seconds:g} s", connected)


def _tls_problem(error: BaseException | None) -> str | None:
    """What was wrong with TLS; None: something else was."""
    package = type(error).__module__.partition(".")[0]
    if package == "service_identity":
        return "its certificate is for another host"
    if package != "OpenSSL":
        return None
    # A list of OpenSSL's errors, each with where it was and why at its end.
    told = error.args[0] if error and error.args and isinstance(error.args[0], list) else []
    return ", ".join(str(entry[-1]) for entry in told) or "the handshake failed"


def _broken(error: Exception) -> NoAnswer:
    """What a connection's end in the middle of things means."""
    reasons: list[Failure] = getattr(error, "reasons", [])
    if any(reason.check(CancelledError) for reason in reasons):
        raise CancelledError() from error
    first = reasons[0].value if reasons else error
    if isinstance(first, _BROKEN):
        return _broken(first)
    if isinstance(first, ConnectionClosed):
        return NoAnswer("lost", "the connection ended without a whole answer")
    if (why := _tls_problem(first)) is not None:
        return NoAnswer("lost", f"TLS failed: {why}")
    return NoAnswer("garbled", "what it sent is not HTTP")


@attrs.define(eq=False)
class HttpCaller:
    """Asks one server over HTTP, through treq.

    :param clock: measures the time limits.
    :param address: the server.
    :param secret: sent as its bearer token.
    """

    _clock: IReactorTime
    _address: Address
    _agent: IAgent
    _pool: HTTPConnectionPool
    _secret: str | None = attrs.field(default=None, repr=False)
    _kept_since: float = attrs.field(default=0.0, init=False)

    @classmethod
    def to(
        cls, reactor: Any, address: Address, secret: str | None = None, *, keep: bool = False
    ) -> HttpCaller:
        """One that dials `address`.

        :param keep: keep a connection for the next request, which saves the server an accept;
            without it every request has its own and tells what a new client would meet.
        """
        pool = HTTPConnectionPool(reactor, persistent=keep)
        pool.maxPersistentPerHost = 1
        # Well below what web servers allow, so that none closes it while it is being used.
        pool.cachedConnectionTimeout = 15
        agent = Agent.usingEndpointFactory(reactor, Dialing(reactor, address), pool)
        return cls(reactor, address, agent, pool, secret)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        seconds: float = 1.0,
        headers: Mapping[str, str] | None = None,
    ) -> Deferred[Outcome]:
        """Ask; this is a `Call`."""
        now = self._clock.seconds()
        if abs(now - self._kept_since) >= KEPT_FOR:  # the clock may be set back
            self._kept_since = now
            self._pool.closeCachedConnections()
        asking = Deferred.fromCoroutine(self._ask(method, path, body, headers or {}))
        return asking.addTimeout(seconds, self._clock, onTimeoutCancel=_silence)

    def follow(self, path: str, read: Callable[[IResponse], Deferred[bytes]]) -> Deferred[Outcome]:
        """Ask for an answer that goes on; it has no time limit.

        :param read: takes it, whatever its status, and fires when it has ended.
        :return: fires with what came of it; fails with what `read` fails with, and when it is
            cancelled.
        """
        headers = {"Accept": "text/event-stream"}
        return Deferred.fromCoroutine(self._ask("GET", path, None, headers, read))

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        more: Mapping[str, str],
        read: Callable[[IResponse], Deferred[bytes]] = read_body,
    ) -> Outcome:
        headers: dict[bytes | str, bytes | str] = {
            "Host": self._address.authority,
            "Accept": "application/json",
        }
        headers.update(more)
        if self._secret is not None:
            headers["Authorization"] = f"Bearer {self._secret}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        # treq takes no underscore in a host, so the URL names nobody: the dialing knows whom.
        url = f"{self._address.scheme}://peer:{self._address.port}{path}"
        try:
            # A client for this request alone: one keeps the cookies that it is given.
            response = await HTTPClient(self._agent).request(
                method,
                url,
                headers=headers,
                data=None if body is None else _Bytes(body),
                allow_redirects=False,
                unbuffered=True,
                # Else it takes the process' own, which there may not be yet.
                reactor=cast(Any, self._clock),
            )
            return Answer(response.code, await read(response))
        except ConnectingCancelledError as error:
            raise CancelledError() from error
        except ConnectionRefusedError:
            return NoAnswer("refused", "it refuses connections", connected=False)
        except (ConnectError, OSError) as error:
            return NoAnswer("lost", str(error).rstrip(".") or type(error).__name__, connected=False)
        except _Overlong:
            return NoAnswer("garbled", f"its answer has more than {BODY_LIMIT} bytes")
        except _BROKEN as error:
            return _broken(error)

    def close(self) -> Deferred[None]:
        """Close what was kept; fires when it is closed."""
        return self._pool.closeCachedConnections()  # type: ignore[no-any-return]
