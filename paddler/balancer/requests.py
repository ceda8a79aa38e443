"""What a request asks of the fleet, told from its method, its path and its body.

Facts about llama-server's own API live here: which paths take slots, which
administer one server, and how many slots a body will occupy.
"""

from __future__ import annotations

import posixpath
import re
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import attrs
import msgspec

from paddler.balancer.bodies import BOM
from paddler.errors import AdminEndpointDisabled, MalformedRequest, SlotsEndpointDisabled

__all__ = [
    "SLOT_PATHS",
    "Destination",
    "Doors",
    "MODEL",
    "Target",
    "Wishes",
    "destination",
    "named_in",
    "target_of",
    "wishes",
    "wishes_of",
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
_MODELS = frozenset(("/models", "/v1/models"))
#: Before the name of one model.
MODEL = "/v1/models/"
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
    MODELS = "nowhere: the balancer knows all models"


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


def named_in(target: Target) -> str | None:
    """The model that a request target names, as a router-mode llama-server reads it."""
    query = target.sent.partition(b"?")[2]
    if b"model=" not in query:
        return None
    return dict(parse_qsl(query.decode("latin-1"), encoding="utf-8")).get("model")


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
    if method in (b"GET", b"HEAD"):
        if path in _HEALTH:
            return Destination.HEALTH
        if path in _MODELS or path.startswith(MODEL):
            return Destination.MODELS
    if not posts or path in _WITHOUT_SLOT or path.endswith(_WITHOUT_SLOT_ENDINGS):
        return Destination.ANY
    return Destination.SLOT


class Wishes(NamedTuple):
    """What a request's body asks of the fleet.

    :param weight: the slots that it will occupy.
    :param model: the name of the model that it wants; None: it names none.
    """

    weight: int = 1
    model: str | None = None


class _Body(msgspec.Struct):
    """The parts of a request body that matter here, undecoded."""

    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
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
_text_decoder = msgspec.json.Decoder(str)


def wishes(path: str, body: bytes) -> tuple[Wishes, bytes]:
    """What a body asks for, and the body as llama-server gets it.

    `n` answers to each of several prompts take a slot each. `id_slot` is taken out: it would
    pin the request to a slot that may be busy while others are idle. A body that can't be read
    takes one slot and is passed on as it is, for llama-server to say what is wrong with it.
    """
    try:
        fields = _body_decoder.decode(body.removeprefix(BOM))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Wishes(), body
    if fields.id_slot is not msgspec.UNSET:
        rest = _fields_decoder.decode(body.removeprefix(BOM))
        del rest["id_slot"]
        body = msgspec.json.encode(rest)
    return Wishes(_weight(path, fields), _text(fields.model)), body


def wishes_of(path: str, body: Any) -> tuple[Wishes, Any]:
    """`wishes` for an `IBody`, which is not read where it can't matter."""
    if not body.may_be_json_object():
        return Wishes(), body
    read = body.read()
    found, sent = wishes(path, read)
    return found, body if sent is read else body.replaced(sent)


def _weight(path: str, fields: _Body) -> int:
    if path in _CHATS or path in _COMPLETIONS:
        answers = max(_number(fields.n), _number(fields.n_cmpl))
        return answers if path in _CHATS else answers * _prompts(fields.prompt)
    if path in _EMBEDDINGS:
        return max(_prompts(fields.input), _prompts(fields.content))
    if path in _RERANKS:
        return max(_items(fields.documents), _items(fields.texts))
    return 1


def _text(raw: msgspec.Raw | msgspec.UnsetType) -> str | None:
    """A text; None where it is none."""
    if raw is msgspec.UNSET:
        return None
    try:
        return _text_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


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
