"""Requests on their way: each sending of one to one upstream, and its answer back."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.http_headers import Headers

from paddler.balancer.accounts import Account
from paddler.balancer.bodies import RequestBody, Sending
from paddler.balancer.channel import PlainRequest
from paddler.balancer.relay import Relay
from paddler.balancer.requests import Target
from paddler.errors import UpstreamFailed
from paddler.headers import REQUEST_ID, forwarded
from paddler.interfaces import IAnswer, IUpstreamHop
from paddler.scheduling.slots import Upstream

__all__ = ["Attempt", "Patience", "Running"]


@attrs.frozen
class Patience:
    """Seconds without a byte after which a running answer is given up.

    :param unreachable: when its agent has found the server's port closed: llama-server that
        was told to end keeps its connections open and says nothing more.
    :param timeout: when its agent gets no answer in time, which a long prompt can do too.
    """

    unreachable: float = 2.0
    timeout: float = 60.0


@attrs.define(eq=False)
class Running:
    """The attempts that are under way, by upstream."""

    _patience: Patience
    _attempts: dict[Upstream, set[Attempt]] = attrs.field(factory=dict, init=False)

    def add(self, attempt: Attempt) -> None:
        """One begins."""
        self._attempts.setdefault(attempt.upstream, set()).add(attempt)
        if attempt.upstream.doubt is not None:
            attempt.doubted(self._patience)

    def discard(self, attempt: Attempt) -> None:
        """One has ended."""
        there = self._attempts[attempt.upstream]
        there.discard(attempt)
        if not there:
            del self._attempts[attempt.upstream]

    def doubted(self, upstream: Upstream) -> None:
        """An upstream's agent has begun to doubt that it works, or no longer does."""
        for attempt in list(self._attempts.get(upstream, ())):
            attempt.doubted(self._patience)


@attrs.define(eq=False)
class Attempt:
    """One sending of a request to one upstream.

    :param clock: the time.
    :param hop: the way there.
    :param request: the client's.
    :param account: kept of it.
    :param upstream: where it goes.
    :param rewrite_host: send the upstream its own address as Host.
    :param good: called when an answer begins that is no error of the server's.
    """

    _clock: IReactorTime
    _hop: IUpstreamHop
    _request: PlainRequest
    _account: Account
    upstream: Upstream
    _rewrite_host: bool
    _good: Callable[[], None]
    #: The status of the answer.
    code: int = attrs.field(default=0, init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _relay: Relay | None = attrs.field(default=None, init=False)
    _head: Deferred[IAnswer] | None = attrs.field(default=None, init=False)
    _given_up: str | None = attrs.field(default=None, init=False)
    _doubted_at: float = attrs.field(default=0.0, init=False)
    _check: IDelayedCall | None = attrs.field(default=None, init=False)

    @property
    def tokens_flowing(self) -> bool:
        """Tokens of a stream have come: llama-server notices at once when it is closed."""
        return self._relay is not None and self._relay.tokens_flowing

    @property
    def seconds(self) -> float:
        """How long it has been under way."""
        return self._clock.seconds() - self._began

    async def run(self, target: Target, body: RequestBody) -> bytes | None:
        """Send the request, and its answer to the client.

        :returns: None: the client has all of it; else the body of an error that was held, of
            which the client was sent nothing: `send_held` does that.
        :raises UpstreamFailed: it did not answer, and the client was sent nothing.
        :raises UpstreamTruncated: its answer was cut, and so is the client's connection.
        """
        self._began = self._clock.seconds()
        sending = body.sending(self._clock)
        answer: IAnswer | None = None
        try:
            answer = await self._send(target, sending)
            self.code = answer.code
            address = str(self.upstream.address)
            self._relay = Relay(
                self._clock,
                self._request,
                answer,
                address,
                self._ours(),
                self._good,
                self._account,
            )
            return await self._relay.run()
        finally:
            if self._check is not None:
                self._check.cancel()
                self._check = None
            # An answer may come, and end, before all of the request was sent.
            if sending is not None and sending.give_up() and answer is not None:
                answer.abort()

    def send_held(self, body: bytes) -> None:
        """Send the client the error that was held."""
        assert self._relay is not None
        self._relay.send_held(body)

    async def _send(self, target: Target, sending: Sending | None) -> IAnswer:
        address = self.upstream.address
        try:
            self._head = self._hop.send(
                address, self._request.method, target.sent, self._headers(), sending
            )
            return await self._head
        except (CancelledError, UpstreamFailed):
            if self._given_up is None:
                raise
            raise UpstreamFailed(str(address), self._given_up) from None

    def _headers(self) -> Headers:
        """What the upstream is sent."""
        came = self._request.requestHeaders
        own_host = self._rewrite_host or not came.hasHeader(b"host")
        headers = forwarded(
            came,
            client=getattr(self._request.getClientAddress(), "host", "unknown"),
            scheme=b"https" if self._request.isSecure() else b"http",
            host=str(self.upstream.address).encode() if own_host else None,
        )
        headers.setRawHeaders(REQUEST_ID, [self._account.request_id.encode()])
        return headers

    def _ours(self) -> Headers:
        """What the client is told beside the answer."""
        headers = Headers({REQUEST_ID: [self._account.request_id.encode()]})
        headers.setRawHeaders(b"x-paddler-agent", [self.upstream.name.encode()])
        return headers

    # Doubts.

    def doubted(self, patience: Patience) -> None:
        """Its agent doubts the upstream, or no longer does."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        doubt = self.upstream.doubt
        if doubt is not None:
            self._doubted_at = self._clock.seconds()
            wait = patience.unreachable if doubt == "unreachable" else patience.timeout
            self._check = self._clock.callLater(wait, self._look, wait)

    def _look(self, patience: float) -> None:
        """Give up if nothing came for too long; else look again when that can be."""
        self._check = None
        heard = self._doubted_at
        if self._relay is not None:
            heard = max(heard, self._relay.last_byte_at)
            if self._relay.paused:
                heard = self._clock.seconds()
        left = heard + patience - self._clock.seconds()
        if left > 0:
            self._check = self._clock.callLater(left, self._look, patience)
            return
        problem = f"nothing came for {patience:g} s, and its agent gets no answer either"
        if self._relay is not None:
            self._relay.give_up(problem)
        elif self._head is not None:
            self._given_up = problem
            self._head.cancel()
