"""What must always be true of a scheduler, told by an account that is kept beside it.

`tests.machines` does everything to a scheduler; here is what it may then expect. The account
has its own leases, waiters and counts, and never trusts the scheduler's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis.stateful import RuleBasedStateMachine, invariant

from paddler.scheduling.fleet import FORGET_AFTER, Fleet
from paddler.scheduling.history import GRAIN
from paddler.scheduling.idle import IdleIndex
from paddler.scheduling.scheduler import Outcome, Scheduler
from paddler.scheduling.slots import SLACK, Lease, Upstream
from paddler.scheduling.waiting import Waiter

__all__ = ["SchedulerAccount"]


class SchedulerAccount(RuleBasedStateMachine):
    """Our own account of a scheduler, and the laws."""

    #: Steps of all runs together.
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.now = 10_000.0
        self.waiters: list[Waiter] = []
        self.places: dict[Waiter, int] = {}
        self.leases: dict[Lease, Waiter] = {}
        self.changes: dict[Upstream, list[tuple[float, int]]] = {}
        self.abandoned: dict[Upstream, int] = {}
        self.scheduler: Scheduler

    @property
    def fleet(self) -> Fleet:
        """The scheduler's own."""
        return self.scheduler._fleet

    def upstreams(self) -> list[Upstream]:
        """All that are known, forgotten ones with leases too."""
        return list(self.fleet._by_address.values())

    def own(self, upstream: Upstream) -> int:
        """What is in flight there, by our account."""
        return sum(lease.slots for lease in self.leases if lease.upstream is upstream)

    def follow(self, outcome: Outcome, new: Waiter | None = None) -> None:
        """Check what was granted, and take it into our account."""
        granted = [grant.waiter for grant in outcome.grants]
        assert len(set(granted)) == len(granted)
        served: dict[int, int] = {}
        for grant in outcome.grants:
            waiter, lease = grant.waiter, grant.lease
            assert waiter in self.waiters and not waiter.waiting and not lease.ended
            assert lease.slots == min(waiter.weight, lease.upstream.total) >= 1
            # First come, first served among equals.
            assert served.get(waiter.weight, -1) < self.places[waiter]
            served[waiter.weight] = self.places[waiter]
            self.waiters.remove(waiter)
            self.leases[lease] = waiter
        for waiter in self.waiters:
            assert waiter.waiting and self.places[waiter] > served.get(waiter.weight, -1)
        for upstream in {grant.lease.upstream for grant in outcome.grants}:
            # Only what was free was granted, and only where anything may be.
            assert self.own(upstream) == upstream.in_flight
            assert upstream.processing <= upstream.total
            assert upstream.state in ("ready", "full")
        self.check_passing(outcome)
        self.note_counts()

    def check_passing(self, outcome: Outcome) -> None:
        """Whoever passed the first in line took nothing that the first could have had sooner."""
        head = self.waiters[0] if self.waiters else None
        passing: dict[Upstream, int] = {}
        for grant in outcome.grants:
            if head is not None and self.places[grant.waiter] > self.places[head]:
                upstream = grant.lease.upstream
                passing[upstream] = passing.get(upstream, 0) + grant.lease.slots
        kept = self.scheduler._reserved
        for upstream, slots in passing.items():
            assert head is not None and kept is not None and kept is not upstream and kept.healthy
            lacks = upstream.cost(head.weight) - upstream.free - slots
            assert kept.cost(head.weight) - kept.free <= lacks

    def note_counts(self) -> None:
        """Keep what our own count was, and since when."""
        for upstream in {*self.upstreams(), *self.changes}:
            changes = self.changes.setdefault(upstream, [(0.0, 0)])
            if changes[-1][1] != self.own(upstream):
                changes.append((self.now, self.own(upstream)))

    def most(self, upstream: Upstream, since: float, until: float) -> int:
        """The largest our own count was from then to then."""
        changes = self.changes[upstream]
        before = [count for at, count in changes if at <= since][-1:]
        return max([*before, *(count for at, count in changes if since <= at <= until)], default=0)

    def check_others(self, upstream: Upstream, busy: int, sampled_at: float) -> None:
        """What others hold is what is beyond the largest own count around the sample."""
        narrow = self.most(upstream, sampled_at - SLACK, sampled_at + SLACK)
        far = SLACK + 2 * GRAIN
        wide = self.most(upstream, sampled_at - far, sampled_at + far)
        assert upstream.foreign_busy <= max(0, busy - narrow)
        assert upstream.foreign_busy + upstream.client_left >= max(0, busy - wide)
        if upstream.foreign_busy:
            old = [left for left in upstream._left if left.closed_at < sampled_at - far]
            assert upstream.foreign_busy + sum(left.slots for left in old) <= busy - narrow

    # Always true.

    @invariant()
    def counts(self) -> None:
        """Leases are what is in flight, and the parts add up."""
        SchedulerAccount.steps += 1
        for upstream in {*self.upstreams(), *(lease.upstream for lease in self.leases)}:
            assert upstream.in_flight == self.own(upstream)
            unseen = sum(lease.slots for lease in upstream._unseen)
            assert 0 <= upstream.promised == unseen <= upstream.in_flight
            assert all(lease in self.leases for lease in upstream._unseen)
            assert upstream.foreign_busy >= 0 and upstream.client_left >= 0
            assert all(left.slots > 0 for left in upstream._left)
            assert upstream in self.upstreams()
        for view in self.scheduler.agents():
            assert view.slots_processing == view.in_flight + view.foreign_busy + view.client_left
            free = max(0, view.slots_total - view.slots_processing)
            assert view.slots_idle == (free if view.state == "ready" else 0)
            assert (view.state == "ready") <= (free > 0)
        fleet = self.scheduler.fleet()
        views = self.scheduler.agents()
        assert fleet.agents == len(views)
        assert fleet.slots_total == sum(view.slots_total for view in views)
        assert fleet.slots_idle == sum(view.slots_idle for view in views)
        assert fleet.slots_processing == sum(view.slots_processing for view in views)

    @invariant()
    def who_is_who(self) -> None:
        """An address is one upstream, an agent speaks for one, and names are unique."""
        views = self.scheduler.agents()
        names = [view.agent_name for view in views]
        assert len(set(names)) == len(names) and set(names) == self.fleet._names
        addresses = [view.external_llamacpp_addr.lower() for view in views]
        assert len(set(addresses)) == len(addresses)
        for key, upstream in self.fleet._by_address.items():
            assert str(upstream.address).lower() == key
            if upstream.forgotten:
                assert upstream.in_flight and upstream.state == "stale"
            else:
                assert self.fleet.find(upstream.agent_id) is upstream
        assert len(views) == sum(not upstream.forgotten for upstream in self.upstreams())

    @invariant()
    def queue_is_right(self) -> None:
        """Those who wait are those who came and neither left nor were served."""
        view = self.scheduler.queue(self.now)
        assert view.requests_waiting == len(self.waiters)
        assert view.bytes_waiting == sum(waiter.size for waiter in self.waiters)
        assert self.scheduler._queue.first() is (self.waiters[0] if self.waiters else None)
        assert 1 <= self.scheduler.retry_after() <= 60

    def fitting(self, waiter: Waiter) -> Iterator[Upstream]:
        """Upstreams that have room for it."""
        for upstream in self.upstreams():
            grantable = upstream.state in ("ready", "sleeping")
            if grantable and min(waiter.weight, upstream.total) <= upstream.free:
                yield upstream

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """No one waits while there is room, but for what is kept for a heavy first in line."""
        if not self.waiters:
            return
        head, *others = self.waiters
        assert not list(self.fitting(head))
        kept = {upstream for waiter in others for upstream in self.fitting(waiter)}
        assert len(kept) <= 1
        for upstream in kept:
            assert head.weight > 1 and self.scheduler._reserved is upstream
            lacks = {u: min(head.weight, u.total) - u.free for u in self.upstreams() if u.healthy}
            assert lacks[upstream] == min(lacks.values())

    @invariant()
    def index_is_right(self) -> None:
        """The indexes say what looking at each upstream says."""

        def found(index: IdleIndex) -> dict[Upstream, int]:
            levels = list(index.levels())
            assert index.most == max((idle for idle, _ in levels), default=0)
            return {upstream: idle for idle, upstreams in levels for upstream in upstreams}

        for index, state in ((self.fleet.awake, "ready"), (self.fleet.asleep, "sleeping")):
            there = {u: u.free for u in self.upstreams() if u.state == state and u.free}
            assert found(index) == there

    @invariant()
    def time_is_minded(self) -> None:
        """Nothing that time changes is later than the next time it will be looked for."""
        due = [
            upstream.stale_at
            if upstream.stale_since is None
            else upstream.stale_since + FORGET_AFTER
            for upstream in self.fleet.upstreams
        ]
        for upstream in self.fleet.upstreams:
            if upstream.left_until is not None:
                due.append(upstream.left_until)
        following = self.scheduler.next_event
        assert (following is None) == (not due)
        assert following is None or following <= min(due)
