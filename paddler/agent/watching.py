"""One look after the other at a llama-server, and what is known after each.

Here is what an agent remembers between looks. Nothing here knows when looks are taken
or who is told.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from paddler.agent.llamacpp import (
    Health,
    Props,
    Slots,
    read_health,
    read_models,
    read_props,
    read_slots,
)
from paddler.agent.pace import SHORTEST, SlotsPace
from paddler.agent.router import Loadable, read_router, slots_of_all, slots_path
from paddler.agent.status import LlamaStatus, in_words
from paddler.calls import Call, NoAnswer
from paddler.values import BLOCKING_ISSUES, Address, Issue, Model

__all__ = ["LlamaWatch"]

#: Seconds between two questions for the models; a new process is asked at once.
MODELS_EVERY = 10.0
#: Seconds after which /slots is tried again where it was not offered.
SLOTS_AGAIN = 30.0
#: Seconds that a look waits at most when it comes a little too early for /slots.
EARLY = 0.5


@attrs.define
class _Known:
    """What one process of llama-server has said so far."""

    pace: SlotsPace
    props: Props = attrs.field(factory=Props)
    slots: Slots | None = None
    sampled_at: float = 0.0
    slots_due: float = 0.0
    models_due: float = 0.0
    #: Of a router.
    loadable: tuple[Loadable, ...] = ()


@attrs.define(eq=False)
class LlamaWatch:
    """Looks at one llama-server.

    :param clock: tells how old things are.
    :param call: asks the llama-server.
    :param address: how the log calls it.
    :param interval: seconds from look to look.
    """

    _clock: IReactorTime
    _call: Call
    _address: Address
    _interval: float
    log = Logger()
    _status: LlamaStatus | None = attrs.field(default=None, init=False)
    _late: int = attrs.field(default=0, init=False)
    _known: _Known = attrs.field(factory=lambda: _Known(SlotsPace()), init=False)

    async def look(self) -> LlamaStatus | None:
        """Ask it what must be asked now.

        :returns: what is known now; None when nothing is known yet.
        """
        outcome = await self._call("GET", "/health")
        health = read_health(outcome)
        self._late = self._late + 1 if health.issue == "timeout" else 0
        if self._late == 1:
            # A long batch delays one answer; only the second one in a row means something.
            return self._status
        if health.issue is not None:
            self._forget_process()
            problem = outcome.problem if isinstance(outcome, NoAnswer) else ""
            return self._learned(self._out_of_order(health), problem)
        may_ask = await self._ask_props()
        models = await self._ask_models()
        if may_ask:
            await self._ask_slots()
        return self._learned(self._in_order(health, models))

    def move(self, address: Address, call: Call) -> None:
        """The llama-server is at another address now."""
        self._address, self._call = address, call

    def in_use(self, slots: int) -> None:
        """The balancer says how many slots it has in use there: its clients work, or have left."""
        if slots:
            self._known.pace.in_use()

    def _forget_process(self) -> None:
        self._known = _Known(SlotsPace(self._known.pace.asked_at))

    async def _ask_props(self) -> bool:
        """Ask for /props, and tell whether they make it right to ask for /slots now."""
        props = read_props(await self._call("GET", "/props"))
        if props is None:
            return False  # it may be asleep
        if props.issue is not None:
            self._known.props = attrs.evolve(self._known.props, issue=props.issue)
            return False
        if self._known.props.process not in (None, props.process):
            self._forget_process()
        known = self._known
        known.props = props
        known.pace.seen(self._clock.seconds(), asleep=bool(props.sleeping))
        if props.offers_slots is False:
            known.slots = Slots("slots_disabled")
            return False
        return not props.sleeping

    async def _ask_slots(self) -> None:
        known, now = self._known, self._clock.seconds()
        # A router does not say whether its models can.
        can_sleep = known.props.router or known.props.sleeping is not None
        wait = max(known.pace.seconds_until_due(now, can_sleep=can_sleep), known.slots_due - now)
        if wait > EARLY:
            return
        if wait > 0:
            await deferLater(self._clock, wait)
            if can_sleep and not await self._ask_props():
                return  # it fell asleep meanwhile
        slots = await self._sample()
        now = self._clock.seconds()
        known.pace.asked(now)
        if slots is None:
            return
        known.slots = slots
        if slots.issue is None:
            known.sampled_at = now
            known.pace.answered(slots)
        elif slots.issue == "slots_disabled":
            known.slots_due = now + SLOTS_AGAIN

    async def _sample(self) -> Slots | None:
        """The slots, of a router's those of all models that are loaded."""
        if not self._known.props.router:
            return read_slots(await self._call("GET", "/slots"))
        samples: list[Slots] = []
        for model in self._known.loadable:
            if model.loaded:
                slots = read_slots(await self._call("GET", slots_path(model.id)))
                if slots is None:
                    return None
                samples.append(slots)
        return slots_of_all(samples)

    async def _ask_models(self) -> tuple[Model, ...]:
        known, now = self._known, self._clock.seconds()
        before = self._status.models if self._status else ()
        if now < known.models_due and not known.props.router:
            return before
        # A router lists on /models what it could load, and loads nothing for that.
        path = "/models" if known.props.router else "/v1/models"
        outcome = await self._call("GET", path)
        models = read_models(outcome)
        if known.props.router:
            known.loadable = read_router(outcome) or known.loadable
        if models is not None:
            known.models_due = now + MODELS_EVERY
            return models
        return before or ((Model(known.props.alias),) if known.props.alias else ())

    def _out_of_order(self, health: Health) -> LlamaStatus:
        """The status of one that can't serve: what it is, and nothing of what it does."""
        last = self._status or LlamaStatus()
        issues: tuple[Issue, ...] = (health.issue,) if health.issue else ()
        return attrs.evolve(last, slots_busy=None, sampled_at=None, sleeping=False, issues=issues)

    def _in_order(self, health: Health, models: tuple[Model, ...]) -> LlamaStatus:
        known, last = self._known, self._status or LlamaStatus()
        props, slots = known.props, known.slots or Slots()
        issues = [issue for issue in (props.issue, slots.issue) if issue]
        total = next(self._totals(health), last.slots_total)
        if not total and "unauthorized" not in issues:
            issues.append("no_slots")
        now = self._clock.seconds()
        busy, sampled_at = health.slots_busy, None if health.slots_busy is None else now
        # Older than that, it only tells that nobody asks, for good reason.
        still = 2 * max(SHORTEST, self._interval) + EARLY
        if (slots.total or props.router) and now - known.sampled_at <= still:
            busy, sampled_at = slots.busy, known.sampled_at
        if props.sleeping:
            busy = sampled_at = None
        return LlamaStatus(
            slots_total=total,
            slots_busy=busy,
            sampled_at=sampled_at,
            n_ctx=None if props.router else slots.n_ctx or props.n_ctx or last.n_ctx,
            sleeping=bool(props.sleeping),
            issues=tuple(sorted(dict.fromkeys(issues), key=lambda i: i not in BLOCKING_ISSUES)),
            models=models,
            router=props.router,
        )

    def _totals(self, health: Health) -> Iterator[int]:
        """What was said of its number of slots, the surest first."""
        slots, props = self._known.slots, self._known.props
        if props.router:
            totals = [model.slots for model in self._known.loadable]
            if slots is not None and slots.total:
                totals.append(slots.total)
            yield min(totals, default=0)
        if slots is not None and slots.issue in (None, "no_slots"):
            yield slots.total
        for total in (props.slots_total, health.slots_total):
            if total is not None:
                yield total

    def _learned(self, status: LlamaStatus, problem: str = "") -> LlamaStatus:
        """Keep a status, and log what changed."""
        before, self._status = self._status, status
        if before is None or _worth_a_line(before) != _worth_a_line(status):
            log = self.log.warn if status.issues else self.log.info
            log(
                "llama-server at {address}: {state}",
                address=str(self._address),
                state=in_words(status, problem),
            )
        return status


def _worth_a_line(status: LlamaStatus) -> object:
    return status.issues, status.sleeping, status.slots_total
