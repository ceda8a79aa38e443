"""Which agents are listed, and in which order."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from paddler.terminal.agent import Agent

__all__ = ["ORDERS", "Order", "matching", "rank_of"]

#: Ways to sort, and how each is told.
ORDERS = {"trouble": "trouble, then name", "load": "load, then name", "name": "name"}

#: Seconds for which an order by load stays, so that rows don't jump about.
_CALM = 5.0

_DIGITS = re.compile(r"(\d+)")


def rank_of(agent: Agent, now: float) -> int:
    """How soon one wants to see it: severe, warned, draining, serving, resting."""
    if agent.severe(now):
        return 0
    if agent.trouble(now) is not None:
        return 1
    if agent.draining:
        return 2
    return 4 if agent.state in ("loading", "sleeping") else 3


def _by_name(agent: Agent) -> tuple[list[str | tuple[int, str]], str]:
    # gpu-9 before gpu-10: digits as numbers, at every second place and so never beside text.
    parts = _DIGITS.split(agent.agent_name.casefold())
    return [(int(p), p) if i % 2 else p for i, p in enumerate(parts)], agent.agent_id


def matching(agents: Iterable[Agent], text: str, trouble_only: bool, now: float) -> list[Agent]:
    """The agents with this text in their name, address, state or a model's name."""
    wanted = text.casefold().strip()
    return [
        agent
        for agent in agents
        if (not trouble_only or agent.trouble(now) is not None)
        and (
            not wanted
            or wanted
            in " ".join(
                (agent.agent_name, agent.external_llamacpp_addr, agent.state, *agent.models)
            ).casefold()
        )
    ]


@attrs.define(eq=False)
class Order:
    """Sorts, and keeps an order by load for a while."""

    _loads: dict[str, float] = attrs.field(factory=dict, init=False)
    _taken_at: float = attrs.field(default=0.0, init=False)

    def of(self, agents: list[Agent], by: str, now: float) -> list[Agent]:
        """These agents in order.

        :param by: one of `ORDERS`.
        """
        named = sorted(agents, key=_by_name)
        if by == "trouble":
            return sorted(named, key=lambda agent: rank_of(agent, now))
        if by == "load":
            if not 0 <= now - self._taken_at < _CALM:
                self._taken_at = now
                self._loads = {a.agent_id: _load(a) for a in agents}
            return sorted(named, key=lambda agent: -self._loads.get(agent.agent_id, -2.0))
        return named


def _load(agent: Agent) -> float:
    return agent.busy / agent.slots_total if agent.known and agent.slots_total else -1.0
