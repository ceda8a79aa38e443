"""What others may know of the fleet: read-only values, made from the scheduler's state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import attrs
import msgspec

from paddler.scheduling.pace import Pace
from paddler.scheduling.slots import State, Upstream
from paddler.values import Issue, Model, Report

__all__ = [
    "AgentView",
    "FleetView",
    "IssueView",
    "ModelView",
    "PromptsView",
    "QueueView",
    "fleet_view",
    "models_view",
    "view_of",
]


@attrs.frozen
class IssueView:
    """What is wrong with a llama-server, since when (Unix seconds), and who saw it."""

    issue: Issue
    since: float
    seen_by: Literal["agent", "balancer"]


class PromptsView(msgspec.Struct, frozen=True):
    """What a llama-server's answers have said of their prompts, since its agent joined.

    :param tokens: of the prompts whose answers said what was cached; 0: none has yet.
    :param cached: those of them that it had in its cache.
    :param tokens_per_second: tokens of a prompt that it evaluates in a second, as learnt; None:
        not known.
    :param answer_tokens_per_second: likewise those of one answer that it makes.
    """

    tokens: int
    cached: int
    tokens_per_second: float | None
    answer_tokens_per_second: float | None


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
    :param prompts: what is learnt from its answers; None: nobody looks at prompts.
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
    prompts: PromptsView | None = None


@attrs.frozen
class QueueView:
    """The buffer.

    :param oldest_wait_seconds: how long the first in line has waited; 0 when nobody waits.
    :param limit: the most requests that may wait.
    :param models: how many wait for each model, by the name that they give.
    """

    requests_waiting: int
    bytes_waiting: int
    oldest_wait_seconds: float
    limit: int
    models: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class ModelView:
    """A model, as all servers together have it.

    :param aliases: what it is called by some of them.
    :param since: when it was first heard of, Unix seconds; 0: before any agent.
    :param owned_by: whose it is.
    :param capabilities: what it can do.
    :param meta: what a server tells of it: the one with the largest context.
    """

    id: str
    aliases: tuple[str, ...] = ()
    since: float = 0.0
    owned_by: str = "llamacpp"
    capabilities: tuple[str, ...] = ()
    meta: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen
class FleetView:
    """All agents together."""

    agents: int
    slots_total: int
    slots_idle: int
    slots_processing: int
    requests_waiting: int


def view_of(upstream: Upstream, pace: Pace | None = None) -> AgentView:
    """An upstream as others see it.

    :param pace: what its answers have said; None: nobody looks at prompts.
    """
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
        prompts=None if pace is None else _prompts_view(pace),
    )


def _prompts_view(pace: Pace) -> PromptsView:
    return PromptsView(
        tokens=pace.prompt_tokens,
        cached=pace.cached_tokens,
        tokens_per_second=None if pace.measured is None else round(pace.measured, 1),
        answer_tokens_per_second=None if pace.answer_speed is None else round(pace.answer_speed, 1),
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


def models_view(
    reports: Iterable[Report], known: Mapping[str, float], listed: Collection[str]
) -> tuple[ModelView, ...]:
    """All models that are served or listed, each once, in the order of their ids.

    :param reports: one of each kind of upstream.
    :param known: when each name was first heard of.
    :param listed: names that are there even while nobody serves them.
    """
    by_id: dict[str, Model] = {}
    for report in reports:
        for model in report.served:
            before = by_id.get(model.id, model)
            best = max(before, model, key=_context)
            names = dict.fromkeys((*before.aliases, *model.aliases))
            names.pop(model.id, None)
            by_id[model.id] = attrs.evolve(best, aliases=tuple(names))
    served = {name for model in by_id.values() for name in model.names}
    for name in listed:
        if name not in served:
            by_id[name] = Model(name)
    return tuple(
        ModelView(
            model.id,
            model.aliases,
            known.get(model.id, 0.0),
            model.owned_by,
            model.capabilities,
            model.meta,
        )
        for model in sorted(by_id.values(), key=lambda model: model.id)
    )


def _context(model: Model) -> float:
    n_ctx = model.meta.get("n_ctx")
    return n_ctx if isinstance(n_ctx, (int, float)) else 0
