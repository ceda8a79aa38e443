"""What others may know of the fleet: read-only values, made from the scheduler's state."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import attrs

from paddler.scheduling.slots import State, Upstream
from paddler.values import Issue

__all__ = ["AgentView", "FleetView", "IssueView", "QueueView", "fleet_view", "view_of"]


@attrs.frozen
class IssueView:
    """What is wrong with a llama-server, since when (Unix seconds), and who saw it."""

    issue: Issue
    since: float
    seen_by: Literal["agent", "balancer"]


@attrs.frozen
class AgentView:
    """An agent and its llama-server, as the management API shows them.

    :param slots_idle: what can be granted now: 0 unless the state is ready.
    :param slots_processing: in_flight + foreign_busy + client_left.
    :param in_flight: slots promised to requests of ours.
    :param promised: the part of in_flight that no report has shown yet.
    :param foreign_busy: slots busy for others than us.
    :param client_left: slots that may still work for clients that have gone.
    :param last_update: when its last report came, Unix seconds; two views that differ in
        nothing else are equal.
    :param error: what went wrong when a request was last sent there; None after a good one.
    """

    agent_id: str
    agent_name: str
    external_llamacpp_addr: str
    state: State
    issues: tuple[IssueView, ...]
    slots_total: int
    slots_idle: int
    slots_processing: int
    in_flight: int
    promised: int
    foreign_busy: int
    client_left: int
    models: tuple[str, ...]
    quarantined_until: float | None
    draining: bool
    last_update: float = attrs.field(eq=False)
    error: str | None


@attrs.frozen
class QueueView:
    """The buffer.

    :param oldest_wait_seconds: how long the first in line has waited; 0 when nobody waits.
    :param limit: the most requests that may wait.
    """

    requests_waiting: int
    bytes_waiting: int
    oldest_wait_seconds: float
    limit: int


@attrs.frozen
class FleetView:
    """All agents together."""

    agents: int
    slots_total: int
    slots_idle: int
    slots_processing: int
    requests_waiting: int


def view_of(upstream: Upstream) -> AgentView:
    """An upstream as others see it."""
    state = upstream.state
    issues = [IssueView(i, upstream.issues_since[i], "agent") for i in upstream.report.issues]
    trust = upstream.trust
    if trust.until is not None:
        issues.insert(0, IssueView("quarantined", trust.quarantined_at, "balancer"))
    if trust.waits_for_report is not None:
        issues.insert(0, IssueView(trust.waits_for_report, trust.since, "balancer"))
    if upstream.stale_since is not None:
        issues.insert(0, IssueView("stale", upstream.stale_since, "balancer"))
    return AgentView(
        agent_id=upstream.agent_id,
        agent_name=upstream.name,
        external_llamacpp_addr=str(upstream.address),
        state=state,
        issues=tuple(issues),
        slots_total=upstream.total,
        slots_idle=upstream.free if state == "ready" else 0,
        slots_processing=upstream.processing,
        in_flight=upstream.in_flight,
        promised=upstream.promised,
        foreign_busy=upstream.foreign_busy,
        client_left=upstream.client_left,
        models=upstream.report.models,
        quarantined_until=trust.until,
        draining=upstream.draining,
        last_update=upstream.last_update,
        error=upstream.error,
    )


def fleet_view(upstreams: Collection[Upstream], waiting: int) -> FleetView:
    """All agents together.

    :param upstreams: those that have an agent.
    :param waiting: requests in line.
    """
    total = idle = processing = 0
    for upstream in upstreams:
        taken = upstream.processing
        total += upstream.total
        processing += taken
        # The slots before the state, which takes longer to tell.
        if upstream.total > taken and upstream.state == "ready":
            idle += upstream.total - taken
    return FleetView(
        agents=len(upstreams),
        slots_total=total,
        slots_idle=idle,
        slots_processing=processing,
        requests_waiting=waiting,
    )
