"""One request of a client, from its arrival to its end, at as many upstreams as it takes.

Note [What is tried again]. A request of which the client was sent nothing may go to another
server. One that took no connection, or was still loading its model, has seen nothing of it,
and the request goes back to its place in line as if nothing had happened. One that died
with the request in its hands counts: it may be the request that kills. What a server answers,
its errors too, is the answer.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from paddler.balancer.accounts import Account, Ledger
from paddler.balancer.admission import Admission
from paddler.balancer.attempts import Attempt, Running
from paddler.balancer.bodies import RequestBody
from paddler.balancer.channel import PlainRequest
from paddler.balancer.faults import fault_in_answer, fault_of
from paddler.balancer.requests import Destination, Target, weigh
from paddler.errors import NoUpstream, UpstreamFailed, UpstreamTruncated
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.trust import Fault

__all__ = ["Exchange"]


@attrs.frozen
class _Failed:
    """An attempt that went wrong.

    :param cause: tells the request from others: the same one that fails again is no news.
    :param error: None when the client has got an answer all the same.
    """

    fault: Fault
    cause: int
    problem: str
    error: UpstreamFailed | None


@attrs.define(eq=False)
class Exchange:
    """One request and what becomes of it.

    :param clock: the time.
    :param admission: gives leases.
    :param running: the attempts that are under way.
    :param attempt: makes an attempt at an upstream.
    :param request: the client's.
    :param account: kept of it.
    :param ledger: told when it goes to another upstream.
    :param max_tries: upstreams that it is sent to in all, when they die with it.
    """

    _log = Logger()

    _clock: IReactorTime
    _admission: Admission
    _running: Running
    _attempt: Callable[[Upstream], Attempt]
    _request: PlainRequest
    _account: Account
    _ledger: Ledger
    _max_tries: int
    client_left: bool = attrs.field(default=False, init=False)
    _tries: int = attrs.field(default=0, init=False)

    async def serve(self, target: Target, goes_to: Destination) -> None:
        """Answer from an upstream.

        :raises PaddlerError: what kept it from being answered.
        """
        body = RequestBody(self._request.content, self._request.content.seek(0, 2))
        if goes_to is Destination.ANY:
            await self._serve_without_slot(target, body)
        else:
            await self._serve_with_slot(target, body)

    async def _serve_with_slot(self, target: Target, body: RequestBody) -> None:
        weight, body = _weighed(target, body)
        waiter = self._admission.waiter(weight)
        self._account.waits(waiter.arrived_at)
        waiting = self._admission.acquire(waiter)
        while True:
            lease = await waiting
            self._account.waits_no_more(lease.granted_at)
            self._request.let_go()
            attempt = self._attempt(lease.upstream)
            try:
                failed = await self._make(attempt, target, body)
            except BaseException:
                # Its client left, or the balancer stops.
                self._give_up(lease, attempt)
                raise
            if failed is None:
                self._admission.release(lease)
                return
            how = (failed.fault, failed.cause, failed.problem)
            if not self._may_try_again(failed):
                self._admission.fault(lease.upstream, *how, lease)
                if failed.error is not None:
                    raise failed.error
                return
            self._request.hold_again()
            self._account.waits(self._clock.seconds())
            waiting = self._admission.again(waiter, lease, *how)

    async def _serve_without_slot(self, target: Target, body: RequestBody) -> None:
        self._request.let_go()
        while True:
            upstream = self._admission.any_healthy()
            if upstream is None:
                raise NoUpstream()
            failed = await self._make(self._attempt(upstream), target, body)
            if failed is None:
                return
            self._admission.fault(upstream, failed.fault, failed.cause, failed.problem)
            if not self._may_try_again(failed):
                if failed.error is not None:
                    raise failed.error
                return

    async def _make(self, attempt: Attempt, target: Target, body: RequestBody) -> _Failed | None:
        """Make an attempt; tells what went wrong, if something did."""
        self._running.add(attempt)
        self._account.agent = attempt.upstream.name
        self._account.tries += 1
        try:
            held = await attempt.run(target, body)
        except UpstreamFailed as error:
            return _Failed(fault_of(error), body.fingerprint, str(error), error)
        finally:
            self._running.discard(attempt)
        if held is None:
            return None
        where = str(attempt.upstream.address)
        fault = fault_in_answer(attempt.code, held, attempt.seconds, body)
        if fault == "loading":
            loading = UpstreamFailed(where, "it is loading its model")
            return _Failed(fault, body.fingerprint, str(loading), loading)
        failed = None
        if fault is not None:
            problem = f"llama-server at {where} answered {attempt.code} within milliseconds"
            # Before the answer is whole: then the request's body is gone.
            failed = _Failed(fault, body.fingerprint, problem, None)
        attempt.send_held(held)
        return failed

    def _may_try_again(self, failed: _Failed) -> bool:
        if failed.error is None or isinstance(failed.error, UpstreamTruncated):
            return False
        self._tries += failed.fault == "died"
        if self._tries >= self._max_tries:
            return False
        self._log.info("{problem}; the request goes to another", problem=failed.problem)
        self._ledger.retried(failed.fault)
        self._account.taken_back()
        return True

    def _give_up(self, lease: Lease, attempt: Attempt) -> None:
        """End the lease: free, or busy until llama-server has noticed that nobody listens."""
        if self.client_left and not attempt.tokens_flowing:
            self._admission.abandon(lease)
        else:
            self._admission.release(lease)


def _weighed(target: Target, body: RequestBody) -> tuple[int, RequestBody]:
    """The slots that a request will occupy, and its body as it is sent on."""
    if not body.may_be_json_object():
        return 1, body
    read = body.read()
    weight, sent = weigh(target.path, read)
    return weight, body if sent is read else body.replaced(sent)
