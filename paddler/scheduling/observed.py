"""What may be read of a scheduler; nothing here changes it."""

from __future__ import annotations

import math

import attrs

from paddler.errors import NoSuchAgent
from paddler.scheduling.decisions import Decision
from paddler.scheduling.demand import ModelDemand, demand_of, demands
from paddler.scheduling.fleet import Fleet
from paddler.scheduling.granting import Granting
from paddler.scheduling.lines import Need, Waiter
from paddler.scheduling.pace import Pace
from paddler.scheduling.routing import Routing
from paddler.scheduling.slots import Lease, State, Upstream
from paddler.scheduling.views import (
    AgentView,
    FleetView,
    ModelView,
    QueueView,
    fleet_view,
    models_view,
    view_of,
)
from paddler.scheduling.waiting import WaitingQueue
from paddler.values import Address

__all__ = ["Observed"]

#: Seconds that a client is told to wait when nothing is known of how long requests take.
RETRY_AFTER_UNKNOWN = 5
RETRY_AFTER_MOST = 60


@attrs.define(eq=False)
class Observed:
    """The readings of a scheduler."""

    _waiting_limit: int = attrs.field(init=False)
    _fleet: Fleet = attrs.field(init=False)
    _routing: Routing = attrs.field(init=False)
    _granting: Granting = attrs.field(init=False)
    _queue: WaitingQueue = attrs.field(factory=WaitingQueue, init=False)
    _mean_hold: float | None = attrs.field(default=None, init=False)

    def decisions(self) -> list[Decision]:
        """Why the last requests went where they went, the newest first."""
        return list(self._granting.decisions)[::-1]

    def paces(self) -> dict[str, Pace]:
        """How fast each agent's llama-server is, as far as it is learnt."""
        paces = ((u.name, self._granting.pace_of(u)) for u in self._fleet.upstreams)
        return {name: pace for name, pace in paces if pace is not None}

    def agents(self) -> tuple[AgentView, ...]:
        """All agents, in the order they came."""
        pace_of = self._granting.pace_of
        return tuple(view_of(upstream, pace_of(upstream)) for upstream in self._fleet.upstreams)

    def at(self, address: Address) -> Upstream | None:
        """The upstream at an address, if it has an agent that is heard."""
        upstream = self._fleet.at(address)
        return None if upstream is None or upstream.state == "stale" else upstream

    def in_use(self, agent_id: str) -> int:
        """Slots that clients of ours have in use at an agent's llama-server, or may have.

        0 when nobody has that id, or has it no more.
        """
        try:
            upstream = self._fleet.find(agent_id)
        except NoSuchAgent:
            return 0
        return upstream.in_flight + upstream.client_left

    def models(self) -> tuple[ModelView, ...]:
        """All models that are served or listed."""
        return models_view(self._fleet.kinds.reports, self._routing.known, self._routing.listed)

    def demand(self, model: str) -> ModelDemand:
        """The load of what a model's name stands for, be it known or not."""
        models, kinds = self._routing.models, self._fleet.kinds.all
        return demand_of(model, models, kinds, self._queue.lines)

    def demands(self) -> dict[str, ModelDemand]:
        """The load of each model that is known, by its id."""
        return demands(self._routing.models, self._fleet.kinds.all, self._queue.lines)

    def queue(self, now: float) -> QueueView:
        """The buffer."""
        first = self._queue.first()
        oldest = 0.0 if first is None else max(0.0, now - first.arrived_at)
        models: dict[str, int] = {}
        for line in self._queue.lines:
            if line.need.model is not None:
                models[line.need.model] = models.get(line.need.model, 0) + line.size
        return QueueView(len(self._queue), 0, oldest, self._waiting_limit, models)

    @property
    def ever_buffered(self) -> int:
        """How many requests have ever sat in the buffer; one that is granted at once does not."""
        return self._queue.ever_stayed

    def count_buffered(self) -> int:
        """How many sat in the buffer at any time since this was last asked."""
        return self._queue.count_stayed()

    def fleet(self) -> FleetView:
        """All agents together."""
        return fleet_view(self._fleet.upstreams, len(self._queue))

    def states(self) -> dict[str, State]:
        """All agents' names, and what state each is in."""
        return {upstream.name: upstream.state for upstream in self._fleet.upstreams}

    def retry_after(self) -> int:
        """Whole seconds after which a slot is likely, from how long requests held theirs."""
        total = sum(u.total for u in self._fleet.upstreams if u.healthy)
        if self._mean_hold is None or not total:
            return RETRY_AFTER_UNKNOWN
        wait = self._mean_hold * (len(self._queue) + 1) / total
        return max(1, min(RETRY_AFTER_MOST, math.ceil(wait)))

    def larger(self, waiter: Waiter, lease: Lease, n_ctx: int) -> Need | None:
        """What a request needs whose prompt was too long; None: no upstream has that.

        :param lease: of the upstream that said so.
        :param n_ctx: tokens that the context must hold.
        """
        kinds = self._fleet.kinds
        need = kinds.larger(waiter.need, n_ctx)
        # One that reports more than it has would be asked for ever.
        return None if need is None or kinds.serve(lease.upstream, need) else need

    def largest_context(self, waiter: Waiter) -> int:
        """Tokens that the largest context holds that can serve a request; 0: that is not known."""
        return self._fleet.kinds.servers(waiter.need).largest_context
