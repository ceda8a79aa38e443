"""What an answer says of itself at its end: what was cached, and how fast the server was.

llama-server says it in `timings`, and in the formats of others in `usage`; both lie in the last
few kilobytes of an answer, streamed or not. Nothing else of an answer is read. Quotes within
a JSON string are escaped, so that no text of a model passes for one of these.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta, field

__all__ = ["TAIL", "Facts", "facts_in"]

#: The bytes of an answer's end that are enough.
TAIL = 4096

#: The objects, by their names; `usage` has objects in it.
_TIMINGS, _USAGE = b'"timings"', b'"usage"'
#: How llama-server writes the first.
_WRITTEN = b'"timings":{'
_FLAT = re.compile(rb"\s*:\s*(?=\{)")
_NESTED = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]{0,500}\}){0,2000}\})')

_Count = Annotated[int, Meta(ge=0, le=2**40)]
_Speed = Annotated[float, Meta(ge=0, le=1e9)]


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What llama-server says of one request; its `timings` are read as this.

    :param cached: tokens of the prompt that it had evaluated before.
    :param evaluated: those that it had not; None: it does not say either of the two.
    :param answered: tokens of the answer.
    :param prompt_speed: tokens of the prompt that it evaluated in a second; None: unknown. It may
        be nothing, too.
    :param answer_speed: likewise of the answer.
    """

    cached: _Count = field(default=0, name="cache_n")
    evaluated: _Count | None = field(default=None, name="prompt_n")
    answered: _Count = field(default=0, name="predicted_n")
    prompt_speed: _Speed | None = field(default=None, name="prompt_per_second")
    answer_speed: _Speed | None = field(default=None, name="predicted_per_second")


class _Details(msgspec.Struct):
    cached_tokens: _Count = 0


class _Usage(msgspec.Struct):
    """OpenAI's, of completions and of responses, and Anthropic's."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: _Details | None = None
    cache_read_input_tokens: _Count | None = None

    def facts(self) -> Facts:
        """As facts."""
        answered = self.completion_tokens or self.output_tokens or 0
        if self.cache_read_input_tokens is not None:
            # Anthropic's input tokens are those beside the cached ones.
            return Facts(self.cache_read_input_tokens, self.input_tokens, answered)
        details = self.prompt_tokens_details or self.input_tokens_details
        prompt = self.input_tokens if self.prompt_tokens is None else self.prompt_tokens
        if details is None or prompt is None:
            return Facts(0, None, answered)
        return Facts(details.cached_tokens, max(0, prompt - details.cached_tokens), answered)


_timings_decoder = msgspec.json.Decoder(Facts)
_usage_decoder = msgspec.json.Decoder(_Usage)


def _timings(tail: bytes, begin: int) -> Facts | None:
    """The timings that begin there; None: they are none, or say nothing of the prompt."""
    try:
        facts = _timings_decoder.decode(tail[begin : tail.find(b"}", begin) + 1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if facts.evaluated is None else facts


def facts_in(tail: bytes) -> Facts | None:
    """What the end of an answer says; None: nothing that can be read.

    :param tail: its last `TAIL` bytes, or more.
    """
    place = tail.rfind(_WRITTEN)
    if place >= 0:
        facts = _timings(tail, place + len(_WRITTEN) - 1)
        if facts is not None:
            return facts
    place = tail.rfind(_TIMINGS)
    while place >= 0:
        begins = _FLAT.match(tail, place + len(_TIMINGS))
        if begins is not None:
            facts = _timings(tail, begins.end())
            if facts is not None:
                return facts
        place = tail.rfind(_TIMINGS, 0, place)
    place = tail.rfind(_USAGE)
    while place >= 0:
        found = _NESTED.match(tail, place)
        if found is not None:
            try:
                return _usage_decoder.decode(found[1]).facts()
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        place = tail.rfind(_USAGE, 0, place)
    return None
