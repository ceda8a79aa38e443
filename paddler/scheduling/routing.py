"""What a model's name says of where a request may go.

Note [Settling]. When a balancer comes back, its agents report one after another, within two of
their intervals. A name that is unknown so early may be that of a model whose agent has not spoken
yet: the request for it waits until all have had the time to, and is then judged.
"""

from __future__ import annotations

from typing import Literal

import attrs

from paddler.errors import ModelNotFound
from paddler.scheduling.lines import ANYTHING, Need
from paddler.scheduling.outcomes import Refusal
from paddler.scheduling.serving import Kinds
from paddler.scheduling.waiting import WaitingQueue
from paddler.values import Report

__all__ = ["SETTLING", "Mode", "Routing"]

#: `auto`: a name that nobody serves goes anywhere while there is one model. `strict`: it never
#: does. `off`: names mean nothing.
Mode = Literal["auto", "strict", "off"]

#: Seconds from the first report of all to when every agent has had the time to report.
SETTLING = 2.0
#: Names that are known at most; the oldest are forgotten first.
MOST_NAMES = 65_536
#: Characters of a name that a report may hold; nobody serves a longer one.
LONGEST_NAME = 1024


@attrs.define(eq=False)
class Routing:
    """Knows every name that was ever served.

    :param mode: what becomes of names that nobody serves.
    :param listed: names that are known from the beginning.
    """

    mode: Mode = "auto"
    listed: tuple[str, ...] = ()
    #: When each name that is known was first heard; 0: it is listed.
    known: dict[str, float] = attrs.field(init=False)
    #: Every model that is known, by its id, with all its names as they were heard last.
    models: dict[str, tuple[str, ...]] = attrs.field(init=False)
    #: When all agents will have had the time to report; None: none has yet.
    settled_at: float | None = attrs.field(default=None, init=False)
    #: Those who waited until then have been judged.
    judged: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.known = dict.fromkeys(self.listed, 0.0)
        self.models = {name: (name,) for name in self.listed}

    def heard(self, report: Report, now: float) -> None:
        """An agent is new, or its server serves something else than before."""
        if self.settled_at is None:
            self.settled_at = now + SETTLING
        for model in report.served:
            self.models[model.id] = model.names
            for name in model.names:
                # What is listed has been heard of, but not when.
                self.known[name] = self.known.get(name) or now
        for names in (self.known, self.models):
            while len(names) > MOST_NAMES:
                del names[next(iter(names))]

    def settled(self, now: float) -> bool:
        """Whether all agents have had the time to report."""
        return self.settled_at is not None and now >= self.settled_at

    def judges_at(self, queue: WaitingQueue) -> float | None:
        """When it is told what becomes of those who wait for unknown names; None: nobody does."""
        if self.judged or self.settled_at is None:
            return None
        asked = (line.need.model for line in queue.lines)
        unknown = any(model is not None and model not in self.known for model in asked)
        return self.settled_at if unknown else None

    def need(self, model: str | None, kinds: Kinds, now: float) -> Need:
        """What a request for a model needs.

        :param model: the name that it gives; None: it gives none.
        :raises ModelNotFound: nobody has ever served it, and it may not go elsewhere.
        """
        if not model or self.mode == "off":
            return ANYTHING
        # Among very many names one that is served may have been forgotten.
        if model in self.known or model in self.listed or kinds.serve_model(model):
            return Need(model)
        # Needs are remembered for a while, and a request's model may have any size.
        model = model[: LONGEST_NAME + 1]
        if not kinds.some or not self.settled(now):
            return Need(model)
        if self.mode == "auto" and kinds.one_model:
            return ANYTHING
        raise ModelNotFound(model, tuple(sorted(kinds.ids)))

    def judge(self, queue: WaitingQueue, kinds: Kinds, now: float) -> tuple[Refusal, ...]:
        """See to those who wait for names that nobody has served, now that more is known.

        :returns: those who wait no more.
        """
        self.judged = self.judged or self.settled(now)
        refused: list[Refusal] = []
        for line in list(queue.lines):
            try:
                need = self.need(line.need.model, kinds, now)
            except ModelNotFound as error:
                refused += [Refusal(waiter, error) for waiter in line.waiters]
                for waiter in line.waiters:
                    queue.leave(waiter)
                continue
            if need.model != line.need.model:
                for waiter in line.waiters:
                    queue.move(waiter, waiter.need._replace(model=need.model))
        return tuple(refused)
