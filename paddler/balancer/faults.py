"""Whose fault it is that a request was not answered well: the server's or its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from paddler.errors import ContextExceeded, UpstreamFailed, UpstreamRefused
from paddler.scheduling.trust import Fault

__all__ = ["context_exceeded", "fault_in_answer", "fault_of"]

#: Seconds within which an error came too fast for any work to be done.
FAST = 0.1
#: What llama-server answers with 5xx to what it can't do, or not with this request.
_REQUESTS_OWN = (501,)
_CONTEXT_EXCEEDED = b"Context size has been exceeded"
_LOADING = b"loading model"
_EXCEEDED = b"exceed_context_size_error"


#: As many as a report may tell of; what says otherwise is passed on as it is.
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Exceeded(msgspec.Struct):
    type: Literal["exceed_context_size_error"]
    n_prompt_tokens: _Tokens
    n_ctx: _Tokens


class _ExceededBody(msgspec.Struct):
    error: _Exceeded


def context_exceeded(code: int, answer: bytes) -> ContextExceeded | None:
    """What an answer says of a prompt that was too long; None: that was not what was wrong.

    :param answer: its body.
    """
    if code != 400 or _EXCEEDED not in answer:
        return None
    try:
        error = msgspec.json.decode(answer, type=_ExceededBody).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return ContextExceeded(error.n_prompt_tokens, error.n_ctx)


def fault_of(error: UpstreamFailed) -> Fault:
    """What an upstream did that answered with nothing, or not with all of it."""
    return "refused" if isinstance(error, UpstreamRefused) else "died"


def fault_in_answer(code: int, answer: bytes, seconds: float, request: Any) -> Fault | None:
    """What an answer with a status from 500 says of the upstream.

    :param answer: its body.
    :param seconds: how long it took.
    :param request: the request's body, an `IBody`.
    :returns: loading; error: it failed by itself; None: that can't be told, or it was the
        request, which other servers would answer no better.
    """
    if code == 503 and _LOADING in answer.lower():
        return "loading"
    if code in _REQUESTS_OWN or _CONTEXT_EXCEEDED in answer or seconds > FAST:
        return None
    return "error" if _is_json(request.read()) else None


def _is_json(body: bytes) -> bool:
    """Whether llama-server can have read it: some versions call a broken body their own error."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
