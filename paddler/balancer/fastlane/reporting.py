"""Agents' reports in the fast lane: a fleet's reports are most of what an idle balancer does."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from paddler.balancer.answers import INTERNAL_ERROR, JSON, error_answer
from paddler.balancer.doorkeeping import Doorkeeper
from paddler.balancer.reports import AGENT_ID, ReportDesk
from paddler.errors import PaddlerError, Unauthorized
from paddler.headers import RequestHeaders
from paddler.interfaces import IPlainServer

__all__ = ["FastReports"]

_PATH = b"/api/v1/agent_status_update/"
_FRESH = (b"Cache-Control", b"no-store")


@implementer(IPlainServer)
@attrs.frozen(eq=False)
class FastReports:
    """Takes plain reports; all else that the management server is asked goes to twisted.web.

    :param desk: takes them in.
    :param door: says who may bring one.
    """

    _desk: ReportDesk
    _door: Doorkeeper

    def takes(self, uri: bytes, headers: RequestHeaders) -> bool:
        """See `IPlainServer`: what a browser may have sent, or nobody let in, is not plain."""
        if not uri.startswith(_PATH) or AGENT_ID.fullmatch(uri, len(_PATH)) is None:
            return False
        if headers.passing_values(b"origin"):
            return False
        try:
            self._door.check_shown(headers.passing_values(b"authorization"))
        except Unauthorized:
            return False
        return True

    def new(self, request: Any) -> _Taking:
        """See `IPlainServer`."""
        return _Taking(self._desk, request)


@attrs.frozen(eq=False)
class _Taking:
    """One report."""

    _log = Logger()

    _desk: ReportDesk
    _request: Any

    def begin(self) -> None:
        """Take it in, and say so."""
        request, code = self._request, 200
        more: list[tuple[bytes, bytes]] = []
        raw_id, sender = request.uri[len(_PATH) :], request.client_host.decode()
        try:
            body = self._desk.take(raw_id, request.body.read(), sender)
        except PaddlerError as error:
            code, more, body = error_answer(error)
        except Exception:  # the owner's boundary: whoever asks gets an answer
            self._log.failure("while answering {path}", path=request.uri)
            code, body = 500, INTERNAL_ERROR
        request.respond(code, (JSON, _FRESH, *more), body)

    def client_has_left(self) -> None:
        """It is answered at once, so nobody can have left."""
