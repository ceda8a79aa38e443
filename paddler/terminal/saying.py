"""What is said of the fleet, in sentences and in a word, of all of it and of one agent."""

from __future__ import annotations

import math

from paddler.terminal.counting import Counts
from paddler.terminal.figures import many, number, seconds, span
from paddler.terminal.fleet import Agent, Fleet, Issue
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
    "detail_of",
    "drain_question",
    "fix_of",
    "gist_of",
    "meaning_of",
    "report_of",
    "state_of",
    "summary",
    "verdict",
]

_Said = tuple[str, str]


def _waiting(fleet: Fleet, now: float) -> tuple[str, ...]:
    """Who waits, at length and shorter."""
    waiting = fleet.queue.requests_waiting
    if not waiting:
        return ("Nobody is waiting.", "Nobody waits.", "")
    oldest = seconds(fleet.oldest_wait(now))
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
    return next((way for way in ways if len(way) <= columns), ways[-1]), how


def _verdict(fleet: Fleet, counts: Counts, now: float) -> _Said:
    waits = fleet.queue.requests_waiting > 0
    late = "bad" if waits and fleet.oldest_wait(now) > fleet.timeout / 2 else ""
    slots = f"{number(counts.busy)} of {number(counts.usable)} slots busy"
    if not fleet.agents:
        return "No agents yet.", late or "warn" * waits
    if not counts.taking:
        return "No agent can take a request.", "bad"
    if counts.troubled:
        need = "needs" if counts.troubled == 1 else "need"
        return f"{many(counts.troubled, 'agent')} {need} attention.", late or "warn"
    if counts.busy >= counts.usable:
        return f"Full: {slots}.", late or "warn" * waits
    return f"{slots}.", late or "warn" * waits


def summary(fleet: Fleet, counts: Counts) -> str:
    """The sentence after the verdict, where there is room for one."""
    waits, limit = fleet.queue.requests_waiting, span(fleet.timeout)
    if not fleet.agents:
        if waits:
            return f"They are answered as soon as an agent joins, within {limit}; then they fail."
        return "Requests wait for the first agent to join."
    parts = [f"{number(counts.busy)} of {number(counts.usable)} slots busy."]
    if counts.cells["out"]:
        parts.append(f"{number(counts.cells['out'])} slots out of reach.")
    if waits:
        parts.append(f"A request may wait {limit} before it fails.")
    elif not counts.troubled:
        states: dict[str, int] = {}
        for agent in fleet.agents.values():
            word = STATES.get(agent.state, agent.state).lower()
            states[word] = states.get(word, 0) + 1
        parts.append("Agents: " + ", ".join(f"{n:,} {word}" for word, n in states.items()) + ".")
    return " ".join(parts)


def state_of(agent: Agent) -> str:
    """An agent's state in a word or two."""
    if agent.drained:
        return "Drained"
    if agent.state == "unreachable":
        for issue in agent.issues:
            if issue.issue in SHARPER:
                return SHARPER[issue.issue]
            if issue.issue == "unreachable":
                break
    return STATES.get(agent.state, agent.state)


def detail_of(agent: Agent, now: float) -> str:
    """The small print after the state; empty where there is none."""
    if agent.drained:
        return "safe to stop" if agent.state == "draining" else "stopped"
    if agent.draining:
        return f"{number(agent.busy)} left"
    if agent.state == "quarantined" and agent.quarantined_until is not None:
        return span(math.ceil(max(0.0, agent.quarantined_until - now)))
    if agent.state == "sleeping":
        return "wakes on demand"
    if agent.state == "unreachable" and state_of(agent) == STATES["unreachable"]:
        issue = agent.trouble(now)
        return span(now - issue.since) if issue is not None and now - issue.since >= 1 else ""
    return ""


def report_of(agent: Agent, now: float) -> str:
    """How its reports come: no digits until some are missing."""
    return f"{seconds(now - agent.last_update)} ago" if agent.state == "stale" else "on time"


def advice_on(issue: Issue) -> Advice:
    """What to know of an issue; one that this version does not know is named as it came."""
    if issue.issue == "unreachable" and issue.seen_by == "agent":
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


def drain_question(agent: Agent, fleet: Fleet, counts: Counts) -> str:
    """What is asked before an agent is drained."""
    running = agent.busy
    stay = max(0, counts.usable - running - agent.cells["idle"])
    ends = "finishes" if running == 1 else "finish"
    ending = f"{many(running, 'running answer')} {ends}" if running else "Nothing runs on it"
    if not stay:
        limit = span(fleet.timeout)
        return f"Drain {agent.agent_name}? The last one; new requests wait {limit}, then fail. y/N"
    left = f"{number(stay)} of {number(counts.usable)} slots stay"
    return f"Drain {agent.agent_name}? {ending}, {left}. y/N"
