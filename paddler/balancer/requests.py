"""What a request asks of the fleet, told from its method, its path and its body.

Facts about llama-server's own API live here: which paths take slots, which
administer one server, and how many slots a body will occupy.
"""

from __future__ import annotations

import posixpath
import re
from enum import Enum
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs
import msgspec

from paddler.balancer.bodies import BOM
from paddler.errors import AdminEndpointDisabled, MalformedRequest, SlotsEndpointDisabled

__all__ = [
    "SLOT_PATHS",
    "Destination",
    "Doors",
    "Target",
    "destination",
    "target_of",
    "weigh",
    "weighed",
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
_WITHOUT_SLOT = frozenset(("/tokenize", "/detokenize", "/apply-template"))
_WITHOUT_SLOT_ENDINGS = ("/input_tokens", "/count_tokens")
_HEALTH = frozenset(("/health", "/v1/health"))
_ADMIN = frozenset(("/metrics", "/lora-adapters", "/tools", "/cors-proxy"))
_ADMIN_BELOW = ("/slots/", "/models/", "/cvectors")
_NUMBERS_BEGIN_WITH = tuple(b"%c" % sign for sign in b"-0123456789")
_COUNT = re.compile(rb"([0-9]{1,5})(?:\.0{1,9})?")
_ODD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
#: Bytes of a value that are looked at to see what kind it is: JSON allows blanks before it.
_OPENING = 64


class Destination(Enum):
    """Where a request goes."""

    SLOT = "to an upstream with room, by a lease"
    ANY = "to any healthy upstream"
    HEALTH = "nowhere: the balancer answers"


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
    if path in _HEALTH and method in (b"GET", b"HEAD"):
        return Destination.HEALTH
    if not posts or path in _WITHOUT_SLOT or path.endswith(_WITHOUT_SLOT_ENDINGS):
        return Destination.ANY
    return Destination.SLOT


class _Body(msgspec.Struct):
    """The parts of a request body that say how many slots it takes, undecoded."""

    n: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    n_cmpl: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    documents: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    texts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id_slot: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_body_decoder = msgspec.json.Decoder(_Body)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def weigh(path: str, body: bytes) -> tuple[int, bytes]:
    """The slots that a body will occupy, and the body as llama-server gets it.

    `n` answers to each of several prompts take a slot each. `id_slot` is taken out: it would
    pin the request to a slot that may be busy while others are idle. A body that can't be read
    takes one slot and is passed on as it is, for llama-server to say what is wrong with it.
    """
    try:
        fields = _body_decoder.decode(body.removeprefix(BOM))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 1, body
    if fields.id_slot is not msgspec.UNSET:
        rest = _fields_decoder.decode(body.removeprefix(BOM))
        del rest["id_slot"]
        body = msgspec.json.encode(rest)
    answers = max(_number(fields.n), _number(fields.n_cmpl))
    if path in _COMPLETIONS:
        return answers * _prompts(fields.prompt), body
    if path in _CHATS:
        return answers, body
    if path in _EMBEDDINGS:
        return max(_prompts(fields.input), _prompts(fields.content)), body
    if path in _RERANKS:
        return max(_items(fields.documents), _items(fields.texts)), body
    return 1, body


def weighed(path: str, body: Any) -> tuple[int, Any]:
    """`weigh` for an `IBody`, which is not read where it can't matter."""
    if not body.may_be_json_object():
        return 1, body
    read = body.read()
    weight, sent = weigh(path, read)
    return weight, body if sent is read else body.replaced(sent)


def _number(raw: msgspec.Raw | msgspec.UnsetType) -> int:
    """A count, which llama-server also takes as 2.0; 1 where it is none."""
    found = _COUNT.fullmatch(b"" if raw is msgspec.UNSET else bytes(raw))
    return max(1, int(found[1])) if found else 1


def _opening(raw: msgspec.Raw) -> bytes:
    """How a value begins, without copying all of it."""
    return bytes(memoryview(raw)[:_OPENING]).lstrip()


def _prompts(raw: msgspec.Raw | msgspec.UnsetType) -> int:
    """How many prompts there are; a list with numbers in it is one prompt's tokens."""
    if raw is msgspec.UNSET:
        return 1
    opening = _opening(raw)
    if not opening.startswith(b"[") or opening[1:].lstrip().startswith(_NUMBERS_BEGIN_WITH):
        return 1
    items = _list_decoder.decode(raw)
    tokens = any(_opening(item).startswith(_NUMBERS_BEGIN_WITH) for item in items)
    return 1 if tokens else max(1, len(items))


def _items(raw: msgspec.Raw | msgspec.UnsetType) -> int:
    """The length of a list; 1 where it is none."""
    if raw is msgspec.UNSET or not _opening(raw).startswith(b"["):
        return 1
    return max(1, len(_list_decoder.decode(raw)))
