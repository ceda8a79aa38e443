"""Why the last requests went where they went, for who wants to know."""

from __future__ import annotations

from typing import Literal

import attrs

from paddler.scheduling.lines import Need
from paddler.scheduling.slots import Upstream
from paddler.scheduling.standing import Costs

__all__ = ["KEPT", "Decision", "Granted", "Why", "why"]

#: How many are kept.
KEPT = 100

#: `new`: nobody had any of its prompt. `prefix`: nobody had more of it. `load`: somebody had more,
#: where it would have cost more all the same, or who could not take it. `fairness`: it had been
#: passed over for too long, or slots were kept for it. `conversation`: what it belongs to is there.
#: `idle`: it had no prompt to go by.
Why = Literal["new", "prefix", "load", "fairness", "conversation", "idle"]

_SAID: dict[Why, str] = {
    "new": "Nobody had any of its prompt.",
    "prefix": "Nobody had more of its prompt.",
    "load": "Somebody had {most} of its prompt, but would have cost more or could not take it.",
    "fairness": "It was its turn, wherever a slot was free.",
    "conversation": "Its conversation is there.",
    "idle": "It has no prompt to go by: most idle slots first.",
}

#: Tokens and a share of them that make no difference.
FEW, SLIGHT = 16, 0.05


@attrs.frozen
class Decision:
    """One request that was granted its slots.

    What it costs is in seconds: for how long it keeps everybody waiting, as estimated.

    :param at: when, in the caller's seconds.
    :param request_id: the client's id for it, or ours.
    :param model: that it named, or the only one of the server that it went to; None: neither.
    :param agent: whose llama-server it went to.
    :param reason: why, in words.
    :param waited_seconds: how long it had waited for that.
    :param prompt_tokens: of its prompt, as estimated; 0: it had none to go by.
    :param cached_tokens: those that the server was believed to have.
    :param most_cached_tokens: the most that any server was believed to have.
    :param cost_seconds: what it costs there; None: nobody asked.
    :param next_agent: where it would have cost least but there; None: nobody asked, or there was
        no other server.
    :param next_cost_seconds: what it would have cost there, or without a `next_agent` at least
        anywhere else; None: there was no other server, or nobody asked.
    """

    at: float
    request_id: str
    model: str | None
    agent: str
    why: Why
    reason: str
    waited_seconds: float
    prompt_tokens: int
    cached_tokens: int
    most_cached_tokens: int
    cost_seconds: float | None
    next_agent: str | None
    next_cost_seconds: float | None


#: A grant, as far as it is told of: the request's id, its need, and when it came; where it went,
#: when, and whether it was its turn wherever a slot was free; the tokens of its prompt, those that
#: were to be evaluated there, and the fewest anywhere; the costs. Nothing large is kept for it.
Granted = tuple[str, Need, float, Upstream, float, bool, float | None, float, float, Costs]


def why(granted: Granted) -> Decision:
    """What is said of a grant."""
    request_id, need, arrived_at, upstream, now, fair, tokens, missing, least, costs = granted
    cached = most = 0.0
    here = after = None
    other: Upstream | None = None
    if tokens is not None:
        cached = max(0.0, tokens - missing)
        most = max(cached, tokens - least)
        here, after, other = costs
    word = _word(need.where is upstream, fair, tokens is not None, cached, most)
    tokens = tokens or 0.0
    served = upstream.report.served
    return Decision(
        at=now,
        request_id=request_id,
        model=need.model or (served[0].id if len(served) == 1 else None),
        agent=upstream.name,
        why=word,
        reason=_SAID[word].format(most=f"{most / max(1.0, tokens):.0%}".replace("%", " %"))
        + _compared(here, after, other),
        waited_seconds=round(max(0.0, now - arrived_at), 3),
        prompt_tokens=round(tokens),
        cached_tokens=round(cached),
        most_cached_tokens=round(most),
        cost_seconds=None if here is None else round(here, 3),
        next_agent=None if other is None else other.name,
        next_cost_seconds=None if after is None else round(after, 3),
    )


def _word(stays: bool, fair: bool, known: bool, cached: float, most: float) -> Why:
    if stays:
        return "conversation"
    if fair:
        return "fairness"
    if not known:
        return "idle"
    if most <= FEW:
        return "new"
    return "prefix" if cached + FEW >= most * (1 - SLIGHT) else "load"


def _compared(here: float | None, after: float | None, other: Upstream | None) -> str:
    """What it costs there and elsewhere, in words."""
    if here is None:
        return ""
    told = f" It cost {_seconds(here)} there"
    if after is None:
        return f"{told}; no other server could take it."
    if other is None:
        return f"{told}, and at least {_seconds(after)} anywhere else."
    return f"{told}, and {_seconds(after)} at the next best."


def _seconds(value: float) -> str:
    if value < 0.9995:
        return f"{round(value * 1000)} ms"
    return f"{value:.1f} s" if value < 9.95 else f"{value:,.0f} s"
