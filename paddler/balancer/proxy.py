"""The public side on twisted.web: each request to a llama-server, and its answer back."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from paddler.balancer.exchanges import Exchanges
from paddler.balancer.plain import PlainRequest
from paddler.headers import REQUEST_ID

__all__ = ["ProxyResource"]


class ProxyResource(Resource):
    """Everything that clients ask for.

    :param exchanges: serves each request.
    """

    isLeaf = True

    def __init__(self, exchanges: Exchanges) -> None:
        super().__init__()
        self._exchanges = exchanges

    def render(self, request: PlainRequest) -> int:
        """Serve one request; it is finished later."""
        request.setHeader(REQUEST_ID, request.its_id)
        exchange = self._exchanges.new(request)

        def client_left(reason: Any) -> None:
            exchange.client_has_left()

        request.notifyFinish().addErrback(client_left)
        exchange.begin()
        return NOT_DONE_YET
