"""What may be read of the balancer while it runs; nothing here changes it."""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime

from paddler.balancer.limits import BodyBudget
from paddler.errors import QueueFull
from paddler.scheduling.decisions import Decision
from paddler.scheduling.demand import ModelDemand
from paddler.scheduling.lines import Need, Waiter
from paddler.scheduling.pace import Pace
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease, State, Upstream
from paddler.scheduling.views import AgentView, FleetView, ModelView, QueueView
from paddler.values import Address

__all__ = ["Readable"]


@attrs.define(eq=False)
class Readable:
    """The readings of `Admission`.

    :param clock: the time.
    :param scheduler: decides; nobody else may call it.
    :param timeout: seconds that a request may wait.
    :param bodies: the bytes of waiting requests.
    """

    _clock: IReactorTime
    _scheduler: Scheduler
    timeout: float
    bodies: BodyBudget = attrs.field(factory=BodyBudget)

    def decisions(self) -> list[Decision]:
        """Why the last requests went where they went, the newest first."""
        return self._scheduler.decisions()

    def paces(self) -> dict[str, Pace]:
        """How fast each agent's llama-server is, as far as it is learnt."""
        return self._scheduler.paces()

    def agents(self) -> tuple[AgentView, ...]:
        """All agents."""
        return self._scheduler.agents()

    def at(self, address: Address) -> Upstream | None:
        """The upstream at an address, if it has an agent that is heard."""
        return self._scheduler.at(address)

    def models(self) -> tuple[ModelView, ...]:
        """All models."""
        return self._scheduler.models()

    def demand(self, model: str) -> ModelDemand:
        """The load of what a model's name stands for, be it known or not."""
        return self._scheduler.demand(model)

    def demands(self) -> dict[str, ModelDemand]:
        """The load of each model that is known, by its id."""
        return self._scheduler.demands()

    def larger(self, waiter: Waiter, lease: Lease, n_ctx: int) -> Need | None:
        """What a request needs whose prompt was too long; None: no upstream has that.

        :param lease: of the upstream that said so.
        :param n_ctx: tokens that the context must hold.
        """
        return self._scheduler.larger(waiter, lease, n_ctx)

    def largest_context(self, waiter: Waiter) -> int:
        """Tokens that the largest context holds that can serve a request; 0: that is not known."""
        return self._scheduler.largest_context(waiter)

    def waited(self, since: float | None) -> float:
        """How long somebody has waited who came then; 0: nobody did."""
        return 0.0 if since is None else max(0.0, self._clock.seconds() - since)

    def fleet(self) -> FleetView:
        """All agents together."""
        return self._scheduler.fleet()

    def states(self) -> dict[str, State]:
        """All agents' names, and what state each is in."""
        return self._scheduler.states()

    @property
    def ever_buffered(self) -> int:
        """How many requests have ever sat in the buffer; one that is granted at once does not."""
        return self._scheduler.ever_buffered

    def count_buffered(self) -> int:
        """How many sat in the buffer at any time since this was last asked."""
        return self._scheduler.count_buffered()

    def queue(self) -> QueueView:
        """The buffer."""
        view = self._scheduler.queue(self._clock.seconds())
        return attrs.evolve(view, bytes_waiting=self.bodies.used)

    def no_room_for_body(self) -> QueueFull:
        """The error for a request whose body the buffer has no room for."""
        return QueueFull(self.bodies.limit or 0, self._scheduler.retry_after(), "bytes")
