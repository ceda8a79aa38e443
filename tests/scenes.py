"""A scheduler on a stage: agents and requests by short names, for tests that read as stories."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs

from paddler.scheduling.lines import ANYTHING, Need, Waiter
from paddler.scheduling.notes import Note
from paddler.scheduling.outcomes import Grant, Outcome
from paddler.scheduling.policies import IdleSlots
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.trust import Fault, Trust
from paddler.scheduling.views import AgentView
from paddler.values import Address, Report

__all__ = ["QUARANTINE", "Scene", "new_upstream", "report", "scheduler"]

#: Seconds of a first quarantine.
QUARANTINE = 10.0


def report(name: str = "a", slots: int = 2, busy: int | None = 0, **more: Any) -> Report:
    """A report of the llama-server at the host `name`, once a second."""
    host, port = more.pop("host", name), more.pop("port", 8080)
    more.setdefault("interval_s", 1.0)
    return Report(
        agent_name=name,
        external=Address(host, port),
        slots_total=slots,
        slots_busy=busy,
        **more,
    )


def new_upstream(told: Report, now: float = 0.0) -> Upstream:
    """An upstream of which nothing is known but that report, not even heard yet."""
    return Upstream(
        told.external, told.agent_name, told.agent_name, told, now, 3, Trust(QUARANTINE)
    )


def scheduler(limit: int, seed: int = 1) -> Scheduler:
    """A scheduler of nobody and nothing."""
    return Scheduler(IdleSlots(), Random(seed), limit, 3, QUARANTINE)


@attrs.define(eq=False)
class Scene:
    """A scheduler, the time, and what has followed so far.

    :param limit: the most requests that may wait.
    """

    limit: int = 1000
    seed: int = 1
    now: float = 1000.0
    scheduler: Scheduler = attrs.field(init=False)
    leases: dict[Waiter, Lease] = attrs.field(factory=dict, init=False)
    #: Waiters in the order in which they were granted.
    order: list[Waiter] = attrs.field(factory=list, init=False)
    notes: list[Note] = attrs.field(factory=list, init=False)
    #: Upstreams of whose doubts there was news, by name.
    doubted: list[str] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.scheduler = scheduler(self.limit, self.seed)

    def took(self, outcome: Outcome) -> tuple[Grant, ...]:
        """Note what followed."""
        for grant in outcome.grants:
            assert grant.waiter not in self.leases
            self.leases[grant.waiter] = grant.lease
            self.order.append(grant.waiter)
        self.notes += outcome.notes
        self.doubted += [upstream.name for upstream in outcome.doubted]
        return outcome.grants

    def hear(self, agent_id: str = "a", slots: int = 2, busy: int | None = 0, **more: Any) -> None:
        """A report of an agent, whose name is its id unless `name` says otherwise."""
        name = more.pop("name", agent_id)
        told = report(name, slots, busy, **more)
        self.took(self.scheduler.report(agent_id, told, self.now))

    def ask(self, weight: int = 1, model: str | None = None, n_ctx: int = 0) -> Waiter:
        """A request for slots."""
        waiter = Waiter(weight, self.now, Need(model, n_ctx))
        self.took(self.scheduler.request(waiter, self.now))
        return waiter

    def end(self, waiter: Waiter) -> None:
        """A granted request ends."""
        self.took(self.scheduler.release(self.leases[waiter], self.now))

    def fail(
        self, waiter: Waiter, fault: Fault = "died", back: bool = False, cause: object = None
    ) -> None:
        """Its upstream fails a granted request.

        :param back: it goes back to its place in line.
        :param cause: the request as it is sent; None: like no other.
        """
        lease = self.leases.pop(waiter) if back else self.leases[waiter]
        self.took(
            self.scheduler.fault(
                lease.upstream,
                fault,
                cause or waiter,
                f"it has {fault}",
                self.now,
                lease,
                waiter if back else None,
            )
        )

    def answers(self, waiter: Waiter) -> None:
        """Its upstream begins to answer a granted request well."""
        self.took(self.scheduler.answered(self.leases[waiter].upstream, self.now))

    def quarantine(self, agent_id: str = "a", fault: Fault = "error") -> None:
        """An upstream, which must be the only one with room, fails three requests in a row."""
        for _ in range(3):
            request = self.ask()
            assert self.has(request) == agent_id
            self.fail(request, fault)

    def abandon(self, waiter: Waiter) -> None:
        """A granted request's client goes away."""
        self.took(self.scheduler.abandon(self.leases[waiter], self.now))

    def cancel(self, waiter: Waiter) -> None:
        """A waiting request's client goes away."""
        self.took(self.scheduler.cancel(waiter, self.now))

    def leave(self, agent_id: str) -> None:
        """An agent says goodbye."""
        self.took(self.scheduler.leave(agent_id, self.now))

    def drain(self, agent_id: str, draining: bool = True) -> None:
        """No new requests for an agent, or again."""
        self.took(self.scheduler.drain(agent_id, draining, self.now))

    def wait(self, seconds: float) -> None:
        """Time passes; the scheduler is asked whenever it wanted to be."""
        until = self.now + seconds
        while (due := self.scheduler.next_event) is not None and due <= until:
            self.now = max(self.now, due)
            self.took(self.scheduler.pass_time(self.now))
        self.now = until

    def kept(self, need: Need = ANYTHING) -> str | None:
        """The name of what is kept for the head of a line."""
        (line,) = [line for line in self.scheduler._queue.lines if line.need == need]
        return None if line.kept is None else line.kept.name

    def has(self, waiter: Waiter) -> str | None:
        """The name of the agent that a request was granted; None: it has no lease."""
        lease = self.leases.get(waiter)
        return None if lease is None else lease.upstream.name

    def view(self, agent_id: str = "a") -> AgentView:
        """What others see of an agent."""
        (found,) = [view for view in self.scheduler.agents() if view.agent_id == agent_id]
        return found

    def counts(self, agent_id: str = "a") -> tuple[int, int, int, int]:
        """In flight, foreign busy, client left, idle."""
        view = self.view(agent_id)
        return view.in_flight, view.foreign_busy, view.client_left, view.slots_idle
