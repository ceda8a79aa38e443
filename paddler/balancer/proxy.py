"""The public side: each request to a llama-server with a free slot, and its answer back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from paddler.balancer.accounts import Account, Ledger, Ledgers
from paddler.balancer.admission import Admission
from paddler.balancer.answers import error_body, send_error, send_json, status_of
from paddler.balancer.attempts import Attempt, Patience, Running
from paddler.balancer.channel import PlainRequest
from paddler.balancer.exchange import Exchange
from paddler.balancer.relay import cut
from paddler.balancer.requests import Destination, Doors, Target, destination, target_of
from paddler.errors import PaddlerError, Stopping, UpstreamFailed, UpstreamTruncated
from paddler.headers import REQUEST_ID, request_id
from paddler.interfaces import IUpstreamHop
from paddler.scheduling.slots import Upstream

__all__ = ["ProxyResource", "Ways"]


@attrs.frozen
class Ways:
    """How requests are passed on.

    :param doors: what is open beside the ordinary API.
    :param rewrite_host: send llama-server its own address as Host.
    :param max_tries: servers that a request is sent to in all, when they die with it.
    :param patience: with answers of servers that their agents doubt.
    """

    doors: Doors = Doors()
    rewrite_host: bool = False
    max_tries: int = 2
    patience: Patience = Patience()


class ProxyResource(Resource):
    """Everything that clients ask for.

    :param clock: the time.
    :param admission: gives leases.
    :param hop: the way to llama-servers.
    :param ways: how requests are passed on.
    :param ledger: told what becomes of each request.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        admission: Admission,
        hop: IUpstreamHop,
        ways: Ways,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._admission = admission
        self._hop = hop
        self._ways = ways
        self._ledger = ledger or Ledgers()
        self._stopping = False
        self._serving: set[Deferred[None]] = set()
        self._idle: list[Deferred[None]] = []
        self._running = Running(ways.patience)
        admission.on_doubt = self._running.doubted

    def render(self, request: PlainRequest) -> int:
        """Serve one request; it is finished later."""
        its_id = request_id(request.requestHeaders)
        request.setHeader(REQUEST_ID, its_id)
        account = Account(
            request_id=its_id.decode(),
            method=request.method.decode("latin-1"),
            path=request.path.decode("latin-1"),
            arrived_at=self._clock.seconds(),
        )
        exchange = Exchange(
            self._clock,
            self._admission,
            self._running,
            lambda upstream: self._attempt(request, account, upstream),
            request,
            account,
            self._ledger,
            self._ways.max_tries,
        )
        finished = request.notifyFinish()
        serving = Deferred.fromCoroutine(self._serve(exchange, request))
        self._serving.add(serving)

        def client_left(reason: Failure) -> None:
            exchange.client_left = True
            serving.cancel()

        finished.addErrback(client_left)
        serving.addErrback(self._failed, request, exchange, account)
        serving.addErrback(
            lambda failure: self._log.failure(
                # Not its address, in which clients send keys.
                "while answering request {request_id}",
                failure,
                request_id=account.request_id,
            )
        )
        serving.addBoth(lambda _: self._ended(serving, exchange, account))
        return NOT_DONE_YET

    def begin_stop(self) -> None:
        """Take nothing new; what is here goes on."""
        self._stopping = True

    def drained(self) -> Deferred[None]:
        """Fires when nothing runs and nothing waits."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._tell_if_idle()
        return idle

    def cut(self) -> None:
        """End what still runs."""
        for serving in list(self._serving):
            serving.cancel()

    async def _serve(self, exchange: Exchange, request: PlainRequest) -> None:
        target = target_of(request.uri)
        goes_to = destination(request.method, target.path, self._ways.doors)
        if self._stopping:
            raise Stopping()
        if goes_to is Destination.HEALTH:
            self._answer_health(request, target)
        else:
            await exchange.serve(target, goes_to)

    def _attempt(self, request: PlainRequest, account: Account, upstream: Upstream) -> Attempt:
        return Attempt(
            self._clock,
            self._hop,
            request,
            account,
            upstream,
            self._ways.rewrite_host,
            lambda: self._admission.answered(upstream),
        )

    def _failed(
        self, failure: Failure, request: PlainRequest, exchange: Exchange, account: Account
    ) -> None:
        """Answer with what kept the request from being answered, if somebody is there."""
        error = failure.value
        if exchange.client_left:
            failure.trap(CancelledError, PaddlerError)
            return
        if isinstance(error, UpstreamFailed):
            self._log.warn("{error}", error=error)
        if isinstance(error, CancelledError):
            error = Stopping()
        if request.startedWriting:
            account.cut = True
            if not isinstance(error, UpstreamTruncated):
                cut(request, told=False)
            failure.trap(CancelledError, PaddlerError)
        elif isinstance(error, PaddlerError):
            account.code, _ = status_of(error)
            send_error(request, error)
            account.sent = request.sentLength
        else:
            account.code = 500
            body = error_body(500, "internal_error", "the balancer failed; its log says how")
            send_json(request, body, 500)
            account.sent = request.sentLength
            failure.raiseException()

    def _answer_health(self, request: PlainRequest, target: Target) -> None:
        """The fleet's health, in the shape of llama-server's."""
        fleet, queue = self._admission.fleet(), self._admission.queue()
        asked = dict(parse_qsl(target.sent.partition(b"?")[2]))
        can_wait = queue.requests_waiting < queue.limit
        if not fleet.slots_idle and (asked.get(b"fail_on_no_slot") or not can_wait):
            body = error_body(503, "unavailable_error", "no slot available")
            send_json(request, body, 503)
        else:
            health = {"status": "ok", **attrs.asdict(fleet)}
            send_json(request, msgspec.json.encode(health))

    def _ended(self, serving: Deferred[None], exchange: Exchange, account: Account) -> None:
        finished = account.finished(self._clock.seconds(), client_left=exchange.client_left)
        # The fleet's health is no client's request.
        if finished.code or finished.left:
            self._ledger.finished(finished)
        self._serving.discard(serving)
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if not self._serving:
            waiting, self._idle = self._idle, []
            for idle in waiting:
                idle.callback(None)
