"""What is said of the fleet, in sentences and in a word, of all of it and of one agent."""

from __future__ import annotations

import math

from paddler.terminal.agent import Agent, Issue
from paddler.terminal.figures import (
    clip,
    columns_of,
    count,
    many,
    number,
    percent,
    rate,
    seconds,
    span,
    waited,
)
from paddler.terminal.fleet import Counts, Fleet
from paddler.terminal.past import MINUTES
from paddler.terminal.words import (
    BLOCKED,
    ISSUES,
    SERVED,
    SHARPER,
    STATES,
    UNREACHABLE_FOR_AGENT,
    Advice,
)

__all__ = [
    "advice_on",
    "brief_of",
    "detail_of",
    "drain_question",
    "drain_warning",
    "fix_of",
    "gist_of",
    "meaning_of",
    "prompts_of",
    "report_of",
    "state_of",
    "summary",
    "verdict",
]

_Said = tuple[str, str]

#: What is left out where there is little room.
_BRIEF = (
    (" answers left", " left"),
    (" answer left", " left"),
    ("back in ", ""),
    ("for ", ""),
    ("one request tries it", "tried"),
)


def _waiting(fleet: Fleet, now: float) -> tuple[str, ...]:
    """Who waits, at length and shorter."""
    waiting = fleet.queue.requests_waiting
    if not waiting:
        return ("Nobody is waiting.", "Nobody waits.", "")
    oldest = waited(fleet.oldest_wait(now))
    return (
        f"{many(waiting, 'request')} waiting, the oldest for {oldest}.",
        f"{number(waiting)} waiting, oldest {oldest}.",
        f"{number(waiting)} waiting.",
    )


def verdict(fleet: Fleet, counts: Counts, now: float, columns: int = 1000) -> _Said:
    """The first thing anyone reads, and how bad it is (`bad`, `warn` or nothing).

    :param now: Unix seconds.
    :param columns: how long it may be; it is said more shortly where that is needed.
    """
    head, how = _verdict(fleet, counts, now)
    waits = _waiting(fleet, now) if fleet.agents or fleet.queue.requests_waiting else ("",)
    ways = [f"{head} {wait}".rstrip() for wait in waits]
    return _fitting(columns, *ways), how


def _verdict(fleet: Fleet, counts: Counts, now: float) -> _Said:
    waits = fleet.queue.requests_waiting > 0
    late = "bad" if waits and fleet.oldest_wait(now) > fleet.timeout / 2 else ""
    if not fleet.agents:
        return "No agents yet.", late or "warn" * waits
    if not counts.taking:
        return "No agent can take a request.", "bad"
    if counts.troubled:
        need = "needs" if counts.troubled == 1 else "need"
        return f"{many(counts.troubled, 'agent')} {need} attention.", late or "warn"
    if counts.busy >= counts.usable:
        return f"Full: {_slots(counts)}.", late or "warn" * waits
    return f"{_slots(counts)}.", late or "warn" * waits


def _slots(counts: Counts) -> str:
    return f"{number(counts.busy)} of {number(counts.usable)} slots busy"


def summary(fleet: Fleet, counts: Counts) -> str:
    """The sentence after the verdict, where there is room for one."""
    waits, limit = fleet.queue.requests_waiting, f"{count(fleet.timeout)} s"
    out = counts.cells["out"]
    left = f" {many(out, 'slot')} out of reach." if out else ""
    if not fleet.agents:
        if not waits:
            return "Requests wait for the first agent to join."
        return (
            f"They are answered as soon as an agent joins, within {limit} of asking; "
            "after that they fail with 504."
        )
    if not counts.taking and counts.troubled:
        several = f"{number(counts.troubled)} agents are"
        who = "One agent is" if counts.troubled == 1 else several
        return f"{who} in trouble; what to do is below."
    if not counts.taking:
        return f"{_states(fleet)}. A request may wait {limit} before it fails."
    if counts.troubled:
        fails = f" A request may wait {limit} before it fails." if waits else ""
        return f"{_slots(counts)}.{left}{fails}"
    if counts.busy >= counts.usable:
        return f"A request may wait {limit}.{left}"
    longest = fleet.history.longest_wait
    told = f" Longest wait in {MINUTES} minutes: {seconds(longest)}." if longest else ""
    return f"{_states(fleet)}.{told}"


def _states(fleet: Fleet) -> str:
    found = [agent.state for agent in fleet.agents.values()]
    words = {**{state: state for state in found}, **STATES}
    told = ((found.count(state), word.lower()) for state, word in words.items())
    return ", ".join(f"{number(n)} {word}" for n, word in told if n)


def state_of(agent: Agent) -> str:
    """An agent's state in a word or two."""
    if agent.drained:
        return "Drained"
    if agent.state == "unreachable":
        issue = agent.trouble(0.0)
        if issue is not None and issue.issue in SHARPER:
            return SHARPER[issue.issue]
    return STATES.get(agent.state, agent.state)


def detail_of(agent: Agent, now: float) -> str:
    """The small print after the state; empty where there is none."""
    if agent.drained:
        return "safe to stop" if agent.state == "draining" else "stopped"
    if agent.draining:
        return f"{many(agent.busy, 'answer')} left"
    if agent.state == "quarantined":
        left = math.ceil((agent.quarantined_until or now) - now)
        return f"back in {span(left)}" if left > 0 else "one request tries it next"
    if agent.state == "sleeping":
        return "wakes on demand"
    issue = agent.trouble(now)
    if issue is None:
        return ""
    if agent.state == "unreachable" and state_of(agent) == STATES["unreachable"]:
        return f"for {span(now - issue.since)}" if now - issue.since >= 1 else ""
    return advice_on(issue).short if agent.serving else ""


def brief_of(agent: Agent, now: float) -> str:
    """The same in a row."""
    detail = detail_of(agent, now)
    for long, short in _BRIEF:
        detail = detail.replace(long, short)
    return detail


def report_of(agent: Agent, now: float) -> str:
    """How its reports come: no digits until some are missing."""
    ago = seconds(max(1.0, now - agent.last_update))
    return f"{ago} ago" if agent.state == "stale" else "on time"


def prompts_of(agent: Agent) -> str:
    """What is known of its prompts; empty where nobody looks at them."""
    prompts = agent.prompts
    if prompts is None:
        return ""
    read, written = (
        "unknown" if speed is None else f"{rate(speed)} tokens/s"
        for speed in (prompts.tokens_per_second, prompts.answer_tokens_per_second)
    )
    share = percent(prompts.share)
    return f"Cached: {share} of prompt tokens. Prompts: {read}. Answers: {written}."


def advice_on(issue: Issue) -> Advice:
    """What to know of an issue; one that this version does not know is named as it came."""
    if issue.issue == "unreachable" and issue.by_agent:
        return UNREACHABLE_FOR_AGENT
    known = ISSUES.get(issue.issue)
    return known or Advice(
        issue.issue, issue.issue, issue.issue, "", "Its log may have the reason:", ""
    )


def fix_of(agent: Agent, now: float) -> str:
    """What to copy to mend an agent; empty when nothing is wrong with it."""
    issue = agent.trouble(now)
    return "" if issue is None else advice_on(issue).fix.replace("{port}", str(agent.port))


def meaning_of(agent: Agent, issue: Issue) -> str:
    """What an issue of an agent means, and what the balancer does."""
    advice = advice_on(issue)
    if advice.says_all:
        return advice.why
    done = SERVED if agent.serving else BLOCKED
    return f"{advice.why} {done[0].upper()}{done[1:]}.".lstrip()


def gist_of(agent: Agent, issue: Issue) -> str:
    """The same in a line."""
    gist = advice_on(issue).gist.replace("{address}", agent.external_llamacpp_addr)
    return f"{gist}, {SERVED if agent.serving else BLOCKED}."


def drain_question(agent: Agent, fleet: Fleet, columns: int) -> str:
    """What is asked before an agent is drained.

    :param columns: how long it may be; the end of it is never cut off.
    """
    # Where nothing new goes no slot stays, though answers may still run there.
    taking = [other for other in fleet.agents.values() if other.taking]
    slots = sum(other.slots_total for other in taking)
    stay = sum(other.slots_total for other in taking if other is not agent)
    ends = "finishes" if agent.busy == 1 else "finish"
    runs = f"{many(agent.busy, 'running answer')} {ends}" if agent.busy else "Nothing runs on it"
    stays = f"{number(stay)} of {number(slots)} slots stay"
    asked = f"Drain {agent.agent_name}?"
    short = f"Drain {clip(agent.agent_name, max(1, columns - 11))}? y/N"
    return _fitting(columns, f"{asked} {runs}, {stays}. y/N", f"{asked} {stays}. y/N", short)


def drain_warning(agent: Agent, fleet: Fleet, columns: int) -> str:
    """What to know before an agent is drained; empty when nobody is worse off for it."""
    waiting, limit = fleet.queue.requests_waiting, f"{count(fleet.timeout)} s"
    if not agent.taking:
        return ""
    if not any(other.taking for other in fleet.agents.values() if other is not agent):
        return _fitting(
            columns,
            "This is the last agent taking requests. "
            f"New ones will wait {limit}, then fail with 504.",
            f"The last one taking requests: new ones wait {limit}, then fail.",
            f"The last one: new ones wait {limit}.",
        )
    if not waiting:
        return ""
    are = "is" if waiting == 1 else "are"
    return f"{many(waiting, 'request')} {are} waiting already and will wait longer."


def _fitting(columns: int, *ways: str) -> str:
    """The first of these that is no longer, or the last."""
    return next((way for way in ways if columns_of(way) <= columns), ways[-1])
