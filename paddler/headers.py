"""Which headers pass, which stop here, and which are ours.

The rules are the same both ways and for every way of moving bytes. Headers are pairs
of name and value, as they came and in their order. Each is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from random import Random

from twisted.web.http_headers import Headers

from paddler.values import Address

__all__ = [
    "AGENT",
    "CONVERSATION",
    "Forwarded",
    "REQUEST_ID",
    "SESSION",
    "AnswerHeaders",
    "Pairs",
    "RequestHeaders",
    "pairs_of",
    "text_of",
]

#: Headers in their order.
Pairs = Sequence[tuple[bytes, bytes]]

REQUEST_ID = b"x-request-id"
#: Of a chat that goes on when its client leaves, and can be taken up again.
CONVERSATION = b"x-conversation-id"
#: Names the session that a request belongs to.
SESSION = b"x-session-id"
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

_STREAM = b"text/event-stream"

#: Ids tell requests apart; they keep no secret.
_random = Random()

_GOOD_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def pairs_of(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Twisted's headers as pairs."""
    return [(name, value) for name, several in headers.getAllRawHeaders() for value in several]


def text_of(pairs: Pairs) -> bytes:
    """Headers as lines of a head, each with its end."""
    return b"".join([b"%b: %b\r\n" % pair for pair in pairs])


class _Headers:
    """Headers of a message.

    :ivar others: the values of those that matter here, by their names in lower case.
    """

    __slots__ = ("_passing", "others")

    #: Those that matter here, and those of them that pass all the same.
    _seen_to: frozenset[bytes] = _HOP_BY_HOP
    _pass: frozenset[bytes] = frozenset()

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Sort them.

        :param pairs: as they came.
        """
        passing: list[tuple[bytes, bytes]] = []
        others: dict[bytes, list[bytes]] = {}
        seen_to = self._seen_to
        for pair in pairs:
            name = pair[0].lower()
            if name in seen_to:
                if name in others:
                    others[name].append(pair[1])
                else:
                    others[name] = [pair[1]]
                if name not in self._pass:
                    continue
            passing.append(pair)
        self._passing = passing
        self.others = others

    def passing_values(self, name: bytes) -> list[bytes]:
        """The values of one that just passes.

        :param name: in lower case.
        """
        return [value for its, value in self._passing if its.lower() == name]

    def _named(self) -> set[bytes]:
        """The headers that Connection says are between the two of us only."""
        words = b",".join(self.others[b"connection"]).lower().split(b",")
        named = {word.strip() for word in words}
        # Of one hop or not, a request without it is none.
        named.discard(b"host")
        return named - _HOP_BY_HOP - {b"close"}


class AnswerHeaders(_Headers):
    """Headers of an answer, sorted.

    :ivar passing: those that the client gets.
    :ivar streams: they say that a stream of events follows.
    """

    __slots__ = ("passing", "streams")

    _pass = frozenset((b"content-length", b"content-type"))
    #: Also what the balancer says itself.
    _seen_to = _HOP_BY_HOP | _pass | {REQUEST_ID, AGENT}

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(pairs)
        named = self._named() if b"connection" in self.others else None
        self.passing: Pairs = (
            [pair for pair in self._passing if pair[0].lower() not in named]
            if named
            else self._passing
        )
        kinds = self.others.get(b"content-type")
        self.streams = kinds is not None and kinds[0].lower().startswith(_STREAM)


class Forwarded:
    """Headers that go to llama-server.

    :ivar pairs: they.
    :ivar text: the same as lines of a head, each with its end.
    """

    __slots__ = ("pairs", "text")

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.text = text_of(pairs)


class RequestHeaders(_Headers):
    """Headers of a client's request, sorted; the same serve all requests that have the same head.

    :ivar given_id: the client's own id for its request; None: it gave no good one.
    """

    __slots__ = ("_forwarded", "given_id")

    _pass = frozenset((b"content-type", b"origin", SESSION))
    #: Also what is answered here, is made anew for the whole body or for the way behind us, or
    #: tells of that way.
    _seen_to = (
        _HOP_BY_HOP
        | _pass
        | {
            b"host",
            b"expect",
            b"content-length",
            CONVERSATION,
            b"x-forwarded-for",
            b"x-forwarded-proto",
            b"x-forwarded-host",
            REQUEST_ID,
        }
    )

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(pairs)
        given = self.others.get(REQUEST_ID)
        one = given is not None and len(given) == 1 and _GOOD_REQUEST_ID.fullmatch(given[0])
        self.given_id = given[0] if given is not None and one else None
        self._forwarded: tuple[object, Forwarded] | None = None

    def request_id(self) -> bytes:
        """The client's own id for its request, else a new one at each call."""
        return self.given_id or b"%032x" % _random.getrandbits(128)

    def cross_origin(self) -> list[tuple[bytes, bytes]]:
        """What lets a web page of any origin read an answer of ours, as it may llama-server's."""
        origins = self.others.get(b"origin", ())[:1]
        return [(b"Access-Control-Allow-Origin", origin) for origin in origins]

    def forwarded(self, client: bytes, scheme: bytes, own: Address, rewrite: bool) -> Forwarded:
        """What llama-server gets, but for the request's id.

        :param client: the client's IP address.
        :param scheme: how it came in: http or https.
        :param own: llama-server's own address, which is its Host where none came.
        :param rewrite: it is also where one came.
        """
        asked = client, scheme, own if rewrite or b"host" not in self.others else None
        if self._forwarded is None or self._forwarded[0] != asked:
            self._forwarded = asked, Forwarded(self._sent_on(client, scheme, own, rewrite))
        return self._forwarded[1]

    def _sent_on(
        self, client: bytes, scheme: bytes, own: Address, rewrite: bool
    ) -> list[tuple[bytes, bytes]]:
        others = self.others
        sent = self._passing.copy()
        named: Set[bytes] = frozenset()
        if b"connection" in others:
            named = self._named()
            if named:
                sent = [pair for pair in sent if pair[0].lower() not in named]
        hosts = others.get(b"host")
        host = None if hosts is None else hosts[0]
        sent.append((b"Host", str(own).encode() if host is None or rewrite else host))
        way = others.get(b"x-forwarded-for")
        sent.append((b"X-Forwarded-For", b", ".join((*way, client)) if way else client))
        # A proxy in front that ends TLS knows better than we do.
        for name, lower, ours in (
            (b"X-Forwarded-Proto", b"x-forwarded-proto", scheme),
            (b"X-Forwarded-Host", b"x-forwarded-host", host or b""),
        ):
            if lower in others and lower not in named:
                sent += [(name, value) for value in others[lower]]
            else:
                sent.append((name, ours))
        return sent
