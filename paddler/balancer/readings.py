"""What the management API shows, as JSON: the contract's fields and no others.

Made from the scheduler's views, anew at each call; nothing is kept and nothing changed.
"""

from __future__ import annotations

import attrs
import msgspec

from paddler import __version__
from paddler.balancer.admission import Admission

__all__ = [
    "BalancerView",
    "DemandView",
    "agents_json",
    "decisions_json",
    "demand_json",
    "health_json",
    "queue_json",
]

_encode = msgspec.json.Encoder().encode


@attrs.frozen
class BalancerView:
    """The balancer itself.

    :param reverseproxy: where clients are served.
    :param management: where agents report.
    :param request_buffer_timeout: seconds that a request may wait.
    :param refused_reports: how many reports could not be understood.
    """

    version: str
    uptime_seconds: float
    reverseproxy: str
    management: str
    request_buffer_timeout: float
    refused_reports: int

    def to_json(self) -> bytes:
        """As the API shows it."""
        return _encode(self)


@attrs.frozen
class DemandView:
    """The load in flat numbers, for what starts and stops servers.

    :param demand: slots that would be in use if nobody had to wait.
    """

    slots_total: int
    slots_processing: int
    slots_idle: int
    requests_waiting: int
    demand: int
    oldest_wait_seconds: float
    agents: int


def health_json(admission: Admission) -> bytes:
    """That the balancer is there, and how many agents it knows."""
    agents = admission.fleet().agents
    return _encode({"status": "ok", "version": __version__, "agents": agents})


def agents_json(admission: Admission) -> bytes:
    """All agents."""
    return _encode({"agents": admission.agents()})


def decisions_json(admission: Admission) -> bytes:
    """Why the last requests went where they went."""
    return _encode({"decisions": admission.decisions()})


def queue_json(admission: Admission) -> bytes:
    """The buffer."""
    return _encode(admission.queue())


def demand_json(admission: Admission, model: str | None = None) -> bytes:
    """The load.

    :param model: of what that name stands for; None: of all.
    """
    if model is not None:
        load = admission.demand(model)
        return _encode(
            DemandView(
                slots_total=load.slots_total,
                slots_processing=load.slots_processing,
                slots_idle=load.slots_idle,
                requests_waiting=load.requests_waiting,
                demand=load.demand,
                oldest_wait_seconds=admission.waited(load.first_came),
                agents=load.agents,
            )
        )
    fleet, queue = admission.fleet(), admission.queue()
    view = DemandView(
        slots_total=fleet.slots_total,
        slots_processing=fleet.slots_processing,
        slots_idle=fleet.slots_idle,
        requests_waiting=queue.requests_waiting,
        demand=fleet.slots_processing + queue.requests_waiting,
        oldest_wait_seconds=queue.oldest_wait_seconds,
        agents=fleet.agents,
    )
    return _encode(view)
