"""Slots and agents, added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from paddler.terminal.fleet import Agent
from paddler.terminal.words import CELLS

__all__ = ["Counts"]


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
