"""Everything that can happen to a scheduler, at random: a state machine for Hypothesis.

`make test` runs it for some thousand steps, `make test-long` for many more. What must be true
after each step is in `tests.laws`.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from paddler.errors import ModelNotFound, QueueFull
from paddler.scheduling.fleet import FORGET_AFTER
from paddler.scheduling.lines import Need, Waiter
from paddler.scheduling.outcomes import Grant, Outcome
from paddler.scheduling.slots import LEFT_WITHOUT_SAMPLE, Upstream
from paddler.scheduling.trust import Fault
from paddler.values import Address, Report
from tests.agent_rules import AgentRules
from tests.laws import SchedulerAccount, serves
from tests.scenes import QUARANTINE

__all__ = ["SchedulerMachine", "run_machine"]

_WEIGHTS = st.sampled_from((1, 1, 1, 2, 3, 4, 8, 40, 200))
# Not by `builds`, which may make up the upstream, too.
_NEEDS = st.tuples(
    st.sampled_from((None, None, None, "a", "b", "both", "nobody's")),
    st.sampled_from((0, 0, 0, 0, 3000, 9000)),
).map(lambda need: Need(*need))
_PAUSES = st.sampled_from(
    (0.0, 0.01, 0.05, 0.2, 0.3, 1.0, 1.0, 1.0, 2.5, 2.5, 4.0, QUARANTINE, 31.0, 65.0)
)
_FAULTS: st.SearchStrategy[Fault] = st.sampled_from(
    ("refused", "died", "loading", "error", "error", "error")
)


def run_machine(examples: int) -> int:
    """Run it so many times, the same each time; returns how many steps that were.

    :raises AssertionError: a law was broken; the steps that did it are printed.
    """
    before = SchedulerAccount.steps
    chosen = settings(
        max_examples=examples,
        stateful_step_count=100,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        # To find the shortest way to break a law takes minutes.
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(SchedulerMachine, settings=chosen)
    return SchedulerAccount.steps - before


class SchedulerMachine(AgentRules):
    """Agents, requests and time, as they come."""

    # Requests.

    @rule(
        wishes=st.lists(st.tuples(_WEIGHTS, _NEEDS), min_size=1, max_size=4),
        at_once=st.booleans(),
        where=st.integers(0, 15),
    )
    def request(self, wishes: list[tuple[int, Need]], at_once: bool, where: int) -> None:
        """Requests come; those that need not wait may be asked for in the short way.

        Some are for one upstream.
        """
        there = [*self.upstreams(), *[None] * 16][where]
        for weight, need in wishes:
            try:
                routed = self.scheduler.need(need.model, self.now)
            except ModelNotFound as error:
                self.check_unknown(error.model)
                continue
            self.check_routed(need.model, routed.model)
            need = Need(routed.model, need.n_ctx, there)
            self.enter(Waiter(weight, self.now, need), at_once)

    def enter(self, waiter: Waiter, at_once: bool = False) -> None:
        """It is granted something, waits, or is refused."""
        nobody_waits = not self.waiters
        self.places[waiter] = len(self.places)
        self.waiters.append(waiter)
        if at_once:
            lease = self.scheduler.grant_at_once(waiter, self.now)
            if lease is not None:
                # Nobody who waits could have had it, so that nobody was passed.
                assert not waiter.waiting
                for other in [] if nobody_waits else self.waiters[:-1]:
                    assert not serves(lease.upstream, other.need)
                self.follow(Outcome((Grant(waiter, lease),)))
                return
        waiting = len(self.waiters)
        try:
            outcome = self.scheduler.request(waiter, self.now)
        except QueueFull as error:
            assert waiting > self.limit == error.limit and error.retry_after >= 1
            self.waiters.remove(waiter)
            assert not waiter.waiting
            self.follow(Outcome())
            return
        self.follow(outcome)
        assert waiter not in self.waiters or len(self.waiters) <= self.limit or outcome.grants
        for grant in outcome.grants:
            if grant.lease.upstream.asleep:
                # It was woken because nobody awake had room.
                for other in self.fitting(grant.waiter):
                    kept = [line.kept for line in self.scheduler._queue.lines]
                    assert other.asleep or other in kept

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A waiting request's client goes."""
        waiter = data.draw(st.sampled_from(self.waiters))
        self.waiters.remove(waiter)
        self.follow(self.scheduler.cancel(waiter, self.now))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), how=st.sampled_from(("release", "abandon", "abandon", "take_back")))
    def end(self, data: st.DataObject, how: str) -> None:
        """A request ends, or its client goes, or it is not sent at all."""
        lease = data.draw(st.sampled_from(list(self.leases)))
        del self.leases[lease]
        upstream = lease.upstream
        left, free = upstream.client_left, upstream.free
        self.suspicion(upstream).ended(lease)
        outcome = getattr(self.scheduler, how)(lease, self.now)
        assert lease.ended
        if how == "abandon":
            assert upstream.client_left == left + lease.slots and upstream.free <= free
        self.follow(outcome)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), fault=_FAULTS, back=st.booleans(), again=st.booleans())
    def fail(self, data: st.DataObject, fault: Fault, back: bool, again: bool) -> None:
        """A server fails a request, which may go back to its place."""
        lease = data.draw(st.sampled_from(list(self.leases)))
        waiter = self.leases.pop(lease)
        self.suspect(lease.upstream, fault, "the same" if again else lease)
        self.suspicion(lease.upstream).ended(lease)
        if back:
            # However many wait: it is never refused.
            self.waiters.append(waiter)
            self.waiters.sort(key=self.places.__getitem__)
        outcome = self.scheduler.fault(
            lease.upstream,
            fault,
            "the same" if again else lease,
            "it broke",
            self.now,
            lease,
            waiter if back else None,
        )
        assert lease.ended and lease.upstream.error == "it broke"
        self.follow(outcome)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), n_ctx=st.sampled_from((1000, 3000, 9000, 10**6)))
    def too_long(self, data: st.DataObject, n_ctx: int) -> None:
        """A prompt is too long for its server's context, and may fit another's."""
        lease = data.draw(st.sampled_from(list(self.leases)))
        waiter, upstream = self.leases[lease], lease.upstream
        need = self.scheduler.larger(waiter, lease, n_ctx)
        if need is None:
            return
        assert need.model == waiter.need.model and waiter.need.n_ctx <= need.n_ctx
        assert need.where is None
        assert upstream.forgotten or not serves(upstream, need)
        assert any(serves(other, need) for other in self.fleet.upstreams)
        del self.leases[lease]
        self.suspicion(upstream).ended(lease)
        self.waiters.append(waiter)
        self.waiters.sort(key=self.places.__getitem__)
        self.follow(self.scheduler.elsewhere(waiter, lease, need, self.now))
        assert lease.ended

    @precondition(lambda self: self.upstreams())
    @rule(data=st.data(), fault=_FAULTS)
    def fail_without_slot(self, data: st.DataObject, fault: Fault) -> None:
        """A server fails a request that needs no slot."""
        upstream = data.draw(st.sampled_from(self.upstreams()))
        self.suspect(upstream, fault, None)
        self.follow(self.scheduler.fault(upstream, fault, None, "it broke", self.now))

    @precondition(lambda self: self.upstreams())
    @rule(data=st.data(), over=st.booleans())
    def fail_fast(self, data: st.DataObject, over: bool) -> None:
        """A server answers with errors until it is left out, and perhaps until it is tried."""
        upstream = data.draw(st.sampled_from(self.upstreams()))
        for _ in range(3):
            self.suspect(upstream, "error", None)
            self.follow(self.scheduler.fault(upstream, "error", None, "it broke", self.now))
        assert upstream.trust.until is not None
        if over:
            self.wait_for(QUARANTINE, late=False)

    def suspect(self, upstream: Upstream, fault: Fault, cause: object) -> None:
        """Take a fault into our account."""
        alone = not any(other.healthy for other in self.upstreams() if other is not upstream)
        # A request that got its error elsewhere first is to blame itself.
        where = str(upstream.address)
        known = fault == "error" and cause is not None
        if not known or self.erred.setdefault(cause, where) == where:
            self.suspicion(upstream).fault(fault, cause, self.now, alone)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), ends=st.booleans())
    def answer(self, data: st.DataObject, ends: bool) -> None:
        """A server begins to answer a request, and may have ended it by then."""
        lease = data.draw(st.sampled_from(list(self.leases)))
        self.suspicion(lease.upstream).answered()
        self.follow(self.scheduler.answered(lease.upstream, self.now))
        assert lease.upstream.error is None and not lease.upstream.trust.suspect
        if ends:
            del self.leases[lease]
            self.follow(self.scheduler.release(lease, self.now))

    # Time.

    @rule(pause=_PAUSES, late=st.booleans())
    def wait(self, pause: float, late: bool) -> None:
        """Time passes, and the scheduler is asked when it wants to be, or later."""
        self.wait_for(pause, late)

    def wait_for(self, pause: float, late: bool) -> None:
        """So many seconds pass."""
        until = self.now + pause
        while (due := self.scheduler.next_event) is not None and due <= until:
            self.now = until if late else max(self.now, due)
            for upstream in self.fleet.upstreams:
                self.suspicion(upstream).pass_time(self.now)
            self.follow(self.scheduler.pass_time(self.now))
            after = self.scheduler.next_event
            assert after is None or after > self.now
        self.now = until

    @rule()
    def no_slot(self) -> None:
        """A request that needs no slot goes to a healthy one, else to one in quarantine."""
        found = self.scheduler.any_healthy(None, self.now)
        states = {upstream: upstream.state for upstream in self.fleet.upstreams}
        healthy = {u for u, state in states.items() if state in ("ready", "full", "sleeping")}
        last = {u for u, state in states.items() if state == "quarantined"}
        assert found in (healthy or last or {None})

    def teardown(self) -> None:
        """When everybody ends, nothing is left; and who waits is served once there is room."""
        if not hasattr(self, "scheduler"):
            return
        for view in self.scheduler.agents():
            self.follow(self.scheduler.drain(view.agent_id, True, self.now))
        told = Report(
            agent_name="last",
            external=Address("last", 80),
            interval_s=9.0,
            slots_total=4,
            models=("a", "b", "both", "nobody's"),
            n_ctx=10_000,
        )
        self.know(told)
        self.follow(self.scheduler.report("last", told, self.now))
        while self.leases:
            lease = next(iter(self.leases))
            del self.leases[lease]
            self.suspicion(lease.upstream).ended(lease)
            self.follow(self.scheduler.release(lease, self.now))
        assert not self.waiters
        for upstream in self.upstreams():
            assert upstream.in_flight == upstream.promised == 0 and not upstream.forgotten
        self.now += LEFT_WITHOUT_SAMPLE + 1000
        for _ in range(2):
            for upstream in self.fleet.upstreams:
                self.suspicion(upstream).pass_time(self.now)
            self.follow(self.scheduler.pass_time(self.now))
            assert not sum(view.client_left for view in self.scheduler.agents())
            self.now += FORGET_AFTER
        assert not self.upstreams() and self.scheduler.next_event is None
