"""What is known of one prompt, as it was when it came."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from paddler.prompts import Prompt
from paddler.scheduling.slots import Upstream

__all__ = ["NoSessions", "Seen"]

#: Names of which it is known that they say nothing.
MOST = 4096


class Seen(msgspec.Struct, eq=False, gc=False):
    """What was known of a prompt when it came; tokens to evaluate are estimates.

    :param tokens: all of it.
    :param shared: those that other chats begin with too.
    :param there: for each upstream that has some of it, the tokens it would have to evaluate
        for this chat alone, and for others too.
    :param elsewhere: the same for any other upstream.
    :param whole: there are no others that have some of it.
    :param generation: of the memory that it was seen in.
    :param deepest: its last block that anybody has; -1: nobody has any.
    :param last_shared: its last block that is shared; -1: there is none.
    :param holders: who has the deepest block, as long as nothing changes.
    """

    prompt: Prompt
    tokens: float
    shared: float
    there: dict[Upstream, tuple[float, float]]
    elsewhere: tuple[float, float]
    whole: bool
    generation: int
    deepest: int
    last_shared: int
    holders: Mapping[Upstream, int]


class NoSessions(dict[int | None, None]):
    """Names of sessions that requests have which begin differently; the oldest are forgotten."""

    def add(self, session: int | None) -> None:
        """One more."""
        self[session] = None
        if len(self) > MOST:
            del self[next(iter(self))]
