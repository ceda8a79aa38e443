"""The load by model: what its servers have, and who waits for it.

A model that was served once is there for good: what is told of it must come down to 0 when nobody
wants it any more, for what starts and stops servers goes by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from paddler.scheduling.lines import Line
from paddler.scheduling.serving import Kind
from paddler.scheduling.views import FleetView, fleet_view

__all__ = ["ModelDemand", "demand_of", "demands"]


@attrs.frozen
class ModelDemand:
    """The load of one model.

    :param agents: how many have it.
    :param slots_processing: slots in use on its servers, by whomever.
    :param requests_waiting: those that wait for it by name.
    :param first_came: when the first of those came, in the caller's seconds; None: nobody waits.
    """

    agents: int = 0
    slots_total: int = 0
    slots_idle: int = 0
    slots_processing: int = 0
    requests_waiting: int = 0
    first_came: float | None = None

    @property
    def demand(self) -> int:
        """Slots that would be in use if nobody had to wait for it."""
        return self.slots_processing + self.requests_waiting

    def with_servers(self, view: FleetView) -> ModelDemand:
        """With more servers."""
        return attrs.evolve(
            self,
            agents=self.agents + view.agents,
            slots_total=self.slots_total + view.slots_total,
            slots_idle=self.slots_idle + view.slots_idle,
            slots_processing=self.slots_processing + view.slots_processing,
        )

    def with_line(self, line: Line) -> ModelDemand:
        """With a line of those who wait."""
        first = line.first()
        came = (self.first_came, None if first is None else first.arrived_at)
        return attrs.evolve(
            self,
            requests_waiting=self.requests_waiting + line.size,
            first_came=min((at for at in came if at is not None), default=None),
        )


def demand_of(
    name: str,
    models: Mapping[str, tuple[str, ...]],
    kinds: Iterable[Kind],
    lines: Iterable[Line],
) -> ModelDemand:
    """The load of what a name stands for.

    :param models: the names of every model that is known, by its id.
    """
    named = {name}.union(*(names for names in models.values() if name in names))
    load = ModelDemand()
    for kind in kinds:
        if not named.isdisjoint(kind.names):
            load = load.with_servers(fleet_view(kind.upstreams, 0))
    for line in lines:
        if line.need.model in named:
            load = load.with_line(line)
    return load


def demands(
    models: Mapping[str, tuple[str, ...]], kinds: Iterable[Kind], lines: Iterable[Line]
) -> dict[str, ModelDemand]:
    """The load of each model by its id."""
    loads = dict.fromkeys(models, ModelDemand())
    for kind in kinds:
        view = fleet_view(kind.upstreams, 0)
        for names in kind.models:
            if names[0] in loads:
                loads[names[0]] = loads[names[0]].with_servers(view)
    by_name: dict[str, list[str]] = {}
    for its_id, names in models.items():
        for name in names:
            by_name.setdefault(name, []).append(its_id)
    for line in lines:
        for its_id in by_name.get(line.need.model or "", ()):
            loads[its_id] = loads[its_id].with_line(line)
    return loads
