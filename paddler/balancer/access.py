"""One line in the log for each request that has ended. Never its body, its query or its keys."""

from __future__ import annotations

import re

import attrs
from twisted.logger import Logger

from paddler.balancer.accounts import Finished, Retry

__all__ = ["AccessLog"]

#: Signs of a method or a path that may not go into a log, and as much as may of its length.
_ODD = re.compile(r"[^\x21-\x7e]")
_LONGEST = 200
#: What may stand around a path where keys are found: a proxy's client writes a whole address,
#: with the user's name and password; a query may come behind a '?' that was escaped.
_AROUND = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*|(?:[?#]|%3[fF]).*$", re.DOTALL)


@attrs.define(eq=False)
class AccessLog:
    """Writes them; a `Ledger`.

    :param log: where to.
    """

    _log: Logger = attrs.field(factory=lambda: Logger(namespace="paddler.access"))

    def finished(self, request: Finished) -> None:
        """See `Ledger`."""
        how = f"client left while {request.left}" if request.left else "answered"
        self._log.info(
            "{request_id} {method} {path} {status} {agent} {how}: wait {wait} s, "
            "first byte {ttfb} s, in all {duration} s, {bytes} bytes, {tries} tries",
            request_id=request.request_id,
            method=_shown(request.method),
            path=_shown(_AROUND.sub("", request.path)),
            status=request.code,
            agent=request.agent or "-",
            how="cut" if request.cut else how,
            wait=_seconds(request.waited),
            ttfb=_seconds(request.first_byte),
            duration=_seconds(request.seconds),
            bytes=request.sent,
            tries=request.tries,
        )

    def retried(self, reason: Retry) -> None:
        """See `Ledger`; the exchange says it itself."""


def _shown(text: str) -> str:
    return _ODD.sub("?", text)[:_LONGEST]


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
