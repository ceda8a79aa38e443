"""Where a request goes, told from its method and its path.

Facts about llama-server's own API live here: which paths take slots, which
administer one server.
"""

from __future__ import annotations

import posixpath
import re
from enum import Enum
from urllib.parse import parse_qsl, unquote_to_bytes

import attrs

from paddler.errors import AdminEndpointDisabled, MalformedRequest, SlotsEndpointDisabled

__all__ = [
    "SLOT_PATHS",
    "Destination",
    "Doors",
    "LOOKUP",
    "MODEL",
    "Target",
    "destination",
    "named_in",
    "target_of",
]

_COMPLETIONS = frozenset(("/completion", "/completions", "/v1/completions"))
_EMBEDDINGS = frozenset(("/embedding", "/embeddings", "/v1/embeddings"))
_RERANKS = frozenset(("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"))
_CHATS = frozenset(("/chat/completions", "/v1/chat/completions", "/api/chat"))
_OTHERS = frozenset(
    (
        "/v1/responses",
        "/responses",
        "/v1/messages",
        "/infill",
        "/v1/audio/transcriptions",
        "/audio/transcriptions",
    )
)
#: Tells which of some conversations have streams.
LOOKUP = "/v1/streams/lookup"
_WITHOUT_SLOT = frozenset(("/tokenize", "/detokenize", "/apply-template", LOOKUP))
_WITHOUT_SLOT_ENDINGS = ("/input_tokens", "/count_tokens")
_HEALTH = frozenset(("/health", "/v1/health"))
_MODELS = frozenset(("/models", "/v1/models"))
_STREAM = "/v1/stream"
#: Before the name of one model.
MODEL = "/v1/models/"
_ADMIN = frozenset(("/metrics", "/lora-adapters", "/tools", "/cors-proxy"))
_ADMIN_BELOW = ("/slots/", "/models/", "/cvectors")
_ODD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Destination(Enum):
    """Where a request goes."""

    SLOT = "to an upstream with room, by a lease"
    ANY = "to any healthy upstream"
    HEALTH = "nowhere: the balancer answers"
    MODELS = "nowhere: the balancer knows all models"
    STREAM = "to the upstream that has a conversation's stream"


@attrs.frozen
class Doors:
    """What is open beside the ordinary API.

    :param slots: `/slots`.
    :param admin: llama-server's own administration.
    """

    slots: bool = False
    admin: bool = False


@attrs.frozen
class Target:
    """What a request line points at.

    :param path: decoded and normalised, to match with.
    :param sent: path and query as they came, to pass on.
    """

    path: str
    sent: bytes


#: The paths that take slots, as they are usually written.
SLOT_PATHS = {
    path.encode(): Target(path, path.encode())
    for path in _COMPLETIONS | _EMBEDDINGS | _RERANKS | _CHATS | _OTHERS
}


_SLOTS = frozenset(target.path for target in SLOT_PATHS.values())


def target_of(uri: bytes) -> Target:
    """Read a request target.

    :raises MalformedRequest: it is neither a path nor an absolute http address.
    """
    known = SLOT_PATHS.get(uri)
    if known is not None:
        return known
    sent = uri
    scheme, found, rest = uri.partition(b"://")
    if found and scheme.lower() in (b"http", b"https"):
        cut = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
        sent = rest[cut:] if rest[cut : cut + 1] == b"/" else b"/" + rest[cut:]
    if not sent.startswith(b"/"):
        raise MalformedRequest("the request target must be a path")
    # Both are read otherwise by those behind us, so that a closed path would pass for another.
    if b"#" in sent or _ODD_ESCAPE.search(sent.partition(b"?")[0]):
        raise MalformedRequest("the request target must be a path without '#' or odd escapes")
    raw = unquote_to_bytes(sent.partition(b"?")[0]).decode("latin-1")
    # normpath keeps two leading slashes, as POSIX wants.
    return Target("/" + posixpath.normpath(raw).lstrip("/"), sent)


def named_in(target: Target, parameter: str = "model") -> str | None:
    """What a request target's query names: the model, as a router-mode llama-server reads it."""
    query = target.sent.partition(b"?")[2]
    if b"%b=" % parameter.encode() not in query:
        return None
    return dict(parse_qsl(query.decode("latin-1"), encoding="utf-8")).get(parameter)


def destination(method: bytes, path: str, doors: Doors) -> Destination:
    """Where a request goes.

    :raises SlotsEndpointDisabled: `/slots` is closed.
    :raises AdminEndpointDisabled: it administers a llama-server, which is closed.
    """
    posts = method == b"POST"
    if posts and path in _SLOTS:
        return Destination.SLOT
    if path == "/slots" and not doors.slots:
        raise SlotsEndpointDisabled()
    if not doors.admin and (
        path in _ADMIN or path.startswith(_ADMIN_BELOW) or (posts and path == "/props")
    ):
        raise AdminEndpointDisabled(path)
    if path == _STREAM and method in (b"GET", b"HEAD", b"DELETE"):
        return Destination.STREAM
    if method in (b"GET", b"HEAD"):
        if path in _HEALTH:
            return Destination.HEALTH
        if path in _MODELS or path.startswith(MODEL):
            return Destination.MODELS
    if not posts or path in _WITHOUT_SLOT or path.endswith(_WITHOUT_SLOT_ENDINGS):
        return Destination.ANY
    return Destination.SLOT
