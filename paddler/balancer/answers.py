"""The balancer's own answers: one table from what happened to what the client gets."""

from __future__ import annotations

import msgspec
from twisted.web.http import Request

from paddler.errors import (
    AdminEndpointDisabled,
    BodyTooLarge,
    ContextExceeded,
    HeadTooLarge,
    MalformedReport,
    MalformedRequest,
    MethodNotAllowed,
    ModelNotFound,
    NoConnection,
    NoSuchAgent,
    NoSuchPage,
    NoUpstream,
    OriginNotAllowed,
    PaddlerError,
    QueueFull,
    SlotsEndpointDisabled,
    Stopping,
    Unauthorized,
    UpstreamFailed,
    WaitedTooLong,
)

__all__ = [
    "INTERNAL_ERROR",
    "JSON",
    "STATUS",
    "error_answer",
    "error_body",
    "send_error",
    "send_json",
    "status_of",
]

JSON = (b"Content-Type", b"application/json")

#: The status code and the word in the error's body.
STATUS: dict[type[PaddlerError], tuple[int, str]] = {
    AdminEndpointDisabled: (403, "admin_endpoint_disabled"),
    BodyTooLarge: (413, "too_large"),
    ContextExceeded: (400, "exceed_context_size_error"),
    HeadTooLarge: (431, "headers_too_large"),
    MalformedReport: (400, "malformed_report"),
    MalformedRequest: (400, "malformed_request"),
    MethodNotAllowed: (405, "method_not_allowed"),
    ModelNotFound: (404, "model_not_found"),
    NoConnection: (503, "no_connection"),
    NoSuchAgent: (404, "no_such_agent"),
    NoSuchPage: (404, "not_found"),
    NoUpstream: (503, "no_upstream"),
    OriginNotAllowed: (403, "origin_not_allowed"),
    QueueFull: (429, "buffer_full"),
    SlotsEndpointDisabled: (403, "slots_endpoint_disabled"),
    Stopping: (503, "shutting_down"),
    Unauthorized: (401, "unauthorized"),
    UpstreamFailed: (502, "upstream_failed"),
    WaitedTooLong: (504, "buffer_timeout"),
}


def status_of(error: PaddlerError) -> tuple[int, str]:
    """The status code and the word for an error; its nearest ancestor in the table decides."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    raise LookupError(f"no answer is laid down for {type(error).__name__}")


def error_body(code: int, word: str, message: str, **more: int) -> bytes:
    """An error in llama-server's own shape.

    :param more: what some of its errors say beside that.
    """
    error = {"code": code, "message": message, "type": word, **more}
    return msgspec.json.encode({"error": error})


#: What a mistake of ours is answered with.
INTERNAL_ERROR = error_body(500, "internal_error", "the balancer failed; its log says how")


def send_json(request: Request, body: bytes, code: int = 200) -> None:
    """Answer with JSON and finish."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()


def error_answer(error: PaddlerError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """The answer to a client whose request met an error: status, more headers, body."""
    code, word = status_of(error)
    more: list[tuple[bytes, bytes]] = []
    if isinstance(error, (QueueFull, WaitedTooLong)):
        # When to ask again, where that is known.
        more.append((b"Retry-After", b"%d" % error.retry_after))
    told = {}
    if isinstance(error, ContextExceeded):
        told = {"n_prompt_tokens": error.tokens, "n_ctx": error.n_ctx}
    return code, more, error_body(code, word, str(error), **told)


def send_error(request: Request, error: PaddlerError) -> None:
    """Answer with an error and finish."""
    code, more, body = error_answer(error)
    for name, value in more:
        request.setHeader(name, value)
    send_json(request, body, code)
