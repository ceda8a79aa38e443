"""How something is asked of a server, and what can come of it.

Nothing here does it; `paddler.web` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import attrs
from twisted.internet.defer import Deferred

__all__ = ["Answer", "Call", "NoAnswer", "Outcome"]


@attrs.frozen
class Answer:
    """An answer that came whole.

    :param status: its status code.
    :param body: its body, not decoded.
    """

    status: int
    body: bytes = b""


@attrs.frozen
class NoAnswer:
    """No answer, or not a whole one.

    :param kind: refused (nobody listens), lost (not found, or the connection ended),
        timeout, garbled (not HTTP, or far too much of it).
    :param problem: what happened, for a person.
    :param connected: whether there was a connection, as far as that is known.
    """

    kind: Literal["refused", "lost", "timeout", "garbled"]
    problem: str = ""
    connected: bool = True


#: What came of asking.
Outcome = Answer | NoAnswer


class Call(Protocol):
    """Asks one server something."""

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        seconds: float = 1.0,
        headers: Mapping[str, str] | None = None,
    ) -> Deferred[Outcome]:
        """Fire with what came of it within `seconds`; it fails only when it is cancelled."""
