"""Why the last requests went where they went, for who wants to know."""

from __future__ import annotations

from typing import Literal

import attrs

from paddler.scheduling.heads import Seen
from paddler.scheduling.lines import Waiter
from paddler.scheduling.slots import Upstream

__all__ = ["KEPT", "Decision", "Why", "why"]

#: How many are kept.
KEPT = 100

#: `new`: nobody had any of its prompt. `prefix`: nobody had more of it. `load`: somebody had more,
#: where it would have cost more all the same. `fairness`: it had been passed over for too long, or
#: slots were kept for it. `idle`: it had no prompt to go by.
Why = Literal["new", "prefix", "load", "fairness", "idle"]

#: Tokens and a share of them that make no difference.
FEW, SLIGHT = 16, 0.05


@attrs.frozen
class Decision:
    """One request that was granted its slots.

    :param at: when, in the caller's seconds.
    :param request_id: the client's id for it, or ours.
    :param agent: whose llama-server it went to.
    :param waited_seconds: how long it had waited for that.
    :param prompt_tokens: of its prompt, as estimated.
    :param cached_tokens: those that the server was believed to have.
    :param most_cached_tokens: the most that any server was believed to have.
    """

    at: float
    request_id: str
    agent: str
    why: Why
    waited_seconds: float
    prompt_tokens: int
    cached_tokens: int
    most_cached_tokens: int


def why(
    waiter: Waiter, seen: Seen | None, upstream: Upstream, missing: float, now: float, fair: bool
) -> Decision:
    """What is said of a grant.

    :param missing: tokens of its prompt that the server does not have.
    :param fair: it was its turn, wherever a slot was free.
    """
    tokens = cached = most = 0.0
    reason: Why = "idle"
    if seen is not None:
        tokens = seen.tokens
        cached = max(0.0, tokens - missing)
        most = max((tokens - sum(each) for each in seen.there.values()), default=0.0)
        most = max(most, cached)
        if most <= FEW:
            reason = "new"
        else:
            reason = "prefix" if cached + FEW >= most * (1 - SLIGHT) else "load"
    return Decision(
        at=now,
        request_id=waiter.request_id,
        agent=upstream.name,
        why="fairness" if fair else reason,
        waited_seconds=round(max(0.0, now - waiter.arrived_at), 3),
        prompt_tokens=round(tokens),
        cached_tokens=round(cached),
        most_cached_tokens=round(most),
    )
