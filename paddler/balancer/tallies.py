"""Counts of what became of requests, kept for Prometheus.

Told once for each request, so nothing here may be slow. How the counts are shown, and
when, is no concern of theirs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container
from typing import get_args

import attrs

from paddler.balancer.accounts import Finished, Phase, Retry
from paddler.scheduling.trust import Fault

__all__ = ["BOUNDS", "Histogram", "Tallies"]

#: Upper bounds in seconds: of a cached word, and of a long answer by a slow server.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0) + (
    120.0,
    300.0,
    600.0,
)
#: As many series of agents may be counted before those of agents that have gone are looked for.
FEW = 64


@attrs.define(eq=False)
class Histogram:
    """Durations, counted by how long they were."""

    #: One for each of `BOUNDS`, and one for those that were longer; each counted in one alone.
    counts: list[int] = attrs.field(factory=lambda: [0] * (len(BOUNDS) + 1), init=False)
    sum: float = attrs.field(default=0.0, init=False)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


@attrs.define(eq=False)
class Tallies:
    """Counts requests; a `Ledger`.

    :param agents: the names of those that are there. The series of others are dropped.
    """

    _agents: Callable[[], Container[str]]
    #: By the status that was sent and the agent's name, which is empty where none had a part.
    requests: dict[tuple[str, str], int] = attrs.field(factory=dict, init=False)
    #: Tokens of prompts by the agent's name: evaluated, and found in its server's cache.
    prompts: dict[str, tuple[int, int]] = attrs.field(factory=dict, init=False)
    retries: dict[Retry, int] = attrs.field(
        factory=lambda: dict.fromkeys((*get_args(Fault), "context"), 0), init=False
    )
    disconnects: dict[Phase, int] = attrs.field(
        factory=lambda: dict.fromkeys(get_args(Phase), 0), init=False
    )
    #: Of requests that wanted a slot and were not turned away.
    queue_wait: Histogram = attrs.field(factory=Histogram, init=False)
    #: Of requests that wanted a slot and were served.
    first_byte: Histogram = attrs.field(factory=Histogram, init=False)
    #: Of all requests.
    duration: Histogram = attrs.field(factory=Histogram, init=False)
    _looked_through_at: int = attrs.field(default=FEW, init=False)

    def finished(self, request: Finished) -> None:
        """See `Ledger`."""
        agent = request.agent
        key = request.status, agent or ""
        try:
            self.requests[key] += 1
        except KeyError:
            self._begin(key)
        if request.facts is not None and agent is not None:
            evaluated, cached = self.prompts.get(agent, (0, 0))
            facts = request.facts
            self.prompts[agent] = (
                evaluated + (facts.evaluated or 0),
                cached + facts.cached,
            )
        if request.left is not None:
            self.disconnects[request.left] += 1
        self.duration.observe(request.seconds)
        waited, first_byte = request.waited, request.first_byte
        if waited is not None:
            if agent is not None or request.code != 429:
                self.queue_wait.observe(waited)
            if first_byte is not None and request.good:
                self.first_byte.observe(first_byte)

    def retried(self, reason: Retry) -> None:
        """See `Ledger`."""
        self.retries[reason] += 1

    def keep(self, there: Container[str]) -> None:
        """Drop the series of all agents but these."""
        self.requests = {
            key: count for key, count in self.requests.items() if not key[1] or key[1] in there
        }
        self.prompts = {agent: each for agent, each in self.prompts.items() if agent in there}

    def _begin(self, key: tuple[str, str]) -> None:
        if len(self.requests) >= self._looked_through_at:
            # If nobody scrapes, nobody else would ever drop them.
            self.keep(self._agents())
            self._looked_through_at = max(FEW, 2 * len(self.requests))
        self.requests[key] = 1
