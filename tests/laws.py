"""What must always be true of a scheduler, told by an account that is kept beside it.

`tests.machines` does everything to a scheduler; here is what it may then expect. The account
has its own leases, waiters and counts, and never trusts the scheduler's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis.stateful import RuleBasedStateMachine, invariant

from paddler.errors import ModelNotFound
from paddler.scheduling.fleet import FORGET_AFTER, Fleet
from paddler.scheduling.granting import KEPT
from paddler.scheduling.history import GRAIN
from paddler.scheduling.idle import IdleIndex
from paddler.scheduling.lines import ANYTHING, HEAVIEST, Line, Need, Waiter
from paddler.scheduling.outcomes import Outcome
from paddler.scheduling.routing import SETTLING
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import SLACK, Lease, Upstream
from paddler.values import BLOCKING_ISSUES, Report
from tests.suspicions import Suspicion

__all__ = ["SchedulerAccount", "serves"]


def serves(upstream: Upstream, need: Need) -> bool:
    """Whether an upstream is of use to a request with that need."""
    where = need.where
    if where is not None and where is not upstream and where.healthy and _could(where, need):
        return False
    return _could(upstream, need)


def _could(upstream: Upstream, need: Need) -> bool:
    report = upstream.report
    named = need.model is None or need.model in report.models
    return named and (not need.n_ctx or (report.n_ctx or 0) >= need.n_ctx)


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
        self.suspicions: dict[Upstream, Suspicion] = {}
        self.erred: dict[object, str] = {}
        self.doubts: dict[Upstream, str | None] = {}
        #: For whom in each line something was kept last, and since when.
        self.chosen: dict[Need, tuple[Waiter | None, float]] = {}
        self.scheduler: Scheduler
        #: Names that were ever served, and when all agents have had the time to report.
        self.known: set[str] = set()
        self.settled_at: float | None = None

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

    def suspicion(self, upstream: Upstream) -> Suspicion:
        """What may be held against it."""
        return self.suspicions.setdefault(upstream, Suspicion())

    def room(self, upstream: Upstream) -> int:
        """The slots that may be granted there, by our account as far as we keep one."""
        kept_away = upstream.draining or upstream.forgotten or upstream.stale_since is not None
        blocked = not BLOCKING_ISSUES.isdisjoint(upstream.report.issues)
        if kept_away or blocked or not self.suspicion(upstream).may_be_granted:
            return 0
        return upstream.free

    def know(self, report: Report) -> None:
        """An agent is about to report."""
        self.known |= set(report.models)
        if self.settled_at is None:
            self.settled_at = self.now + SETTLING

    def may_be_judged(self) -> bool:
        """Whether it is known what is served."""
        settled = self.settled_at is not None and self.now >= self.settled_at
        return settled and bool(self.fleet.upstreams)

    def one_model(self) -> bool:
        """Whether all that is served has a name in common."""
        models = [{*m.names} for u in self.fleet.upstreams for m in u.report.served]
        return not models or bool(models[0].intersection(*models))

    def check_routed(self, model: str | None, routed: str | None) -> None:
        """A request for a model goes to that model, or with good reason to any."""
        mode = self.scheduler._routing.mode
        if model is None or mode == "off":
            assert routed is None
        elif model in self.known or not self.may_be_judged():
            assert routed == model
        else:
            assert routed is None and mode == "auto" and self.one_model()

    def check_unknown(self, model: str) -> None:
        """A request for a model was refused, with good reason."""
        mode = self.scheduler._routing.mode
        assert model not in self.known and self.may_be_judged()
        assert mode == "strict" or (mode == "auto" and not self.one_model())

    def follow(self, outcome: Outcome) -> None:
        """Check what was granted, and take it into our account."""
        for refusal in outcome.refused:
            assert isinstance(refusal.error, ModelNotFound)
            assert refusal.waiter.need.model == refusal.error.model
            self.check_unknown(refusal.error.model)
            assert not refusal.waiter.waiting
            self.waiters.remove(refusal.waiter)
        granted = [grant.waiter for grant in outcome.grants]
        assert len(set(granted)) == len(granted)
        for grant in outcome.grants:
            waiter, lease = grant.waiter, grant.lease
            assert waiter in self.waiters and not waiter.waiting and not lease.ended
            assert lease.slots == min(waiter.weight, lease.upstream.total) >= 1
            self.waiters.remove(waiter)
            self.leases[lease] = waiter
            # After a quarantine one at a time, and nothing before a good report.
            self.suspicion(lease.upstream).granted(lease)
        assert all(waiter.waiting for waiter in self.waiters)
        # First come, first served; none is passed by what weighs as much or more, so not even
        # one that came back to its place.
        places = [self.places[waiter] for waiter in granted]
        assert places == sorted(places)
        for grant in outcome.grants:
            waiter, upstream = grant.waiter, grant.lease.upstream
            assert serves(upstream, waiter.need)
            for other in self.waiters:
                assert (
                    self.places[other] > self.places[waiter]
                    or other.weight > waiter.weight
                    or not serves(upstream, other.need)
                    or self.is_behind_a_heavy_one(other)
                )
        for upstream in {grant.lease.upstream for grant in outcome.grants}:
            # Only what was free was granted, and only where anything may be.
            assert self.own(upstream) == upstream.in_flight
            assert upstream.processing <= upstream.total
            assert upstream.state in ("ready", "full", "quarantined")
        self.check_passing(outcome)
        self.check_doubts(outcome)
        self.note_counts()

    def check_doubts(self, outcome: Outcome) -> None:
        """Told of are those whose doubts have changed."""
        before, self.doubts = self.doubts, {u: u.doubt for u in self.upstreams()}
        changed = {u for u in self.doubts if u in before and before[u] != self.doubts[u]}
        assert set(outcome.doubted) == changed and len(outcome.doubted) == len(changed)

    def is_behind_a_heavy_one(self, waiter: Waiter) -> bool:
        """Whether it is one of the heaviest, of which only the first of a line is looked at."""
        heaviest = [w for w in self.waiters if w.need == waiter.need and w.weight >= HEAVIEST]
        return waiter in heaviest[1:]

    def heads(self) -> list[Waiter]:
        """The first of each line."""
        return list({waiter.need: waiter for waiter in reversed(self.waiters)}.values())[::-1]

    def line(self, waiter: Waiter) -> Line:
        """The scheduler's line that it stands in."""
        (line,) = [ln for ln in self.scheduler._queue.lines if ln.need == waiter.need]
        return line

    def check_passing(self, outcome: Outcome) -> None:
        """Whoever passed the first in a line took nothing that it could have had sooner."""
        before, self.chosen = self.chosen, {}
        kept: list[Upstream] = []
        for head in sorted(self.heads(), key=self.places.__getitem__):
            line = self.line(head)
            self.chosen[head.need] = chosen = (line.head, line.kept_since)
            passing: dict[Upstream, int] = {}
            for grant in outcome.grants:
                upstream = grant.lease.upstream
                if self.places[grant.waiter] > self.places[head] and serves(upstream, head.need):
                    passing[upstream] = passing.get(upstream, 0) + grant.lease.slots
            for upstream, slots in passing.items():
                assert head.weight > 1 and line.head is head
                assert line.kept is not upstream and (line.kept is None or line.kept.healthy)
                if chosen != before.get(head.need):
                    lacks = upstream.cost(head.weight) - upstream.free - slots
                    others = upstream.foreign_busy + upstream.client_left
                    by_others = upstream.total - others < upstream.cost(head.weight)
                    # On trial it is for one request, whoever is first.
                    suspected = upstream.state == "quarantined"
                    assert suspected or self.distance(head, kept) <= (by_others, lacks)
            if line.head is head and line.kept is not None:
                kept.append(line.kept)

    def distance(self, head: Waiter, kept: list[Upstream]) -> tuple[bool, int]:
        """How far the upstream is from having room that has the least to go.

        :param kept: what is kept for those before it in other lines.
        """
        return min(
            (
                upstream.total - upstream.foreign_busy - upstream.client_left
                < upstream.cost(head.weight),
                upstream.cost(head.weight) - upstream.free,
            )
            for upstream in self.upstreams()
            if upstream.healthy and upstream not in kept and serves(upstream, head.need)
        )

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
        assert self.scheduler._queue.first() is (self.waiters[0] if self.waiters else None)
        for model in {waiter.need.model for waiter in self.waiters}:
            if model is not None and model not in self.known:
                assert not self.may_be_judged()
        assert 1 <= self.scheduler.retry_after() <= 60

    def fitting(self, waiter: Waiter) -> Iterator[Upstream]:
        """Upstreams that have room for it."""
        for upstream in self.upstreams():
            has_room = 0 < min(waiter.weight, upstream.total) <= self.room(upstream)
            if has_room and serves(upstream, waiter.need):
                yield upstream

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """No one waits while there is room, but for what is kept for a heavy one before it."""
        heads = self.heads()
        kept: list[Upstream] = []
        # What is kept for a line whose place is full holds nothing up: there is nothing of it.
        near = self.scheduler._queue.within_reach(self.scheduler._fleet.kinds)
        for waiter in self.waiters:
            if waiter in heads:
                assert set(self.fitting(waiter)) <= set(kept)
                line = self.line(waiter)
                if line not in near:
                    continue
                if waiter.weight > 1 and line.head is waiter and line.kept is not None:
                    assert line.kept not in kept and serves(line.kept, waiter.need)
                    kept.append(line.kept)
            elif not self.is_behind_a_heavy_one(waiter):
                assert set(self.fitting(waiter)) <= set(kept)
        assert len(kept) <= len(heads)

    @invariant()
    def kept_for_a_while(self) -> None:
        """What is kept for the head of a line was the nearest when it was chosen."""
        for head in self.heads():
            line = self.line(head)
            if line.head is head:
                assert line.kept_since <= self.now
                fresh = line.kept_since > self.now - KEPT
                assert line.kept is None or not fresh or line.kept.healthy

    @invariant()
    def suspicions_are_right(self) -> None:
        """Who waits for a report and who is in quarantine is as our account has it."""
        for upstream in self.upstreams():
            ours, trust = self.suspicion(upstream), upstream.trust
            assert ours.waits == (trust.waits_for_report is not None)
            assert ours.until == trust.until
            assert ours.trial is trust.trial
            assert ours.over == trust.on_trial
            assert ours.until is not None or not ours.over
            assert ours.trial is None or ours.trial in self.leases
        for view in self.scheduler.agents():
            upstream = self.fleet.find(view.agent_id)
            ours = self.suspicion(upstream)
            assert view.quarantined_until == ours.until
            seen = {issue.issue for issue in view.issues if issue.seen_by == "balancer"}
            assert ("quarantined" in seen) == (ours.until is not None)
            assert bool(seen & {"unreachable", "loading"}) == ours.waits
            if ours.waits:
                assert view.state in ("stale", "loading", "unreachable")
            elif ours.until is not None:
                assert view.state not in ("ready", "full", "sleeping")
            else:
                assert view.state != "quarantined"

    @invariant()
    def index_is_right(self) -> None:
        """The indexes say what looking at each upstream says."""

        def found(index: IdleIndex) -> dict[Upstream, int]:
            levels = list(index.levels())
            assert index.most == max((idle for idle, _ in levels), default=0)
            return {upstream: idle for idle, upstreams in levels for upstream in upstreams}

        kinds = self.fleet.kinds
        standing = [upstream for kind in kinds._kinds.values() for upstream in kind.upstreams]
        assert len(standing) == len(set(standing)) and set(standing) == set(self.fleet.upstreams)
        for kind in kinds._kinds.values():
            assert kind.upstreams
            for index, asleep in ((kind.awake, False), (kind.asleep, True)):
                there = {u: self.room(u) for u in kind.upstreams if u.report.sleeping == asleep}
                assert found(index) == {u: idle for u, idle in there.items() if idle}
        for need in {waiter.need for waiter in self.waiters} | {ANYTHING}:
            found_by_kind = set(kinds.servers(need).upstreams)
            assert found_by_kind == {u for u in self.fleet.upstreams if serves(u, need)}

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
            until = self.suspicion(upstream).until
            if until is not None and not self.suspicion(upstream).over:
                due.append(until)
        asked = {waiter.need.model for waiter in self.waiters} - {None}
        if asked - self.known and self.settled_at is not None and self.settled_at > self.now:
            due.append(self.settled_at)
        # A look too many does no harm.
        may_be_judged = asked - self.known and self.settled_at == self.scheduler.next_event
        following = self.scheduler.next_event
        assert (following is None) == (not due) or may_be_judged
        assert following is None or not due or following <= min(due)
