"""A request's prompt, told from others without a tokenizer: a chain of hashes.

llama-server keeps what it has evaluated from the first token on, so what counts is how far two
prompts begin alike. The hash of each block is seeded with the one before, so that equal hashes
mean equal beginnings. Hashed are the bytes as the client wrote them: the same client
writes the same messages in the same way at every turn, and nobody else's cache is of use.

Note [Where blocks end]. Where two prompts begin alike their blocks must end alike, however long
either goes on; so that is told from what lies before alone. A block ends with a message that is
long, or where it has a share of all that there is so far, and within a long message after so many
bytes. The share bounds the blocks: some 200 for a hundred megabytes.

Note [Behind the last block]. Short questions behind one long prompt differ there only. So of what
lies there each message's end has a hash too: it tells a chat that went on a little
from another that begins alike.
"""

from __future__ import annotations

import os

import msgspec
from xxhash import xxh3_64_intdigest

__all__ = [
    "LARGE",
    "WORTH_IT",
    "Prompt",
    "PromptFields",
    "many_items",
    "prompt_of",
    "session_of",
]

Raw = msgspec.Raw
_Field = msgspec.Raw | msgspec.UnsetType
_UNSET = msgspec.UNSET

#: What all hashes begin with: who can't know it can't make one prompt's hash another's.
_SECRET = int.from_bytes(os.urandom(8), "big")

#: Bytes of a prompt below which a server evaluates it too soon for it to matter where it has been.
WORTH_IT = 512
#: The least bytes of a block; of one that ends within a long message; and behind that, with it.
LEAST, LEAST_INSIDE, LEAST_BEHIND = 512, 1024, 64
#: A block has at least one in so many of all bytes before it.
SHARE = 16
#: Of what lies behind the last block of a text there are at most so many hashes.
TAILS = 8
#: And of messages, the last so many.
MOST_TAILS = 256
#: Bytes from which JSON may have too many items to be told apart, and commas that are too many. To
#: tell them apart takes time and memory for each, and everybody waits meanwhile.
LARGE, COMMAS = 256 * 1024, 100_000


class Prompt(msgspec.Struct, eq=False, gc=False):
    """How a prompt begins.

    :param chain: the hash of all up to the end of each block; the bytes behind the last are in
        none.
    :param ends: the bytes up to there.
    :param size: all its bytes.
    :param last: the bytes of its last message, which no server has seen; 0: it has none.
    :param session: the hash of what its client calls the session; None: it says nothing.
    :param tails: the hash of all up to the end of each message behind the last block.
    """

    chain: list[int]
    ends: list[int]
    size: int
    last: int = 0
    session: int | None = None
    tails: list[int] = []


def many_items(text: bytes | msgspec.Raw) -> bool:
    """Whether JSON may have more items than there is memory and time to tell apart."""
    return len(text) > LARGE and bytes(text).count(b",") > COMMAS


class PromptFields(msgspec.Struct):
    """What a body's prompt may be in, undecoded; messages may be told apart already."""

    model: _Field = _UNSET
    tools: _Field = _UNSET
    system: _Field = _UNSET
    instructions: _Field = _UNSET
    messages: _Field = _UNSET
    prompt: _Field = _UNSET
    input: _Field = _UNSET
    input_extra: _Field = _UNSET
    input_prefix: _Field = _UNSET
    input_suffix: _Field = _UNSET
    cache_prompt: _Field = _UNSET
    prompt_cache_key: _Field = _UNSET
    session_id: _Field = _UNSET


_list_decoder = msgspec.json.Decoder(list[Raw])

#: Messages with pictures or sounds have one of these; what they count as, in bytes of text.
_PICTURES = (b";base64,", b'"base64"', b'"input_audio"', b'"multimodal_data"')
PICTURE = 4096
#: Bytes of a text that mostly have a blank.
BLANK_WITHIN = 256

#: The fields that make up the prompt, in the order in which llama-server's templates have them.
#: A list is a message for each item.
_CHAT = ("tools", "system", "instructions", "messages")
_RESPONSES = ("tools", "instructions", "input")
_INFILL = ("input_extra", "input_prefix", "input_suffix", "prompt")
_TEXT = ("prompt",)
_NOT = b"false"
_NO_SESSION = (b"", b"null")
_FIELDS = {
    "/completion": _TEXT,
    "/completions": _TEXT,
    "/v1/completions": _TEXT,
    "/chat/completions": _CHAT,
    "/v1/chat/completions": _CHAT,
    "/api/chat": _CHAT,
    "/v1/messages": _CHAT,
    "/responses": _RESPONSES,
    "/v1/responses": _RESPONSES,
    "/infill": _INFILL,
}


def prompt_of(path: str, fields: PromptFields, session: bytes | None = None) -> Prompt | None:
    """The prompt of a request.

    None: it has none that llama-server would keep, or one so short that nothing is won.

    :param path: its path, normalised.
    :param session: what the client calls the session in a header.
    """
    names = _FIELDS.get(path)
    if names is None or (fields.cache_prompt is not _UNSET and bytes(fields.cache_prompt) == _NOT):
        return None
    digest = xxh3_64_intdigest
    seed = digest(b"" if fields.model is _UNSET else fields.model, _SECRET)
    chain: list[int] = []
    ends: list[int] = []
    tails: list[int] = []
    value, size, last, due, step = seed, 0, 0, LEAST, LEAST_INSIDE
    for part in _parts(fields, names):
        last = len(part)
        if last <= step:
            value = digest(part, value)
            size += last
            if size < due:
                tails.append(value)
                continue
        elif last > PICTURE and _has_picture(bytes(part)):
            # Of so many bytes become few tokens.
            value = digest(part, value)
            last = PICTURE
            size += last
        else:
            # Within a long message blocks end too.
            begin, view = 0, memoryview(part)
            while last - begin > step:
                value = digest(view[begin : begin + step], value)
                begin += step
                size += step
                chain.append(value)
                ends.append(size)
                step = max(LEAST_INSIDE, size // SHARE)
            tails, rest, due = [], view[begin:], size + max(LEAST, size // SHARE)
            if isinstance(part, memoryview) and size + len(rest) < due:
                # A text may go on, wherever it ends now.
                each = max(LEAST_BEHIND, size // SHARE // TAILS)
                size += len(rest)
                while len(rest) >= each:
                    value = digest(rest[:each], value)
                    rest = rest[each:]
                    tails.append(value)
                value = digest(rest, value)
                continue
            value = digest(rest, value)
            size += len(rest)
            if len(rest) < LEAST_BEHIND:
                tails.append(value)
                continue
        chain.append(value)
        ends.append(size)
        tails, share = [], size // SHARE
        due = size + (share if share > LEAST else LEAST)
        if share > LEAST_INSIDE:
            step = share
    said = session or session_of(fields)
    hashed = None
    if said is not None:
        hashed = digest(said, seed)
    elif size < WORTH_IT or not chain:
        return None
    # The last part is new only where there were others before it.
    new = last if last < size else 0
    return Prompt(chain, ends, size, new, hashed, tails[-MOST_TAILS:])


def session_of(fields: PromptFields) -> bytes | None:
    """What a body calls its session."""
    if fields.prompt_cache_key is _UNSET and fields.session_id is _UNSET:
        return None
    for field in (fields.prompt_cache_key, fields.session_id):
        if field is not _UNSET and (said := bytes(field).strip(b'"')) not in _NO_SESSION:
            return said
    return None


def _has_picture(part: bytes) -> bool:
    """Whether a message has a picture or a sound in it that is larger than it counts as."""
    # That has no blanks, and a text has some everywhere: so mostly nothing has to be searched.
    begins = range(0, len(part) - BLANK_WITHIN, PICTURE // 2)
    if all(b" " in part[begin : begin + BLANK_WITHIN] for begin in begins):
        return False
    return any(mark in part for mark in _PICTURES)


def _parts(fields: PromptFields, names: tuple[str, ...]) -> list[Raw | memoryview]:
    """The messages, and the texts as views, as they were written."""
    parts: list[Raw | memoryview] = []
    for name in names:
        field: _Field | list[Raw] = getattr(fields, name)
        if field is _UNSET:
            continue
        if isinstance(field, list):
            parts += field
            continue
        view = memoryview(field)
        opening = bytes(view[:64]).lstrip()
        listed = opening.startswith(b"[") and not opening[1:].lstrip()[:1].isdigit()
        if listed and not many_items(field):
            parts += _list_decoder.decode(field)
        elif opening != b"null":
            # Without the quote or bracket behind it, which is not there in a longer one.
            parts.append(view[:-1])
    return parts
