"""What a request's body asks of the fleet: how many slots, which model, and what prompt it has.

Each body is read once for it, as far as it takes; what is not asked for here is passed over.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from paddler.balancer.bodies import BOM
from paddler.balancer.shortening import SMALL, shortened, without_list
from paddler.errors import MalformedRequest
from paddler.headers import SESSION, RequestHeaders
from paddler.prompts import (
    LARGE,
    WORTH_IT,
    Prompt,
    PromptFields,
    many_items,
    prompt_of,
    session_of,
)

__all__ = ["Wishes", "wishes", "wishes_of"]

_COMPLETIONS = frozenset(("/completion", "/completions", "/v1/completions"))
_EMBEDDINGS = frozenset(("/embedding", "/embeddings", "/v1/embeddings"))
_RERANKS = frozenset(("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"))
#: Where lists are counted.
_LISTS = _COMPLETIONS | _EMBEDDINGS | _RERANKS
_CHATS = frozenset(("/chat/completions", "/v1/chat/completions", "/api/chat"))

_NUMBERS_BEGIN_WITH = tuple(b"%c" % sign for sign in b"-0123456789")
#: What is left of a long text.
_CUT = b'""'
_COUNT = re.compile(rb"[0-9]{1,5}(\.[0-9]{1,9})?([eE]\+?[0-9])?")
#: Bytes of a value that are looked at to see what kind it is: JSON allows blanks before it.
_OPENING = 64
#: What a list counts as that has too many items to be counted: more than any server has slots.
_MANY = 65_536
#: Bytes of a form that are read at a time, and of a name in it.
_BLOCK = 64 * 1024
_NAME = 1024


class Wishes(NamedTuple):
    """What a request's body asks of the fleet.

    :param weight: the slots that it will occupy.
    :param model: the name of the model that it wants; None: it names none.
    :param prompt: how its prompt begins; None: it has none, or it was not asked for.
    """

    weight: int = 1
    model: str | None = None
    prompt: Prompt | None = None


class _Body(PromptFields):
    """The parts of a body that matter here, undecoded."""

    n: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    n_cmpl: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    documents: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    texts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id_slot: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Chat(_Body):
    """A chat's, its messages told apart."""

    messages: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]


_body_decoder = msgspec.json.Decoder(_Body)
_chat_decoder = msgspec.json.Decoder(_Chat)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)


def wishes(
    path: str, body: bytes, prompts: bool = False, session: bytes | None = None
) -> tuple[Wishes, bytes]:
    """What a body asks for, and the body as llama-server gets it.

    :param prompts: say also how its prompt begins.
    :param session: what a header calls the session that it belongs to.

    `n` answers to each of several prompts take a slot each. `id_slot` is taken out: it would
    pin the request to a slot that may be busy while others are idle. A body that can't be read
    takes one slot and is passed on as it is, for llama-server to say what is wrong with it.

    :raises MalformedRequest: it is nested so deeply that only llama-server can read it.
    """
    # llama-server reads up to a NUL.
    for its in (body, body.partition(b"\0")[0]) if b"\0" in body else (body,):
        try:
            return _wishes(path, its, prompts, session)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        except RecursionError:
            raise MalformedRequest("its JSON is nested too deeply") from None
    return Wishes(), body


def _wishes(path: str, body: bytes, asked: bool, session: bytes | None) -> tuple[Wishes, bytes]:
    """`wishes` of a body that can be read."""
    prompts, text = asked and (len(body) >= WORTH_IT or bool(session)), body
    if not prompts and len(body) >= SMALL:  # for what is left out of it is the prompt
        short = None if path in _LISTS else without_list(body)
        text = short or shortened(body)
    fields = _read(text.removeprefix(BOM), prompts)
    if text is not body and fields.model is not msgspec.UNSET and bytes(fields.model) == _CUT:
        # Names may be long, too.
        fields.model = _body_decoder.decode(body.removeprefix(BOM)).model
    if fields.id_slot is not msgspec.UNSET:
        rest = _fields_decoder.decode(body.removeprefix(BOM))
        del rest["id_slot"]
        body = msgspec.json.encode(rest)
    prompt = None
    if prompts or (asked and session_of(fields)):
        prompt = prompt_of(path, fields, session)
    return Wishes(_weight(path, fields), _text(fields.model), prompt), body


def _read(text: bytes, prompts: bool) -> _Body:
    """The fields of a body; with `prompts` the messages are told apart where they can be."""
    if prompts and (len(text) < LARGE or not _too_many(text)):
        try:
            return _chat_decoder.decode(text)
        except msgspec.ValidationError:
            pass  # messages that are none
    return _body_decoder.decode(text)


def wishes_of(
    path: str, body: Any, headers: RequestHeaders, prompts: bool = False
) -> tuple[Wishes, Any]:
    """`wishes` for an `IBody`, which is not read where it can't matter.

    :param headers: tell of a form, which audio comes in; it may name its model too.
    """
    if not body.may_be_json_object():
        return Wishes(1, _model_in_form(body, headers)), body
    read = body.read()
    named = headers.others.get(SESSION) if prompts else None
    found, sent = wishes(path, read, prompts, named[0] if named else None)
    return found, body if sent is read else body.replaced(sent)


def _weight(path: str, fields: _Body) -> int:
    if path in _CHATS or path in _COMPLETIONS:
        answers = 1
        if fields.n is not msgspec.UNSET or fields.n_cmpl is not msgspec.UNSET:
            answers = max(_number(fields.n), _number(fields.n_cmpl))
        return answers if path in _CHATS else answers * _prompts(fields.prompt)
    if path in _EMBEDDINGS:
        return max(_prompts(fields.input), _prompts(fields.content))
    if path in _RERANKS:
        return max(_items(fields.documents), _items(fields.texts))
    return 1


def _number(raw: msgspec.Raw | msgspec.UnsetType) -> int:
    """A count, which llama-server also takes as 2.5 or 2e0; 1 where it is none."""
    found = None if raw is msgspec.UNSET else _COUNT.fullmatch(bytes(raw))
    return min(max(1, int(float(found[0]))), _MANY) if found else 1


def _text(raw: msgspec.Raw | msgspec.UnsetType) -> str | None:
    """A text; None where it is none."""
    if raw is msgspec.UNSET:
        return None
    try:
        return _text_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


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
    if _too_many(raw):
        return _MANY
    items = _list_decoder.decode(raw)
    tokens = any(_opening(item).startswith(_NUMBERS_BEGIN_WITH) for item in items)
    return 1 if tokens else max(1, len(items))


def _items(raw: msgspec.Raw | msgspec.UnsetType) -> int:
    """The length of a list; 1 where it is none."""
    if raw is msgspec.UNSET or not _opening(raw).startswith(b"["):
        return 1
    return _MANY if _too_many(raw) else max(1, len(_list_decoder.decode(raw)))


def _too_many(raw: bytes | msgspec.Raw) -> bool:
    """Whether a list may have too many items to be counted, whatever its long texts have."""
    return many_items(raw) and many_items(shortened(bytes(raw)))


def _model_in_form(body: Any, headers: RequestHeaders) -> str | None:
    """The model that a form names; None where it names none, or is no form."""
    kinds = headers.others.get(b"content-type")
    kind, options = parse_options_header(kinds[0].decode("latin-1")) if kinds else ("", {})
    if kind.lower() != "multipart/form-data" or not options.get("boundary"):
        return None
    found: bytes | None = None
    file = body.file()
    try:
        parser = PushMultipartParser(options["boundary"], max_segment_count=100)
        while not parser.closed:
            for event in parser.parse(file.read(_BLOCK)):
                if isinstance(event, MultipartSegment):
                    found = b"" if event.name == "model" else None
                elif event is None and found is not None:
                    return found.decode("utf-8", "replace")
                elif event is not None and found is not None:
                    found = (found + event)[:_NAME]
    except MultipartError:
        pass  # llama-server says what is wrong with it
    return None
