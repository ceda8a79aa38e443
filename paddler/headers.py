"""Which headers pass, which stop here, and which are ours.

The rules are the same both ways and for every way of moving bytes.
"""

from __future__ import annotations

import re
import uuid

from twisted.web.http_headers import Headers

__all__ = ["REQUEST_ID", "end_to_end", "forwarded", "request_id"]

REQUEST_ID = b"x-request-id"

#: Between two neighbours only (RFC 9110, section 7.6.1, and what is found in the wild).
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
#: Of a request: answered here, made anew for the whole body, or of one llama-server only.
_NOT_FORWARDED = frozenset((b"expect", b"content-length", b"x-conversation-id"))

_GOOD_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def end_to_end(headers: Headers) -> Headers:
    """The headers without those that are between two neighbours only."""
    named = {
        word.strip().lower()
        for value in headers.getRawHeaders(b"connection", ())
        for word in value.split(b",")
    }
    # Of one hop or not, a request without it is none.
    named.discard(b"host")
    passed = Headers()
    for name, values in headers.getAllRawHeaders():
        if (lower := name.lower()) not in _HOP_BY_HOP and lower not in named:
            passed.setRawHeaders(name, values)
    return passed


def request_id(headers: Headers) -> bytes:
    """The client's own id for its request if it gave a good one, else a new one."""
    given = headers.getRawHeaders(REQUEST_ID, ())
    if len(given) == 1 and _GOOD_REQUEST_ID.fullmatch(given[0]):
        return given[0]
    return uuid.uuid4().hex.encode()


def forwarded(headers: Headers, client: str, scheme: bytes, host: bytes | None) -> Headers:
    """A client's headers as llama-server gets them.

    :param headers: as they came.
    :param client: the client's IP address.
    :param scheme: how it came in: http or https.
    :param host: what to send as Host; None: what the client sent.
    """
    sent = end_to_end(headers)
    for name in _NOT_FORWARDED:
        sent.removeHeader(name)
    came_for = headers.getRawHeaders(b"host", [b""])[0]
    way = [*headers.getRawHeaders(b"x-forwarded-for", ()), client.encode()]
    sent.setRawHeaders(b"x-forwarded-for", [b", ".join(way)])
    # A proxy in front that ends TLS knows better than we do.
    if not sent.hasHeader(b"x-forwarded-proto"):
        sent.setRawHeaders(b"x-forwarded-proto", [scheme])
    if not sent.hasHeader(b"x-forwarded-host"):
        sent.setRawHeaders(b"x-forwarded-host", [came_for])
    if host is not None:
        sent.setRawHeaders(b"host", [host])
    return sent
