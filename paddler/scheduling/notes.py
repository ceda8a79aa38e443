"""What operators are told once, when it happens."""

from __future__ import annotations

from typing import Literal

import attrs

from paddler.scheduling.slots import Upstream

__all__ = ["Note", "note"]

What = Literal["joined", "taken_over", "moved", "stale", "forgotten", "state"]


@attrs.frozen
class Note:
    """Something that has happened to an agent or its llama-server.

    :param what: the event; `state` says that its state is another.
    :param agent: the agent's name.
    :param upstream: the llama-server's address.
    :param detail: what belongs to it, in words.
    """

    what: What
    agent: str
    upstream: str
    detail: str


def note(what: What, upstream: Upstream, detail: str) -> Note:
    """A note about an upstream as it is now."""
    return Note(what, upstream.name, str(upstream.address), detail)
