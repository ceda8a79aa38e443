"""Who may ask the management server: the token, and the origins of web pages.

A browser sends a page's requests from wherever its user is, loopback included. So a
page of an origin that is not ours may change nothing, and may read only what it is
allowed to. Nothing here knows what is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from hmac import compare_digest

import attrs
from twisted.web.http import Request

from paddler.errors import OriginNotAllowed, Unauthorized

__all__ = ["Doorkeeper"]

_READING = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}
#: Longest part of an origin that is repeated in an answer.
_SHOWN = 200


def _token_bytes(token: str | None) -> bytes | None:
    return None if token is None else token.encode()


def _lowered(origins: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(origin.rstrip("/").lower().encode() for origin in origins)


@attrs.frozen
class Doorkeeper:
    """Lets requests in, or says why not.

    :param token: what must be shown; None: nothing.
    :param allowed_origins: web origins (`https://ops.example.com`) that may ask; one without
        a scheme stands for both http and https.
    """

    _token: bytes | None = attrs.field(converter=_token_bytes, repr=False)
    _allowed_origins: frozenset[bytes] = attrs.field(converter=_lowered)

    def mark(self, request: Request) -> None:
        """Tell browsers whether the page that asks may read the answer, whatever it will be."""
        if not self._allowed_origins:
            return
        request.responseHeaders.addRawHeader(b"vary", b"Origin")
        origin = _origin(request)
        if origin is not None and self._allows(origin):
            request.setHeader(b"access-control-allow-origin", origin)

    def is_preflight(self, request: Request) -> bool:
        """A browser asks what a page may do; it shows no token when it does."""
        headers = request.requestHeaders
        return (
            request.method == b"OPTIONS"
            and headers.hasHeader(b"origin")
            and headers.hasHeader(b"access-control-request-method")
        )

    def answer_preflight(self, request: Request) -> None:
        """Say what pages of an allowed origin may do; without `mark`'s header it says nothing."""
        if request.responseHeaders.hasHeader(b"access-control-allow-origin"):
            request.setHeader(b"access-control-allow-methods", b"GET, HEAD, POST, DELETE")
            request.setHeader(b"access-control-allow-headers", b"Authorization, Content-Type")
            request.setHeader(b"access-control-max-age", b"600")
        request.setResponseCode(204)
        request.finish()

    def check_token(self, request: Request) -> None:
        """See the token.

        :raises Unauthorized: none or a wrong one was shown.
        """
        self.check_shown(request.requestHeaders.getRawHeaders(b"authorization", ()))

    def check_shown(self, shown: Sequence[bytes]) -> None:
        """The same, for the Authorization headers that came.

        :raises Unauthorized: none or a wrong token was shown.
        """
        if self._token is None:
            return
        if len(shown) == 1:
            scheme, _, token = shown[0].partition(b" ")
            if scheme.lower() == b"bearer" and compare_digest(token.strip(b" "), self._token):
                return
        raise Unauthorized()

    def check_origin(self, request: Request) -> None:
        """See that whatever changes something does not come from a foreign web page.

        Only browsers send an origin, so agents and operators' tools pass.

        :raises OriginNotAllowed: it does.
        """
        if request.method in _READING or not request.requestHeaders.hasHeader(b"origin"):
            return
        origin = _origin(request)
        if origin is None or not (self._allows(origin) or _is_own(origin, request)):
            raise OriginNotAllowed((origin or b"").decode("latin-1")[:_SHOWN])

    def _allows(self, origin: bytes) -> bool:
        """Never `null`, whatever is allowed: every sandboxed page has it, whoever made it."""
        origin = origin.lower()
        scheme, found, host = origin.partition(b"://")
        if not found or scheme not in _DEFAULT_PORTS:
            return False
        return origin in self._allowed_origins or host in self._allowed_origins


def _origin(request: Request) -> bytes | None:
    """The one origin that a request names."""
    named = request.requestHeaders.getRawHeaders(b"origin", ())
    return named[0] if len(named) == 1 else None


def _is_own(origin: bytes, request: Request) -> bool:
    """The page is from this server: its origin has the host and port that were asked."""
    scheme, found, host = origin.lower().partition(b"://")
    asked = request.requestHeaders.getRawHeaders(b"host", ())
    port = _DEFAULT_PORTS.get(scheme)
    if not found or port is None or not host or len(asked) != 1:
        return False
    return host.removesuffix(port) == asked[0].lower().removesuffix(port)
