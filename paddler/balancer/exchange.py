"""One request of a client, from its arrival to its end, at as many upstreams as it takes.

Note [What is tried again]. A request of which the client was sent nothing may go to another
server. One that took no connection, or was still loading its model, has seen nothing of it,
and the request goes back to its place in line as if nothing had happened. One that died
with the request in its hands counts: it may be the request that kills. What a server answers,
its errors too, is the answer.

Note [No coroutine]. Each step is a call of the one before: from admission, from the hop or
from the client's connection. The usual request, granted at once and answered well, costs a
few of them and no Deferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from paddler.balancer.accounts import Account
from paddler.balancer.answers import INTERNAL_ERROR, JSON, error_answer
from paddler.balancer.attempts import Attempt
from paddler.balancer.faults import fault_in_answer, fault_of
from paddler.balancer.requests import Destination, Target, destination, target_of, weighed
from paddler.errors import NoUpstream, PaddlerError, Stopping, UpstreamFailed, UpstreamTruncated
from paddler.scheduling.lines import Waiter
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.trust import Fault

if TYPE_CHECKING:
    from paddler.balancer.exchanges import Exchanges

__all__ = ["Exchange"]


@attrs.define(eq=False)
class Exchange:
    """One request and what becomes of it.

    :param common: what all of them share.
    :param request: the client's, an `IClientRequest`.
    :param account: kept of it.
    """

    _log = Logger()

    _common: Exchanges
    request: Any
    account: Account
    #: Its client has gone.
    client_left: bool = attrs.field(default=False, init=False)
    _target: bytes = attrs.field(default=b"", init=False)
    _body: Any = attrs.field(default=None, init=False)
    _waiter: Waiter | None = attrs.field(default=None, init=False)
    _waiting: Deferred[Lease] | None = attrs.field(default=None, init=False)
    _lease: Lease | None = attrs.field(default=None, init=False)
    _attempt: Attempt | None = attrs.field(default=None, init=False)
    _tries: int = attrs.field(default=0, init=False)
    _over: bool = attrs.field(default=False, init=False)

    def begin(self) -> None:
        """Serve it."""
        try:
            target = target_of(self.request.uri)
            goes_to = destination(self.request.method, target.path, self._common.ways.doors)
            if self._common.stopping:
                raise Stopping()
            if goes_to is Destination.HEALTH:
                self._end_with(*self._common.health(target))
            else:
                self._begin_at(target, goes_to)
        except PaddlerError as error:
            self._fail(error)
        except Exception:  # the owner of all that happens to a request
            self.attempt_broke(Failure())

    def _begin_at(self, target: Target, goes_to: Destination) -> None:
        """Serve it at an upstream."""
        self._target = target.sent
        self._body = self.request.body
        if goes_to is Destination.ANY:
            self._send_to_any()
            return
        weight, self._body = weighed(target.path, self._body)
        admission = self._common.admission
        self._waiter = waiter = admission.waiter(weight)
        self.account.waits(waiter.arrived_at)
        lease = admission.at_once(waiter)
        if lease is not None:
            self._granted(lease)
        else:
            self._wait(admission.acquire(waiter))

    def client_has_left(self) -> None:
        """Its client has gone: the work for it stops."""
        self.client_left = True
        self.cut()

    # Waiting.

    def _wait(self, waiting: Deferred[Lease]) -> None:
        self._waiting = waiting
        waiting.addCallbacks(self._granted, self._not_granted)
        waiting.addErrback(self.attempt_broke)

    def _not_granted(self, failure: Failure) -> None:
        self._waiting = None
        if failure.check(CancelledError):
            return  # by `cut`
        failure.trap(PaddlerError)
        assert isinstance(failure.value, PaddlerError)
        self._fail(failure.value)

    def _granted(self, lease: Lease) -> None:
        self._waiting = None
        self._lease = lease
        self.account.waits_no_more(lease.granted_at)
        self._send(lease.upstream)

    # At an upstream.

    def _send_to_any(self) -> None:
        upstream = self._common.admission.any_healthy()
        if upstream is None:
            raise NoUpstream()
        self._send(upstream)

    def _send(self, upstream: Upstream) -> None:
        common, request, account = self._common, self.request, self.account
        request.let_go()
        account.agent = upstream.name
        account.tries += 1
        attempt = Attempt(common.clock, self, request, account, upstream, request.takes_frames)
        self._attempt = attempt
        common.running.add(attempt)
        headers = request.headers.forwarded(
            request.client_host,
            b"https" if request.secure else b"http",
            upstream.address,
            common.ways.rewrite_host,
        )
        attempt.begin(common.hop, self._target, headers, self._body)

    def answer_began(self, attempt: Attempt) -> None:
        """See `Owner`."""
        account = self.account
        account.code = attempt.code
        account.first_byte_at = self._common.clock.seconds()
        if attempt.code < 500:
            self._common.admission.answered(attempt.upstream)

    def attempt_ended(self, attempt: Attempt, error: PaddlerError | None) -> None:
        """See `Owner`."""
        self._common.running.discard(attempt)
        self._attempt = None
        if error is None:
            self._release()
            self._end()
        elif isinstance(error, UpstreamFailed):
            self._failed(attempt, fault_of(error), str(error), error)
        else:
            self._release()
            self._fail(error)

    def attempt_held(self, attempt: Attempt, body: bytes) -> None:
        """See `Owner`."""
        self._common.running.discard(attempt)
        self._attempt = None
        where = str(attempt.upstream.address)
        fault = fault_in_answer(attempt.code, body, attempt.seconds, self._body)
        if fault == "loading":
            loading = UpstreamFailed(where, "it is loading its model")
            self._failed(attempt, fault, str(loading), loading)
            return
        problem = f"llama-server at {where} answered {attempt.code} within milliseconds"
        # Before the answer is whole: then the request's body is gone.
        cause = self._body.fingerprint if fault is not None else 0
        attempt.send_held(body)
        if fault is None:
            self._release()
        else:
            self._blame(attempt.upstream, fault, cause, problem)
        self._end()

    def _failed(self, attempt: Attempt, fault: Fault, problem: str, error: UpstreamFailed) -> None:
        """An attempt went wrong: make another, if there may be one."""
        upstream, cause = attempt.upstream, self._body.fingerprint
        if not self._may_try_again(fault, error):
            self._blame(upstream, fault, cause, problem)
            self._fail(error)
            return
        self._log.info("{problem}; the request goes to another", problem=problem)
        self._common.ledger.retried(fault)
        self.account.taken_back()
        lease, self._lease = self._lease, None
        if lease is None:
            self._blame(upstream, fault, cause, problem)
            try:
                self._send_to_any()
            except NoUpstream as nobody:
                self._fail(nobody)
            return
        assert self._waiter is not None
        self.request.hold_again()
        self.account.waits(self._common.clock.seconds())
        self._wait(self._common.admission.again(self._waiter, lease, fault, cause, problem))

    def _may_try_again(self, fault: Fault, error: UpstreamFailed) -> bool:
        if isinstance(error, UpstreamTruncated):
            return False
        self._tries += fault == "died"
        return self._tries < self._common.ways.max_tries

    def _blame(self, upstream: Upstream, fault: Fault, cause: int, problem: str) -> None:
        """An upstream failed it, and the lease ends with that."""
        lease, self._lease = self._lease, None
        self._common.admission.fault(upstream, fault, cause, problem, lease)

    # The end.

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._common.admission.release(lease)

    def cut(self) -> None:
        """The balancer stops, and with it what still runs."""
        if self._over:
            return
        waiting, self._waiting = self._waiting, None
        lease, self._lease = self._lease, None
        if waiting is not None:
            waiting.cancel()
        attempt = self._abort()
        if lease is not None:
            if self.client_left and attempt is not None and not attempt.tokens_flowing:
                # llama-server may not have noticed.
                self._common.admission.abandon(lease)
            else:
                self._common.admission.release(lease)
        if self.client_left:
            self._end()
        else:
            self._fail(Stopping())

    def _abort(self) -> Attempt | None:
        """Give up the attempt that is under way, if there is one."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.abort()
            self._common.running.discard(attempt)
        return attempt

    def _fail(self, error: PaddlerError) -> None:
        """Answer with what kept it from being answered."""
        if self._over:
            return
        if isinstance(error, UpstreamFailed):
            self._log.warn("{error}", error=error)
        if self.account.code:
            self.account.cut = True
            if not isinstance(error, UpstreamTruncated):
                self.request.cut(None)
            self._end()
            return
        self.account.code, headers, body = error_answer(error)
        self._end_with(self.account.code, body, *headers)

    def attempt_broke(self, failure: Failure) -> None:
        """See `Owner`; its lease does not outlive it."""
        # Not by its address, in which clients send keys.
        self._log.failure("while answering {request}", failure, request=self.account.request_id)
        if self._over:
            return
        self._abort()
        self._release()
        if not self.account.code:
            self.account.code = 500
            return self._end_with(500, INTERNAL_ERROR)
        self.account.cut = True
        self.request.cut(None)
        self._end()

    def _end_with(self, code: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        """The whole answer is ours."""
        if self.account.code and self.request.method != b"HEAD":
            self.account.sent = len(body)
        self.request.respond(code, (JSON, *headers), body)
        self._end()

    def _end(self) -> None:
        self._over = True
        self._common.ended(self)
