"""Which headers pass, which stop here, and which are ours.

The rules are the same both ways and for every way of moving bytes. Headers are pairs
of name and value, as they came and in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from secrets import token_hex

from twisted.web.http_headers import Headers

__all__ = [
    "AGENT",
    "REQUEST_ID",
    "Pairs",
    "end_to_end",
    "forwarded",
    "pairs_of",
    "request_id",
    "values",
]

#: Headers in their order.
Pairs = Sequence[tuple[bytes, bytes]]

REQUEST_ID = b"x-request-id"
#: Names the agent whose llama-server answered.
AGENT = b"x-paddler-agent"

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
#: Of a request: answered here, made anew for the whole body or for the way behind us, or of one
#: llama-server only.
_NOT_FORWARDED = _HOP_BY_HOP | {
    b"expect",
    b"content-length",
    b"x-conversation-id",
    b"x-forwarded-for",
    REQUEST_ID,
}

_GOOD_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def pairs_of(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Twisted's headers as pairs."""
    return [(name, value) for name, several in headers.getAllRawHeaders() for value in several]


def values(pairs: Pairs, wanted: bytes) -> list[bytes]:
    """All values of one header.

    :param wanted: its name, in lower case.
    """
    return [value for name, value in pairs if name.lower() == wanted]


def _named(pairs: Pairs) -> set[bytes]:
    """The headers that this side says are between the two of us only."""
    named: set[bytes] = set()
    for value in values(pairs, b"connection"):
        named.update(word.strip().lower() for word in value.split(b","))
    # Of one hop or not, a request without it is none.
    named.discard(b"host")
    return named - _HOP_BY_HOP - {b"close"}


def _without(pairs: Pairs, names: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    return [pair for pair in pairs if pair[0].lower() not in names]


def end_to_end(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    """The headers without those that are between two neighbours only."""
    named = _named(pairs)
    return _without(pairs, _HOP_BY_HOP | named if named else _HOP_BY_HOP)


def request_id(pairs: Pairs) -> bytes:
    """The client's own id for its request if it gave a good one, else a new one."""
    given = values(pairs, REQUEST_ID)
    if len(given) == 1 and _GOOD_REQUEST_ID.fullmatch(given[0]):
        return given[0]
    return token_hex(16).encode()


def forwarded(
    pairs: Pairs, client: bytes, scheme: bytes, host: bytes | None, its_id: bytes
) -> list[tuple[bytes, bytes]]:
    """A client's headers as llama-server gets them.

    :param pairs: as they came.
    :param client: the client's IP address.
    :param scheme: how it came in: http or https.
    :param host: what to send as Host; None: what the client sent.
    :param its_id: the request's id.
    """
    named = _named(pairs)
    sent: list[tuple[bytes, bytes]] = []
    way: list[bytes] = []
    came_for: bytes | None = None
    proto = asked = False
    for pair in pairs:
        name = pair[0].lower()
        if name == b"x-forwarded-for":
            way.append(pair[1])
        elif name == b"host":
            came_for = pair[1] if came_for is None else came_for
            if host is None:
                sent.append(pair)
        elif name not in _NOT_FORWARDED and name not in named:
            # A proxy in front that ends TLS knows better than we do.
            proto = proto or name == b"x-forwarded-proto"
            asked = asked or name == b"x-forwarded-host"
            sent.append(pair)
    if host is not None:
        sent.append((b"Host", host))
    way.append(client)
    sent.append((b"X-Forwarded-For", b", ".join(way)))
    if not proto:
        sent.append((b"X-Forwarded-Proto", scheme))
    if not asked:
        sent.append((b"X-Forwarded-Host", came_for or b""))
    sent.append((b"X-Request-Id", its_id))
    return sent
