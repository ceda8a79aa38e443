"""The public side: each request to a llama-server with a free slot, and its answer back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from paddler.balancer.admission import Admission
from paddler.balancer.answers import error_body, send_error, send_json
from paddler.balancer.bodies import RequestBody
from paddler.balancer.channel import PlainRequest
from paddler.balancer.relay import Relay
from paddler.balancer.requests import Destination, Doors, Target, destination, target_of, weigh
from paddler.errors import NoUpstream, PaddlerError, Stopping, UpstreamFailed, UpstreamTruncated
from paddler.headers import REQUEST_ID, forwarded, request_id
from paddler.interfaces import IAnswer, IUpstreamHop
from paddler.scheduling.slots import Lease, Upstream

__all__ = ["ProxyResource"]


class ProxyResource(Resource):
    """Everything that clients ask for.

    :param clock: the time.
    :param admission: gives leases.
    :param hop: the way to llama-servers.
    :param doors: what is open beside the ordinary API.
    :param rewrite_host: send llama-server its own address as Host.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        admission: Admission,
        hop: IUpstreamHop,
        *,
        doors: Doors,
        rewrite_host: bool,
    ) -> None:
        super().__init__()
        self.clock = clock
        self.admission = admission
        self.hop = hop
        self.doors = doors
        self.rewrite_host = rewrite_host
        self.stopping = False
        self._running: set[Deferred[None]] = set()
        self._idle: list[Deferred[None]] = []

    def render(self, request: PlainRequest) -> int:
        """Serve one request; it is finished later."""
        exchange = _Exchange(self, request)
        request.setHeader(REQUEST_ID, exchange.request_id)
        finished = request.notifyFinish()
        serving = Deferred.fromCoroutine(exchange.serve())
        self._running.add(serving)

        def client_left(reason: Failure) -> None:
            exchange.client_left = True
            serving.cancel()

        finished.addErrback(client_left)
        serving.addErrback(exchange.failed)
        serving.addErrback(lambda f: self._log.failure("while answering {uri}", f, uri=request.uri))
        serving.addBoth(lambda _: self._ended(serving))
        return NOT_DONE_YET

    def begin_stop(self) -> None:
        """Take nothing new; what is here goes on."""
        self.stopping = True

    def drained(self) -> Deferred[None]:
        """Fires when nothing runs and nothing waits."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._tell_if_idle()
        return idle

    def cut(self) -> None:
        """End what still runs."""
        for serving in list(self._running):
            serving.cancel()

    def _ended(self, serving: Deferred[None]) -> None:
        self._running.discard(serving)
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if not self._running:
            waiting, self._idle = self._idle, []
            for idle in waiting:
                idle.callback(None)


@attrs.define(eq=False)
class _Exchange:
    """One request of a client, from its arrival to its end."""

    _proxy: ProxyResource
    _request: PlainRequest
    request_id: bytes = attrs.field(init=False)
    client_left: bool = attrs.field(default=False, init=False)
    _relay: Relay | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.request_id = request_id(self._request.requestHeaders)

    async def serve(self) -> None:
        """Answer, from a llama-server or from here.

        :raises PaddlerError: what kept it from being answered.
        """
        proxy, request = self._proxy, self._request
        target = target_of(request.uri)
        goes_to = destination(request.method, target.path, proxy.doors)
        if goes_to is Destination.HEALTH:
            self._answer_health(target)
            return
        if proxy.stopping:
            raise Stopping()
        body = RequestBody(request.content, request.content.seek(0, 2))
        if goes_to is Destination.ANY:
            upstream = proxy.admission.any_healthy()
            if upstream is None:
                raise NoUpstream()
            await self._pass_on(upstream, target, body)
            return
        read = body.read()
        weight, sent = weigh(target.path, read)
        if sent is not read:
            body = body.replaced(sent)
        del read, sent
        lease = await proxy.admission.acquire(weight, body.size)
        problem: str | None = None
        try:
            await self._pass_on(lease.upstream, target, body)
        except UpstreamFailed as error:
            problem = str(error)
            raise
        finally:
            self._give_back(lease, problem)

    def failed(self, failure: Failure) -> None:
        """Answer with what kept the request from being answered, if somebody is there."""
        error = failure.value
        if isinstance(error, UpstreamFailed) and not self.client_left:
            self._proxy._log.warn("{error}", error=error, request_id=self.request_id.decode())
        if isinstance(error, CancelledError):
            error = Stopping()
        if self.client_left or isinstance(error, UpstreamTruncated):
            failure.trap(CancelledError, PaddlerError)
        elif self._request.startedWriting:
            self._request.loseConnection()
            failure.trap(CancelledError, PaddlerError)
        elif isinstance(error, PaddlerError):
            send_error(self._request, error)
        else:
            body = error_body(500, "internal_error", "the balancer failed; its log says how")
            send_json(self._request, body, 500)
            failure.raiseException()

    async def _pass_on(self, upstream: Upstream, target: Target, body: RequestBody) -> None:
        """Send the request to an upstream and its answer to the client."""
        proxy, request = self._proxy, self._request
        address = upstream.address
        own_host = proxy.rewrite_host or not request.requestHeaders.hasHeader(b"host")
        headers = forwarded(
            request.requestHeaders,
            client=getattr(request.getClientAddress(), "host", "unknown"),
            scheme=b"https" if request.isSecure() else b"http",
            host=str(address).encode() if own_host else None,
        )
        headers.setRawHeaders(REQUEST_ID, [self.request_id])
        sending = body.sending(proxy.clock)
        answer: IAnswer | None = None
        try:
            answer = await proxy.hop.send(address, request.method, target.sent, headers, sending)
            ours = Headers({REQUEST_ID: [self.request_id]})
            ours.setRawHeaders(b"x-paddler-agent", [upstream.name.encode()])
            self._relay = Relay(request, answer, str(address), ours)
            await self._relay.run()
        finally:
            # An answer may come, and end, before all of the request was sent.
            if sending is not None and sending.give_up() and answer is not None:
                answer.abort()

    def _give_back(self, lease: Lease, problem: str | None) -> None:
        """End the lease: free, or busy until llama-server has noticed that nobody listens."""
        noticed = self._relay is not None and self._relay.tokens_flowing
        if self.client_left and not noticed:
            self._proxy.admission.abandon(lease)
        else:
            self._proxy.admission.release(lease, problem)

    def _answer_health(self, target: Target) -> None:
        """The fleet's health, in the shape of llama-server's."""
        fleet, queue = self._proxy.admission.fleet(), self._proxy.admission.queue()
        asked = dict(parse_qsl(target.sent.partition(b"?")[2]))
        can_wait = queue.requests_waiting < queue.limit
        if self._proxy.stopping:
            raise Stopping()
        if not fleet.slots_idle and (asked.get(b"fail_on_no_slot") or not can_wait):
            body = error_body(503, "unavailable_error", "no slot available")
            send_json(self._request, body, 503)
            return
        health = {"status": "ok", **attrs.asdict(fleet)}
        send_json(self._request, msgspec.json.encode(health))
