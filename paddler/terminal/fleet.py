"""What is known of the balancer: values as its API gives them, and what changed since.

Fields that a newer balancer adds are ignored, and all but an agent's id may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from paddler.terminal.figures import port_in
from paddler.terminal.words import ISSUES, LOADING_LONG

__all__ = ["Agent", "Balancer", "Fleet", "Issue", "Point", "Queue"]

#: In these states an agent takes requests, now or once a slot is free.
_TAKING = frozenset(("ready", "full", "sleeping"))
#: In these an agent is sent requests, or ends those that it has.
_SERVING = frozenset(("ready", "full", "sleeping", "draining"))

#: The most points of history that are kept.
_MOST_POINTS = 180


@attrs.frozen
class Issue:
    """What is wrong with a llama-server, since when (Unix seconds), and who saw it."""

    issue: str
    since: float = 0.0
    seen_by: str = "agent"


@attrs.frozen
class Agent:
    """An agent and its llama-server, as `GET /api/v1/agents` shows them."""

    agent_id: str
    agent_name: str = "?"
    external_llamacpp_addr: str = ""
    state: str = "unreachable"
    issues: tuple[Issue, ...] = ()
    slots_total: int = 0
    slots_idle: int = 0
    slots_processing: int = 0
    in_flight: int = 0
    promised: int = 0
    foreign_busy: int = 0
    client_left: int = 0
    models: tuple[str, ...] = ()
    quarantined_until: float | None = None
    draining: bool = False
    last_update: float = 0.0
    error: str | None = None

    @property
    def known(self) -> bool:
        """Whether it is known what all its slots do."""
        return self.serving and self.slots_total > 0

    @property
    def taking(self) -> bool:
        """Whether it takes requests, now or once a slot is free."""
        return self.state in _TAKING and not self.draining

    @property
    def drained(self) -> bool:
        """Whether it was drained and answers nothing any more."""
        return self.draining and not self.busy

    @property
    def serving(self) -> bool:
        """Whether it answers requests, wrong with it what may be."""
        return self.state in _SERVING

    @property
    def busy(self) -> int:
        """Slots in use, by whomever."""
        return self.in_flight + self.foreign_busy + self.client_left

    @property
    def cells(self) -> dict[str, int]:
        """How many slots do what, by the kinds of cells in the order they are drawn.

        Those in use are known even in trouble; the rest is out then.
        """
        rest = max(0, self.slots_total - self.busy)
        return {
            "answering": max(0, self.in_flight - self.promised),
            "promised": self.promised,
            "foreign": self.foreign_busy,
            "left": self.client_left,
            "idle": rest if self.taking else 0,
            "out": 0 if self.taking else rest,
        }

    @property
    def model(self) -> str:
        """The model it serves, and how many names it has besides."""
        if not self.models:
            return ""
        return self.models[0] + (f" +{len(self.models) - 1}" if len(self.models) > 1 else "")

    @property
    def port(self) -> int:
        """The port of its llama-server."""
        return int(port_in(self.external_llamacpp_addr) or 8088)

    def trouble(self, now: float) -> Issue | None:
        """The issue that a person should look at first, the one behind its state if there is one.

        None for an agent that was drained, for that one may be stopped.

        :param now: Unix seconds.
        """
        if self.drained:
            return None
        wanted = [i for i in self.issues if i.issue != "loading" or now - i.since > LOADING_LONG]
        behind = [i for i in wanted if i.issue == self.state]
        if self.state == "unreachable":
            behind = [i for i in wanted if i.issue not in ("stale", "quarantined")]
            wanted = wanted or [Issue("unreachable", now, "balancer")]
        if self.state == "loading":
            return behind[0] if behind else None
        return next(iter(behind or wanted), None)

    def severe(self, now: float) -> bool:
        """Whether a person is needed now: it is in trouble that does not mend by itself."""
        issue = self.trouble(now)
        advice = None if issue is None else ISSUES.get(issue.issue)
        return advice is not None and advice.severe and not self.serving


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
class Point:
    """Some seconds of the past, as `GET /api/v1/history` shows them: None is not measured.

    :param time: when they ended, Unix seconds.
    """

    time: float = 0.0
    slots_processing: float | None = None
    slots_total: float | None = None
    requests_waiting: float | None = None
    requests: float | None = None
    ttfb_p50: float | None = None
    ttfb_p95: float | None = None
    errors: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Fleet:
    """All that is known at a moment.

    :param agents: by id.
    :param queue: the buffer.
    :param queue_at: when that was so, in Unix seconds; an oldest wait grows from then on.
    :param balancer: None: not known yet.
    :param history: oldest first.
    :param step: seconds from one point of it to the next.
    """

    agents: Mapping[str, Agent] = attrs.field(factory=dict)
    queue: Queue = Queue()
    queue_at: float = 0.0
    balancer: Balancer | None = None
    history: tuple[Point, ...] = ()
    step: float = 5.0

    def with_history(self, points: Iterable[Point]) -> Fleet:
        """With these points of the past, and empty ones where some are missing."""
        ordered = sorted(points, key=lambda point: point.time)
        placed: list[Point] = []
        for point in ordered:
            missing = round((point.time - placed[-1].time) / self.step) - 1 if placed else 0
            placed += [Point()] * min(max(0, missing), _MOST_POINTS)
            placed.append(point)
        return attrs.evolve(self, history=tuple(placed[-_MOST_POINTS:]))

    @property
    def timeout(self) -> float:
        """Seconds that a request may wait."""
        return 60.0 if self.balancer is None else self.balancer.request_buffer_timeout

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
