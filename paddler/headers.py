"""Which headers pass, which stop here, and which are ours.

The rules are the same both ways and for every way of moving bytes. Headers are pairs
of name and value, as they came and in their order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from twisted.web.http_headers import Headers

from paddler.values import Address

__all__ = [
    "AGENT",
    "REQUEST_ID",
    "Pairs",
    "cross_origin",
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
_NOT_FORWARDED = {b"expect", b"content-length", b"x-conversation-id", REQUEST_ID}
#: Those that don't just pass.
_SEEN_TO = (
    _HOP_BY_HOP
    | _NOT_FORWARDED
    | {
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
    }
)

#: Ids tell requests apart; they keep no secret.
_random = Random()

_GOOD_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def pairs_of(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Twisted's headers as pairs."""
    return [(name, value) for name, several in headers.getAllRawHeaders() for value in several]


def values(pairs: Pairs, wanted: bytes) -> list[bytes]:
    """All values of one header.

    :param wanted: its name, in lower case.
    """
    return [value for name, value in pairs if name.lower() == wanted]


def _named(value: bytes) -> set[bytes]:
    """The headers that one Connection header says are between the two of us only."""
    named = {word.strip().lower() for word in value.split(b",")}
    # Of one hop or not, a request without it is none.
    named.discard(b"host")
    return named - _HOP_BY_HOP - {b"close"}


def end_to_end(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    """The headers without those that are between two neighbours only."""
    passed: list[tuple[bytes, bytes]] = []
    named: set[bytes] = set()
    for pair in pairs:
        name = pair[0].lower()
        if name not in _HOP_BY_HOP:
            passed.append(pair)
        elif name == b"connection":
            named |= _named(pair[1])
    return [pair for pair in passed if pair[0].lower() not in named] if named else passed


def request_id(pairs: Pairs) -> bytes:
    """The client's own id for its request if it gave a good one, else a new one."""
    given = values(pairs, REQUEST_ID)
    if len(given) == 1 and _GOOD_REQUEST_ID.fullmatch(given[0]):
        return given[0]
    return b"%032x" % _random.getrandbits(128)


def cross_origin(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    """What lets a web page of any origin read an answer of ours, as it may llama-server's.

    :param pairs: the request's headers.
    """
    return [(b"Access-Control-Allow-Origin", origin) for origin in values(pairs, b"origin")[:1]]


def forwarded(
    pairs: Pairs, client: bytes, scheme: bytes, own: Address, rewrite: bool, its_id: bytes
) -> list[tuple[bytes, bytes]]:
    """A client's headers as llama-server gets them.

    :param pairs: as they came.
    :param client: the client's IP address.
    :param scheme: how it came in: http or https.
    :param own: llama-server's own address, which is its Host where none came.
    :param rewrite: it is also where one came.
    :param its_id: the request's id.
    """
    sent: list[tuple[bytes, bytes]] = []
    named: set[bytes] = set()
    way: list[bytes] = []
    host: tuple[bytes, bytes] | None = None
    proto = asked = False
    for pair in pairs:
        name = pair[0].lower()
        if name == b"host":
            host = host or pair
        elif name not in _SEEN_TO:
            sent.append(pair)
        elif name == b"connection":
            named |= _named(pair[1])
        elif name == b"x-forwarded-for":
            way.append(pair[1])
        elif name == b"x-forwarded-proto":
            proto = True
            sent.append(pair)
        elif name == b"x-forwarded-host":
            asked = True
            sent.append(pair)
    if named:
        sent = [pair for pair in sent if pair[0].lower() not in named]
        proto, asked = (
            proto and b"x-forwarded-proto" not in named,
            asked and b"x-forwarded-host" not in named,
        )
    sent.append((b"Host", str(own).encode()) if host is None or rewrite else host)
    way.append(client)
    sent.append((b"X-Forwarded-For", b", ".join(way)))
    # A proxy in front that ends TLS knows better than we do.
    if not proto:
        sent.append((b"X-Forwarded-Proto", scheme))
    if not asked:
        sent.append((b"X-Forwarded-Host", b"" if host is None else host[1]))
    sent.append((b"X-Request-Id", its_id))
    return sent
