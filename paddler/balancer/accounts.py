"""What became of each request, told once to whoever counts: metrics, history, the access log."""

from __future__ import annotations

from typing import Literal, Protocol

import attrs
import msgspec

from paddler.facts import Facts
from paddler.scheduling.trust import Fault

__all__ = ["Account", "Finished", "Ledger", "Ledgers", "Phase", "Retry", "refused"]

#: Why a request was sent to another llama-server: what the first had done, or that the prompt
#: was too long for its context.
Retry = Fault | Literal["context"]

#: Where a client was when it left: in line; at a server that had sent nothing yet; in its answer.
Phase = Literal["waiting", "prefill", "streaming"]


_STATUSES = {code: str(code) for code in (0, *range(100, 600))}


class Finished(msgspec.Struct, frozen=True):
    """One request that has ended.

    :param request_id: the client's id for it, or ours.
    :param path: its path, as it came, without the query.
    :param code: the status that the client was sent; 0: it was sent none.
    :param agent: whose llama-server had it when it ended; None: none had, so that the balancer
        answered or nobody did.
    :param waited: seconds in line, all its times there together; None: it needed no slot.
    :param first_byte: seconds from its arrival to the first byte of the answer's body.
    :param seconds: from its arrival to its end.
    :param sent: bytes of the answer's body, the balancer's own errors included.
    :param tries: upstreams that it was sent to.
    :param left: where its client was when it left; None: it did not.
    :param cut: its answer ended before it was whole.
    :param facts: what its answer said of its prompt; None: nothing, or nobody looked.
    """

    request_id: str
    method: str
    path: str
    code: int
    agent: str | None
    waited: float | None
    first_byte: float | None
    seconds: float
    sent: int
    tries: int
    left: Phase | None
    cut: bool
    facts: Facts | None = None

    @property
    def status(self) -> str:
        """The code in a word. A server may send any number; what is none of HTTP's is `other`,
        so that nobody has to count by more words than HTTP has.
        """
        return _STATUSES.get(self.code, "other")

    @property
    def good(self) -> bool:
        """The client was sent a status that is no error."""
        return 100 <= self.code < 400


def refused(request_id: str, method: bytes, path: bytes, code: int, sent: int) -> Finished:
    """A request that was refused before it was here, whole: it never ran and never waited.

    :param path: the request target, or as much as is known of it.
    """
    return Finished(
        request_id=request_id,
        method=method.decode("latin-1"),
        path=path.partition(b"?")[0].decode("latin-1"),
        code=code,
        agent=None,
        waited=None,
        first_byte=None,
        seconds=0.0,
        sent=sent,
        tries=0,
        left=None,
        cut=False,
    )


class Ledger(Protocol):
    """Hears what happens to requests."""

    def finished(self, request: Finished) -> None:
        """One has ended."""

    def retried(self, reason: Retry) -> None:
        """One goes to another upstream, for this reason."""


@attrs.frozen
class Ledgers:
    """Several that hear the same."""

    each: tuple[Ledger, ...] = ()

    def finished(self, request: Finished) -> None:
        """See `Ledger`."""
        for ledger in self.each:
            ledger.finished(request)

    def retried(self, reason: Retry) -> None:
        """See `Ledger`."""
        for ledger in self.each:
            ledger.retried(reason)


class Account(msgspec.Struct, eq=False):
    """What is known of a request while it runs; times are the clock's seconds.

    The clock may be set back meanwhile; nothing has lasted less than no time for that.
    """

    request_id: str
    method: str
    path: str
    arrived_at: float
    waiting_since: float | None = None
    waited: float | None = None
    first_byte_at: float | None = None
    agent: str | None = None
    tries: int = 0
    sent: int = 0
    code: int = 0
    cut: bool = False
    facts: Facts | None = None

    def waits(self, now: float) -> None:
        """It gets into line."""
        self.waiting_since = now

    def waits_no_more(self, now: float) -> None:
        """It leaves the line."""
        if self.waiting_since is not None:
            self.waited = (self.waited or 0.0) + max(0.0, now - self.waiting_since)
            self.waiting_since = None

    def taken_back(self) -> None:
        """The upstream that had it failed it, and it is sent to another if there is one."""
        self.agent = None

    def finished(self, now: float, *, client_left: bool) -> Finished:
        """All of it, now that it has ended."""
        left = self._phase() if client_left else None
        if self.waiting_since is not None:
            self.waits_no_more(now)
        first = self.first_byte_at
        return Finished(
            request_id=self.request_id,
            method=self.method,
            path=self.path,
            code=self.code,
            agent=self.agent,
            waited=self.waited,
            first_byte=None if first is None else max(0.0, first - self.arrived_at),
            seconds=max(0.0, now - self.arrived_at),
            sent=self.sent,
            tries=self.tries,
            left=left,
            cut=self.cut,
            facts=self.facts,
        )

    def _phase(self) -> Phase:
        if self.waiting_since is not None:
            return "waiting"
        return "prefill" if self.first_byte_at is None else "streaming"
