"""Everything that can happen to a scheduler's agents, at random: half of `tests.machines`."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from paddler.errors import NoSuchAgent
from paddler.scheduling.history import SPAN
from paddler.scheduling.routing import Routing
from paddler.values import Address, Model, Report
from tests.laws import SchedulerAccount
from tests.scenes import scheduler

__all__ = ["AgentRules"]

_AGENTS = st.sampled_from(("1", "2", "3", "4", "5"))
_NAMES = st.sampled_from(("gpu", "gpu", "gpu#2", "other"))
_HOSTS = st.sampled_from(("a", "b", "c", "C", "d"))
_TOTALS = st.sampled_from((0, 1, 2, 2, 4, 4, 8, 100))
_BUSY = st.one_of(st.none(), st.integers(0, 5), st.sampled_from((0, 100)))
_AGES = st.sampled_from((0.0, 0.0, 0.1, 0.24, 0.3, 1.0, 2.0, 5.0, SPAN + 1))
_MODELS = st.sampled_from(((), ("a",), ("a", "both"), ("a", "both"), ("b", "both")))
_CONTEXTS = st.sampled_from((None, None, 2048, 8192))
_ISSUES = st.sampled_from(
    (
        *((), (), (), (), ("slots_disabled",), ("unauthorized",)),
        *(("unreachable",), ("loading",), ("timeout",)),
    )
)


class AgentRules(SchedulerAccount):
    """Agents, as they come."""

    @initialize(
        seed=st.integers(0, 99),
        limit=st.sampled_from((0, 3, 30, 30, 30)),
        totals=st.lists(_TOTALS, max_size=4),
        mode=st.sampled_from(("auto", "auto", "strict", "off")),
    )
    def begin(self, seed: int, limit: int, totals: list[int], mode: Any) -> None:
        """A scheduler of a few agents, or of nobody."""
        self.limit = limit
        self.scheduler = scheduler(limit, seed, Routing(mode))
        for number, total in enumerate(totals, 1):
            told = Report("gpu", Address("abcd"[number - 1], 80), 20.0, total, 0)
            self.know(told)
            self.follow(self.scheduler.report(str(number), told, self.now))

    # Agents.

    @rule(
        agent_id=_AGENTS,
        name=_NAMES,
        host=_HOSTS,
        total=_TOTALS,
        busy=_BUSY,
        age=_AGES,
        interval=st.sampled_from((0.5, 1.0, 1.0, 20.0)),
        sleeping=st.sampled_from((False, False, False, True)),
        issues=_ISSUES,
        models=_MODELS,
        grouped=st.booleans(),
        n_ctx=_CONTEXTS,
    )
    def report(
        self,
        agent_id: str,
        name: str,
        host: str,
        total: int,
        busy: int | None,
        age: float,
        interval: float,
        sleeping: bool,
        issues: Any,
        models: tuple[str, ...],
        grouped: bool,
        n_ctx: int | None,
    ) -> None:
        """An agent says something of a llama-server, true or not."""
        told = Report(
            agent_name=name,
            external=Address(host, 80),
            interval_s=interval,
            slots_total=total,
            slots_busy=busy,
            slots_age_s=age,
            sleeping=sleeping,
            issues=issues,
            models=models,
            model_details=(Model(models[0], models[1:]),) if grouped and models else (),
            n_ctx=n_ctx,
        )
        self.hear(agent_id, told)

    @precondition(lambda self: self.fleet.upstreams)
    @rule(
        data=st.data(),
        others=st.sampled_from((0, 0, 0, 1, 2)),
        age=_AGES,
        idle_sleeps=st.booleans(),
    )
    def report_well(self, data: st.DataObject, others: int, age: float, idle_sleeps: bool) -> None:
        """An agent says what is so: our requests run there, and perhaps another's."""
        upstream = data.draw(st.sampled_from(list(self.fleet.upstreams)))
        sleeping = idle_sleeps and not upstream.in_flight
        told = attrs.evolve(
            upstream.report,
            slots_total=upstream.total or 2,
            slots_busy=None if sleeping else upstream.in_flight + others,
            slots_age_s=age,
            issues=(),
            sleeping=sleeping,
        )
        self.hear(upstream.agent_id, told)

    def hear(self, agent_id: str, told: Report) -> None:
        """Whatever is reported, and of whom."""
        key = str(told.external).lower()
        upstream = self.fleet._by_address.get(key)
        before = self.own(upstream) if upstream else 0
        left_before = upstream.client_left if upstream else 0
        if upstream is not None:
            self.suspicion(upstream).heard(told)
        self.know(told)
        outcome = self.scheduler.report(agent_id, told, self.now)
        heard = self.fleet.find(agent_id)
        assert upstream is None or heard is upstream
        assert heard.report is told and heard.address == told.external
        # The report itself neither took nor gave back anything.
        taken = sum(grant.lease.slots for grant in outcome.grants if grant.lease.upstream is heard)
        assert heard.in_flight == before + taken
        assert heard.client_left <= left_before
        self.changes.setdefault(heard, [(0.0, 0)])
        if told.slots_busy is None or told.slots_age_s > SPAN:
            assert heard.foreign_busy == 0
        else:
            self.check_others(heard, told.slots_busy, self.now - told.slots_age_s)
        self.follow(outcome)

    @rule(agent_id=_AGENTS)
    def leave(self, agent_id: str) -> None:
        """An agent says goodbye, if it is there."""
        known = agent_id in {view.agent_id for view in self.scheduler.agents()}
        left = self.fleet.find(agent_id) if known else None
        try:
            outcome = self.scheduler.leave(agent_id, self.now)
        except NoSuchAgent:
            assert not known
        else:
            assert known
            # Only who wanted that server and no other can be better off without it.
            for grant in outcome.grants:
                assert grant.waiter.need.where is left
            self.follow(outcome)

    @rule(agent_id=_AGENTS, draining=st.sampled_from((False, False, True)))
    def drain(self, agent_id: str, draining: bool) -> None:
        """Somebody drains an agent, or lets it go on."""
        if agent_id in {view.agent_id for view in self.scheduler.agents()}:
            self.follow(self.scheduler.drain(agent_id, draining, self.now))
            assert self.fleet.find(agent_id).draining == draining
