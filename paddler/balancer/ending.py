"""How a request of a client ends: answered by us, or cut, and always with its lease given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from paddler.balancer.accounts import Account
from paddler.balancer.answers import INTERNAL_ERROR, JSON, error_answer
from paddler.balancer.attempts import Attempt
from paddler.errors import PaddlerError, Stopping, UpstreamFailed, UpstreamTruncated
from paddler.facts import Facts
from paddler.scheduling.slots import Lease

if TYPE_CHECKING:
    from paddler.balancer.exchanges import Exchanges

__all__ = ["Ending"]


class Ending(msgspec.Struct, eq=False):
    """A request, as far as its end goes.

    :param common: what all of them share.
    :param request: the client's, an `IClientRequest`.
    :param account: kept of it.
    """

    _log: ClassVar = Logger()

    _common: Exchanges
    request: Any
    account: Account
    #: Its client has gone.
    client_left: bool = False
    _waiting: Deferred[Lease] | None = None
    #: The conversation that it belongs to, as its client calls it.
    _conversation: bytes | None = None
    _lease: Lease | None = None
    _attempt: Attempt | None = None
    _over: bool = False

    def client_has_left(self) -> None:
        """Its client has gone: the work for it stops."""
        self.client_left = True
        self.cut()

    def cut(self) -> None:
        """The balancer stops, and with it what still runs."""
        if self._over:
            return
        waiting, self._waiting = self._waiting, None
        lease, self._lease = self._lease, None
        if waiting is not None:
            waiting.cancel()
        attempt = self._abort()
        try:
            if lease is not None:
                self._give_back(lease, attempt)
        finally:
            if self.client_left:
                self._end()
            else:
                self._fail(Stopping())

    def _give_back(self, lease: Lease, attempt: Attempt | None) -> None:
        """End the lease of a request that is cut."""
        goes_on = self._conversation is not None
        if self.client_left and attempt is not None and (goes_on or not attempt.tokens_flowing):
            # llama-server may not have noticed, or does not mind.
            self._common.admission.abandon(lease)
        else:
            self._common.admission.release(lease)

    def _release(self, facts: Facts | None = None) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._common.admission.release(lease, facts)

    def _end_whole(self, facts: Facts | None = None) -> None:
        """The client has all of its answer."""
        try:
            self._release(facts)
        finally:
            self._end()

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
        try:
            self._abort()
            self._release()
        finally:
            self._end_broken()

    def _end_broken(self) -> None:
        """Tell the client that something went wrong here, as far as that can be told."""
        if not self.account.code:
            self.account.code = 500
            self._end_with(500, INTERNAL_ERROR)
            return
        self.account.cut = True
        try:
            self.request.cut(None)
        finally:
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
