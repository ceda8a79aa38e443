"""Which llama-server has which conversation's stream.

A chat that comes with `X-Conversation-Id` goes on in llama-server when its client leaves, and can
be taken up again or stopped at `/v1/stream?conv_id=`: there, and nowhere else. So it is
remembered where each was sent last.
"""

from __future__ import annotations

import attrs
import msgspec

from paddler.balancer.answers import error_body
from paddler.values import Address

__all__ = ["Conversations", "asked_for", "fits", "no_stream"]

#: Conversations that are remembered, and for how many seconds.
MOST = 10_000
AGE = 3600.0
#: Bytes of an id; a longer one is none.
LONGEST = 256


@attrs.define(eq=False)
class Conversations:
    """Where they are; times are the caller's seconds."""

    #: The one that went on last comes last.
    _where: dict[bytes, tuple[Address, float]] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._where)

    def goes_to(self, conversation: bytes, address: Address, now: float) -> None:
        """A chat of it was sent there."""
        self._where.pop(conversation, None)
        self._where[conversation] = address, now
        first, (_, since) = next(iter(self._where.items()))
        if len(self._where) > MOST or not 0 <= now - since < AGE:
            del self._where[first]

    def where(self, conversation: bytes, now: float) -> Address | None:
        """Where it is; None: that is not known, or no more."""
        address, since = self._where.get(conversation, (None, 0.0))
        return address if 0 <= now - since < AGE else None


def fits(conversation: bytes) -> bool:
    """Whether it is an id, as far as it matters here."""
    return 0 < len(conversation) <= LONGEST


class _Asked(msgspec.Struct):
    conversation_ids: list[str] = []


def asked_for(body: bytes) -> list[bytes]:
    """The conversations that a body asks for."""
    try:
        return [its.encode() for its in msgspec.json.decode(body, type=_Asked).conversation_ids]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return []


def no_stream(method: bytes) -> tuple[int, bytes]:
    """What llama-server answers of a stream that it has not: one that is stopped needs no stop."""
    if method == b"DELETE":
        return 204, b""
    return 404, error_body(404, "not_found_error", "File Not Found")
