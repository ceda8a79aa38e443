"""What needs a person: each kind of trouble once, with the agents that are in it and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs

from paddler.terminal.agent import Agent, Issue
from paddler.terminal.figures import count, number, waited
from paddler.terminal.fleet import Counts, Fleet
from paddler.terminal.saying import advice_on, detail_of, fix_of, report_of
from paddler.terminal.words import ISSUES

__all__ = ["Matter", "fleet_matters", "matters"]


@attrs.frozen
class Matter:
    """One kind of thing that needs a person.

    :param who: the names of its agents.
    :param short: the same in a row; empty: there it is not told.
    :param aside: a time that belongs to it, where it is about one agent.
    :param fix: what to do, in full and in brief; the brief one may be empty.
    :param since: when the newest of it began.
    """

    title: str
    short: str
    severe: bool
    who: tuple[str, ...]
    aside: str
    fix: str
    brief: str
    since: float


def matters(agents: Iterable[Agent], now: float) -> list[Matter]:
    """All kinds of trouble among these agents, each once, the worst and then the largest first."""
    groups: dict[tuple[str, str, bool], list[tuple[Agent, Issue]]] = {}
    for agent in agents:
        issue = agent.trouble(now)
        if issue is not None:
            kind = (issue.issue, advice_on(issue).todo, agent.severe(now))
            groups.setdefault(kind, []).append((agent, issue))
    found = []
    for (word, _, severe), members in groups.items():
        members.sort(key=lambda pair: pair[0].agent_name)
        agent, issue = members[0]
        advice = advice_on(issue)
        aside, short, brief = "", advice.short, advice.brief.replace("{port}", str(agent.port))
        if len(members) == 1:
            aside = report_of(agent, now) if agent.state == "stale" else detail_of(agent, now)
            if word == "quarantined":
                tries = aside.replace("back", "one request tries it")
                short = f"{short}, {tries}"
        found.append(
            Matter(
                title=advice.title,
                short=short,
                severe=severe,
                who=tuple(member.agent_name for member, _ in members),
                aside=aside,
                fix=fix_of(agent, now),
                brief=brief,
                since=max(since.since for _, since in members),
            )
        )
    order = list(ISSUES.values())
    ranks = {advice.title: rank for rank, advice in enumerate(order)}
    found.sort(key=lambda m: (not m.severe, -len(m.who), ranks.get(m.title, len(ranks))))
    return found


def fleet_matters(fleet: Fleet, counts: Counts, now: float) -> list[Matter]:
    """What is wrong with the fleet as a whole."""
    queue, found = fleet.queue, []
    waiting, limit = queue.requests_waiting, queue.limit
    if not fleet.agents or not waiting:
        return []
    each = max(1, round(counts.total / len(fleet.agents)))
    back = "bring back the agents below, or start" if counts.troubled else "start"
    fix = f"{back} about {number(math.ceil(waiting / each))} more like them"
    if limit and waiting >= limit:
        full = f"the buffer is full ({number(waiting)} of {number(limit)})"
        short = f"{full}: new requests get 429"
        found.append(Matter("Requests are turned away", short, True, (), full, fix, "", now))
    oldest = fleet.oldest_wait(now)
    if oldest > fleet.timeout / 2:
        aside = f"oldest {waited(oldest)} of {count(fleet.timeout)} s"
        found.append(Matter("Requests wait too long", "", True, (), aside, fix, "", now))
    return found
