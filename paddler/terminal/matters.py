"""What needs a person: each kind of trouble once, with the agents that are in it and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs

from paddler.terminal.counting import Counts
from paddler.terminal.figures import number, seconds, span
from paddler.terminal.fleet import Agent, Fleet, Issue
from paddler.terminal.saying import advice_on, detail_of, fix_of, report_of
from paddler.terminal.words import ISSUES

__all__ = ["Matter", "fleet_matters", "matters"]


@attrs.frozen
class Matter:
    """One kind of thing that needs a person.

    :param who: the names of its agents.
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
            aside = _aside(agent, now)
            if word == "quarantined":
                short = f"left out, one request tries it in {detail_of(agent, now)}"
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


def _aside(agent: Agent, now: float) -> str:
    if agent.state == "quarantined":
        return f"back in {detail_of(agent, now)}"
    return report_of(agent, now) if agent.state == "stale" else detail_of(agent, now)


def fleet_matters(fleet: Fleet, counts: Counts, now: float) -> list[Matter]:
    """What is wrong with the fleet as a whole."""
    queue, found = fleet.queue, []
    each = max(1, round(counts.total / max(1, len(fleet.agents))))
    more = math.ceil(queue.requests_waiting / each)
    back = "bring back the agents below, or start" if counts.troubled else "start"
    fix = f"{back} about {number(more)} more like them"
    oldest = fleet.oldest_wait(now)
    if fleet.agents and queue.requests_waiting and oldest > fleet.timeout / 2:
        aside = f"oldest {seconds(oldest)} of {span(fleet.timeout)}"
        found.append(Matter("Requests wait too long", "", True, (), aside, fix, "", now))
    if fleet.agents and queue.limit and queue.requests_waiting >= queue.limit:
        aside = f"buffer {number(queue.requests_waiting)} of {number(queue.limit)}"
        found.append(Matter("Requests are turned away", "", True, (), aside, fix, "", now))
    return found
