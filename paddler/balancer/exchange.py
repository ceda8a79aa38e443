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

from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from paddler.balancer import requests
from paddler.balancer.accounts import Retry
from paddler.balancer.attempts import Attempt
from paddler.balancer.conversations import asked_for, no_stream
from paddler.balancer.ending import Ending
from paddler.balancer.faults import context_exceeded, fault_in_answer, fault_of
from paddler.balancer.requests import LOOKUP, SLOT_PATHS, Destination, Target, named_in
from paddler.balancer.wishes import wishes_of
from paddler.errors import (
    ContextExceeded,
    NoUpstream,
    PaddlerError,
    Stopping,
    UpstreamFailed,
    UpstreamTruncated,
)
from paddler.facts import facts_in
from paddler.scheduling.lines import Waiter
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.trust import Fault

__all__ = ["Exchange"]


class Exchange(Ending, eq=False):
    """One request and what becomes of it."""

    _log: ClassVar = Logger()

    _target: bytes = b""
    #: What a request that needs no slot is for.
    _model: str | None = None
    _body: Any = None
    _waiter: Waiter | None = None
    #: It is for one upstream and no other.
    _sticks: bool = False
    _tries: int = 0

    def begin(self) -> None:
        """Serve it."""
        request = self.request
        try:
            known = SLOT_PATHS.get(request.uri) if request.method == b"POST" else None
            if known is not None and not self._common.stopping:
                self._begin_at(known, Destination.SLOT)
                return
            target = requests.target_of(request.uri)
            goes_to = requests.destination(request.method, target.path, self._common.ways.doors)
            if self._common.stopping:
                raise Stopping()
            if goes_to is Destination.SLOT or goes_to is Destination.ANY:
                self._begin_at(target, goes_to)
            elif goes_to is Destination.STREAM:
                self._begin_at_stream(target)
            else:
                self._end_with_own(*self._common.own_answer(goes_to, target))
        except PaddlerError as error:
            self._fail(error)
        except Exception:  # the owner of all that happens to a request
            self.attempt_broke(Failure())

    def _begin_at(self, target: Target, goes_to: Destination) -> None:
        """Serve it at an upstream."""
        self._target = target.sent
        wishes, self._body = wishes_of(
            target.path, self.request.body, self.request.headers, self._common.ways.prompts
        )
        if goes_to is Destination.ANY:
            self._model = wishes.model or named_in(target)
            if target.path == LOOKUP:
                has_one = self._common.has_one_of(asked_for(self._body.read()))
                if has_one is not None:
                    return self._send(has_one)
            return self._send_to_any()
        admission, where = self._common.admission, None
        self._conversation = self._common.conversation_of(self.request.headers)
        if self._conversation is not None:
            where = self._common.has_stream(self._conversation)
        self._waiter = waiter = admission.waiter(wishes.weight, wishes.model, where)
        waiter.prompt, waiter.request_id = wishes.prompt, self.account.request_id
        self._lease = lease = admission.at_once(waiter)
        if lease is not None:
            self.account.waited = 0.0
            self._send(lease.upstream)
        else:
            self.account.waits(waiter.arrived_at)
            self._wait(admission.acquire(waiter))

    def _begin_at_stream(self, target: Target) -> None:
        """Take up a conversation's stream again, or stop it."""
        self._target = target.sent
        self._body = self.request.body
        conversation = named_in(target, "conv_id")
        if not conversation:
            # llama-server says best itself what is missing.
            self._send_to_any()
            return
        upstream = self._common.has_stream(conversation.encode())
        if upstream is not None:
            self._sticks = True
            self._send(upstream)
        else:
            self._end_with_own(*no_stream(self.request.method))

    def _end_with_own(self, code: int, body: bytes, counts: bool = True) -> None:
        """The balancer knows the answer by itself.

        :param counts: it is told to whoever counts requests.
        """
        self.account.code = code if counts else 0
        self._end_with(code, body, *self.request.headers.cross_origin())

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
        upstream = self._common.admission.any_healthy(self._model)
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
        more = [(b"X-Request-Id", request.its_id)]
        if self._conversation is not None:
            more.append((b"X-Conversation-Id", self._conversation))
            now = common.clock.seconds()
            common.conversations.goes_to(self._conversation, upstream.address, now)
        attempt.begin(common.hop, self._target, headers, more, self._body)

    def answer_began(self, attempt: Attempt) -> None:
        """See `Owner`."""
        account = self.account
        account.code = attempt.code
        account.first_byte_at = self._common.clock.seconds()
        if attempt.code < 500:
            lease = None if attempt.evaluates else self._lease
            self._common.admission.answered(attempt.upstream, lease)

    def prompt_evaluated(self, attempt: Attempt) -> None:
        """See `Owner`."""
        if attempt.code < 500:
            self._common.admission.answered(attempt.upstream, self._lease)

    def attempt_ended(self, attempt: Attempt, error: PaddlerError | None) -> None:
        """See `Owner`."""
        self._common.running.discard(attempt)
        self._attempt = None
        if error is None:
            learns = self._common.ways.prompts and self._lease is not None
            if learns and attempt.code == 200:
                self.account.facts = facts_in(attempt.tail)
            self._end_whole(self.account.facts)
        elif isinstance(error, UpstreamFailed):
            self._failed(attempt, fault_of(error), str(error), error)
        else:
            self._release()
            self._fail(error)

    def attempt_held(self, attempt: Attempt, body: bytes) -> None:
        """See `Owner`."""
        self._common.running.discard(attempt)
        self._attempt = None
        exceeded = context_exceeded(attempt.code, body)
        if exceeded is not None and self._goes_to_larger(exceeded):
            return
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
            return self._end_whole()
        self._blame(attempt.upstream, fault, cause, problem)
        self._end()

    def _goes_to_larger(self, exceeded: ContextExceeded) -> bool:
        """A prompt was too long for a server: find one with a larger context, if there is one.

        Where that is too small as well the client is told of the largest.

        :param exceeded: what the server said.
        :returns: whether that was all.
        """
        lease, waiter, admission = self._lease, self._waiter, self._common.admission
        if lease is None or waiter is None:
            return False
        need = admission.larger(waiter, lease, exceeded.wanted)
        if need is None:
            largest = admission.largest_context(waiter)
            if not exceeded.n_ctx < largest < exceeded.wanted:
                return False
            self._release()
            self._fail(ContextExceeded(exceeded.tokens, largest))
            return True
        self._lease = None
        self._goes_back("context")
        self._wait(admission.elsewhere(waiter, lease, need))
        return True

    def _goes_back(self, reason: Retry) -> None:
        """It goes back to its place in line."""
        self._common.ledger.retried(reason)
        self.account.taken_back()
        self.request.hold_again()
        self.account.waits(self._common.clock.seconds())

    def _failed(self, attempt: Attempt, fault: Fault, problem: str, error: UpstreamFailed) -> None:
        """An attempt went wrong: make another, if there may be one."""
        upstream, cause = attempt.upstream, self._body.fingerprint
        if self._sticks or not self._may_try_again(fault, error):
            self._blame(upstream, fault, cause, problem)
            self._fail(error)
            return
        self._log.info("{problem}; the request goes to another", problem=problem)
        lease, self._lease = self._lease, None
        if lease is None:
            self._common.ledger.retried(fault)
            self.account.taken_back()
            self._blame(upstream, fault, cause, problem)
            try:
                self._send_to_any()
            except NoUpstream as nobody:
                self._fail(nobody)
            return
        assert self._waiter is not None
        self._goes_back(fault)
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
