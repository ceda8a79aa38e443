"""One llama-server as the balancer sees it: its slots and who holds them.

The balancer's own count is the truth. A report corrects what others hold beyond
it, and never lowers it. Only the scheduler changes what is here.
"""

from __future__ import annotations

import math
from typing import Literal

import attrs

from paddler.scheduling.history import SPAN, CountHistory, grain_of
from paddler.scheduling.leases import ClientLeft, Lease
from paddler.scheduling.trust import Trust
from paddler.values import BLOCKING_ISSUES, Address, Issue, Report

__all__ = ["ClientLeft", "Lease", "State", "Upstream"]

State = Literal[
    "ready", "full", "loading", "sleeping", "unreachable", "quarantined", "draining", "stale"
]

#: A sample and our own count are told apart only when they lie further apart than this, in
#: seconds: a report's way here, a request's way there.
SLACK = 0.25
#: Seconds after which a slot whose client left counts as free when no sample is to be had.
#: llama-server gives it back within 1.5 s when nothing else happens there.
LEFT_WITHOUT_SAMPLE = 30.0


@attrs.define(eq=False, repr=False)
class Upstream:
    """One llama-server: what its agent reports and what the balancer has promised of it.

    :param address: its external address, which is its identity.
    :param agent_id: the agent that speaks for it.
    :param name: the agent's name, unique in the fleet.
    :param report: the newest.
    :param last_update: when that came.
    :param missed_allowed: reports that may be missed before it is stale.
    :param trust: what is held against it.
    """

    address: Address
    agent_id: str
    name: str
    report: Report
    last_update: float
    missed_allowed: int
    trust: Trust
    in_flight: int = attrs.field(default=0, init=False)
    promised: int = attrs.field(default=0, init=False)
    foreign_busy: int = attrs.field(default=0, init=False)
    draining: bool = attrs.field(default=False, init=False)
    stale_since: float | None = attrs.field(default=None, init=False)
    forgotten: bool = attrs.field(default=False, init=False)
    taken_over_at: float = attrs.field(default=-math.inf, init=False)
    error: str | None = attrs.field(default=None, init=False)
    issues_since: dict[Issue, float] = attrs.field(factory=dict, init=False)
    #: When the scheduler looks at it next; None: not planned.
    looked_at_next: float | None = attrs.field(default=None, init=False)
    _left: list[ClientLeft] = attrs.field(factory=list, init=False)
    _unseen: dict[Lease, None] = attrs.field(factory=dict, init=False)
    _counts: CountHistory = attrs.field(factory=CountHistory, init=False)
    _sampled_at: float | None = attrs.field(default=None, init=False)

    def __repr__(self) -> str:
        return f"<Upstream {self.name} at {self.address}>"

    # What follows from it.

    @property
    def total(self) -> int:
        """The slots it has, as last reported."""
        return self.report.slots_total

    @property
    def client_left(self) -> int:
        """Slots that may still work for clients that have gone."""
        return sum(left.slots for left in self._left) if self._left else 0

    @property
    def processing(self) -> int:
        """Slots that are taken, by whomever."""
        return self.in_flight + self.foreign_busy + self.client_left

    @property
    def free(self) -> int:
        """Slots that nobody holds, whether or not they may be granted."""
        free = self.report.slots_total - self.in_flight - self.foreign_busy
        if self._left:
            free -= self.client_left
        return free if free > 0 else 0

    @property
    def asleep(self) -> bool:
        """Its model was unloaded when its agent last looked; a request has to wake it."""
        return self.report.sleeping

    @property
    def state(self) -> State:
        """The one word for it; what keeps requests away comes first."""
        issues = self.report.issues
        if self.stale_since is not None or self.forgotten:
            return "stale"
        if "loading" in issues:
            return "loading"
        if not self.total or not BLOCKING_ISSUES.isdisjoint(issues):
            return "unreachable"
        if self.trust.waits_for_report is not None:
            return self.trust.waits_for_report
        if self.draining:
            return "draining"
        if self.trust.until is not None:
            return "quarantined"
        if self.asleep and not self.in_flight:
            return "sleeping"
        return "ready" if self.free else "full"

    @property
    def healthy(self) -> bool:
        """It answers what needs no slot."""
        return self.state in ("ready", "full", "sleeping")

    @property
    def grantable(self) -> int:
        """Slots that a request may be promised now, whether it is awake or has to be woken."""
        trust, report = self.trust, self.report
        if not (report.issues or self.draining or self.forgotten) and (
            self.stale_since is None and trust.until is None and trust.waits_for_report is None
        ):
            # Nothing is wrong with it, as mostly; this is asked at each step of each request.
            free = report.slots_total - self.in_flight - self.foreign_busy
            return free if free > 0 and not self._left else self.free
        state = self.state
        if state in ("ready", "sleeping"):
            return self.free
        trying = state == "quarantined" and trust.on_trial and trust.trial is None
        return self.free if trying else 0

    @property
    def doubt(self) -> Literal["unreachable", "timeout"] | None:
        """Why its agent doubts that it goes on with what it runs; None: it doesn't."""
        if self.stale_since is None:
            if "unreachable" in self.report.issues:
                return "unreachable"
            if "timeout" in self.report.issues:
                return "timeout"
        return None

    def cost(self, weight: int) -> int:
        """The slots that a request of that weight takes here: never more than there are."""
        return min(weight, self.total)

    # What happens to it.

    def take(self, weight: int, now: float) -> Lease:
        """Promise slots to a request; the caller has seen that they are free."""
        lease = Lease(self, min(weight, self.report.slots_total), now)
        if self.trust.on_trial:
            self.trust.trial = lease
        self.in_flight += lease.slots
        self.promised += lease.slots
        self._unseen[lease] = None
        self._counts.put(self.in_flight, now)
        return lease

    def give_back(self, lease: Lease, now: float, *, client_left: bool) -> None:
        """End a lease; with `client_left` its slots stay busy until a sample shows them idle."""
        lease.ended = True
        if self.trust.trial is lease:
            self.trust.trial = None
        self.in_flight -= lease.slots
        self._counts.put(self.in_flight, now)
        if self._unseen.pop(lease, lease) is None:
            self.promised -= lease.slots
        if client_left:
            self._left.append(ClientLeft(lease.slots, now))

    def repeats(self, report: Report) -> bool:
        """Whether all is well and a report says so again, as nearly all do."""
        return (
            not (report.issues or report.sleeping or self._left or self.trust.waits_for_report)
            and self.stale_since is None
            and report.says_again(self.report)
        )

    def hear_again(self, report: Report, now: float) -> bool:
        """Take in a report that repeats the last one; tells whether others hold as many slots."""
        before = self.foreign_busy
        self._take_in(report, now)
        return self.foreign_busy == before

    def hear(self, report: Report, now: float) -> None:
        """Take a report in."""
        self.stale_since = None
        self.forgotten = False
        if report.slots_total and BLOCKING_ISSUES.isdisjoint(report.issues):
            self.trust.reported_well()
        self.issues_since = {issue: self.issues_since.get(issue, now) for issue in report.issues}
        if report.sleeping:
            # The model of one that works is not unloaded; the agent looked within an interval.
            looked = now - report.interval_s - SLACK
            self._left = [left for left in self._left if left.closed_at >= looked]
        self._take_in(report, now)

    def _take_in(self, report: Report, now: float) -> None:
        """See from its sample whose slots are busy."""
        self.report = report
        self.last_update = now
        if report.slots_busy is None or report.slots_age_s > SPAN:
            # Nothing is known of others, and a lease is as seen as it can get.
            self.foreign_busy = 0
            self._show(self.in_flight, now)
        else:
            self._sampled_at = now - report.slots_age_s
            self._compare(report.slots_busy, self._sampled_at)
            self._show(report.slots_busy, self._sampled_at)

    def _compare(self, busy: int, sampled_at: float) -> None:
        """Tell what of `busy` is not ours: work for clients that left, then other clients."""
        own = self._counts.most_between(sampled_at - SLACK, sampled_at + SLACK)
        beyond = max(0, busy - own)
        if not self._left:
            self.foreign_busy = beyond
            return
        # Younger ones were in our own count within the slack: this sample can't judge them.
        judged = grain_of(sampled_at - SLACK)
        old = [left for left in self._left if grain_of(left.closed_at) < judged]
        young = [left for left in self._left if grain_of(left.closed_at) >= judged]
        self._left = _newest(old, beyond) + young
        self.foreign_busy = beyond - (self.client_left - sum(left.slots for left in young))

    def _show(self, busy: int, sampled_at: float) -> None:
        """Count the leases that a sample has shown as promised no more, oldest first."""
        if not self._unseen:
            return
        seen = busy - (self.in_flight - self.promised)
        for lease in list(self._unseen):
            if lease.granted_at > sampled_at or lease.slots > seen:
                break
            seen -= lease.slots
            self.promised -= lease.slots
            del self._unseen[lease]

    # What time does to it.

    @property
    def stale_at(self) -> float:
        """When it is stale if nothing is heard; a report counts as missed half an interval late."""
        return self.last_update + (self.missed_allowed + 0.5) * self.report.interval_s

    @property
    def left_until(self) -> float | None:
        """When slots whose clients left count as free if no sample comes; None: there are none."""
        return min(map(self._gives_up_at, self._left), default=None)

    def _gives_up_at(self, left: ClientLeft) -> float:
        return max(left.closed_at, self._sampled_at or 0.0) + LEFT_WITHOUT_SAMPLE

    def pass_time(self, now: float) -> None:
        """Free what only waits for samples that don't come; end a quarantine that is over."""
        self.trust.pass_time(now)
        self._left = [left for left in self._left if self._gives_up_at(left) > now]


def _newest(lefts: list[ClientLeft], slots: int) -> list[ClientLeft]:
    """Of these the newest, as many as hold `slots`; llama-server gives the oldest back first."""
    kept: list[ClientLeft] = []
    for left in reversed(lefts):
        if slots <= 0:
            break
        kept.append(ClientLeft(min(left.slots, slots), left.closed_at))
        slots -= left.slots
    return kept[::-1]
