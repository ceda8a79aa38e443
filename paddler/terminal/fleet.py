"""What is known of the balancer: its agents and all of them together, its queue, its past.

Values as its API gives them. Fields that a newer balancer adds are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from paddler.terminal.agent import Agent
from paddler.terminal.past import History
from paddler.terminal.words import CELLS

__all__ = ["Balancer", "Counts", "Fleet", "Queue"]


@attrs.frozen
class Queue:
    """The buffer, as `GET /api/v1/buffered_requests` shows it."""

    requests_waiting: int = 0
    bytes_waiting: int = 0
    oldest_wait_seconds: float = 0.0
    limit: int = 0


@attrs.frozen
class Balancer:
    """The balancer itself, as `GET /api/v1/balancer` shows it."""

    version: str = ""
    uptime_seconds: float = 0.0
    reverseproxy: str = ""
    management: str = ""
    request_buffer_timeout: float = 60.0
    refused_reports: int = 0


@attrs.frozen
class Fleet:
    """All that is known at a moment.

    :param agents: by id.
    :param queue: the buffer.
    :param queue_at: when that was so, in Unix seconds; an oldest wait grows from then on.
    :param balancer: None: not known yet.
    :param balancer_at: when that was so; its uptime grows from then on.
    :param history: the last minutes.
    """

    agents: Mapping[str, Agent] = attrs.field(factory=dict)
    queue: Queue = Queue()
    queue_at: float = 0.0
    balancer: Balancer | None = None
    balancer_at: float = 0.0
    history: History = History()

    @property
    def timeout(self) -> float:
        """Seconds that a request may wait."""
        return 60.0 if self.balancer is None else self.balancer.request_buffer_timeout

    @property
    def by_prompts(self) -> bool:
        """Whether the balancer looks at prompts."""
        return any(agent.prompts is not None for agent in self.agents.values())

    def uptime(self, now: float) -> float | None:
        """Seconds that the balancer runs by now; None: not known."""
        if self.balancer is None:
            return None
        return self.balancer.uptime_seconds + max(0.0, now - self.balancer_at)

    def oldest_wait(self, now: float) -> float:
        """How long the first in line has waited by now."""
        if not self.queue.requests_waiting:
            return 0.0
        return self.queue.oldest_wait_seconds + min(2.0, max(0.0, now - self.queue_at))

    def replaced(self, agents: Iterable[Agent]) -> Fleet:
        """With these agents and no others."""
        return attrs.evolve(self, agents={agent.agent_id: agent for agent in agents})

    def changed(self, agents: Iterable[Agent], gone: Iterable[str]) -> Fleet:
        """With these agents new or changed, and those gone."""
        kept = {**self.agents, **{agent.agent_id: agent for agent in agents}}
        for agent_id in gone:
            kept.pop(agent_id, None)
        return attrs.evolve(self, agents=kept)


@attrs.frozen
class Counts:
    """What some agents have together.

    :param cells: slots by what they do.
    :param troubled: agents that a person should look at.
    :param taking: agents that take requests, or would if a slot were free.
    """

    cells: Mapping[str, int]
    troubled: int
    taking: int

    @classmethod
    def of(cls, agents: Iterable[Agent], now: float) -> Counts:
        """Those of these agents."""
        cells, troubled, taking = dict.fromkeys(CELLS, 0), 0, 0
        for agent in agents:
            for kind, slots in agent.cells.items():
                cells[kind] += slots
            troubled += agent.trouble(now) is not None
            taking += agent.taking
        return cls(cells, troubled, taking)

    @property
    def total(self) -> int:
        """All slots."""
        return sum(self.cells.values())

    @property
    def usable(self) -> int:
        """Slots that are in use or can be."""
        return self.total - self.cells["out"]

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self.usable - self.cells["idle"]
