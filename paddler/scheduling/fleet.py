"""The upstreams that are known, by address and by agent, and what time does to them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from itertools import count
from random import Random

import attrs

from paddler.errors import NoSuchAgent
from paddler.scheduling.lines import Need
from paddler.scheduling.notes import Note, note
from paddler.scheduling.serving import Kinds
from paddler.scheduling.slots import State, Upstream
from paddler.scheduling.trust import Trust
from paddler.values import Address, Report

__all__ = ["FORGET_AFTER", "Fleet"]

#: Seconds from going stale to being forgotten.
FORGET_AFTER = 60.0
#: Seconds for which an address must have been one agent's before its next owner is worth a line.
TOLD_AGAIN_AFTER = 60.0
#: Upstreams that are planned anew at a time.
PLANNED_AHEAD = 64


@attrs.define(eq=False)
class Fleet:
    """Upstreams that have an agent, and forgotten ones until their last lease ends.

    :param missed_allowed: reports an agent may miss before it is stale.
    :param quarantine: seconds that one which keeps failing is left out.
    """

    _missed_allowed: int
    _quarantine: float
    #: Called with one that is forgotten.
    on_forgotten: Callable[[Upstream], None] = attrs.field(
        default=lambda upstream: None, init=False
    )
    #: Called with one that may serve something else than before, or nothing, or again.
    on_changed: Callable[[Upstream], None] = attrs.field(default=lambda upstream: None, init=False)
    #: Which of them serve what, and what is idle there.
    kinds: Kinds = attrs.field(factory=Kinds, init=False)
    _by_address: dict[str, Upstream] = attrs.field(factory=dict, init=False)
    _by_agent: dict[str, Upstream] = attrs.field(factory=dict, init=False)
    _names: set[str] = attrs.field(factory=set, init=False)
    _agenda: list[tuple[float, int, Upstream]] = attrs.field(factory=list, init=False)
    _entries: count[int] = attrs.field(factory=count, init=False)

    @property
    def upstreams(self) -> Collection[Upstream]:
        """Those that have an agent, in the order they came."""
        return self._by_agent.values()

    def find(self, agent_id: str) -> Upstream:
        """The upstream of an agent.

        :raises NoSuchAgent: nobody has that id.
        """
        try:
            return self._by_agent[agent_id]
        except KeyError:
            raise NoSuchAgent(agent_id) from None

    def at(self, address: Address) -> Upstream | None:
        """The upstream at an address, also a forgotten one that has leases."""
        return self._by_address.get(_key(address))

    def any_healthy(self, need: Need, random: Random) -> Upstream | None:
        """One that answers what needs no slot.

        An awake one if there is one, else one to be woken, else one that is in quarantine.
        """
        serving = list(self.kinds.servers(need).upstreams)
        healthy = [upstream for upstream in serving if upstream.healthy]
        awake = [upstream for upstream in healthy if not upstream.asleep]
        some = awake or healthy or [u for u in serving if u.state == "quarantined"]
        return random.choice(some) if some else None

    def hear_again(self, agent_id: str, report: Report, now: float) -> bool:
        """Take a report in that says what its agent's last one said, if it is such a one."""
        upstream = self._by_agent.get(agent_id)
        if upstream is None or not upstream.repeats(report):
            return False
        if now < upstream.last_update:
            # The clock was set back: its silence is to be planned anew.
            return False
        if not upstream.hear_again(report, now):
            self.index(upstream)
        return True

    def hear(self, agent_id: str, report: Report, now: float) -> list[Note]:
        """Take a report in; a new agent joins, a known address keeps what is promised of it."""
        notes: list[Note] = []
        key = _key(report.external)
        upstream = self._by_address.get(key)
        left = self._by_agent.get(agent_id)
        if left is upstream:
            left = None
        if left is not None:
            notes.append(note("moved", left, f"to {report.external}"))
            self.forget(left)
        if upstream is None:
            upstream = Upstream(
                report.external,
                agent_id,
                "",
                report,
                now,
                self._missed_allowed,
                Trust(self._quarantine),
            )
            self._by_address[key] = upstream
        before = upstream.state
        joins = self._by_agent.get(upstream.agent_id) is not upstream
        if not joins and upstream.agent_id != agent_id:
            # Two agents that report one address take it from each other for ever.
            if now - upstream.taken_over_at > TOLD_AGAIN_AFTER:
                notes.append(note("taken_over", upstream, f"by {report.agent_name}"))
            upstream.taken_over_at = now
            del self._by_agent[upstream.agent_id]
        upstream.agent_id = agent_id
        self._by_agent[agent_id] = upstream
        if joins:
            if left is not None:
                upstream.draining = left.draining
            self._name(upstream, report.agent_name)
        elif report.agent_name != upstream.report.agent_name:
            self._names.discard(upstream.name)
            self._name(upstream, report.agent_name)
        if upstream.address != report.external:
            # Its letters' case may change.
            upstream.address = report.external
        upstream.hear(report, now)
        self.kinds.put(upstream)
        if joins:
            notes.append(note("joined", upstream, f"{upstream.state}, {upstream.total} slots"))
        else:
            notes += self.told(upstream, before)
        self.changed(upstream)
        return notes

    def forget(self, upstream: Upstream) -> None:
        """Its agent is gone; it stays, ungrantable, until its leases end."""
        upstream.forgotten = True
        upstream.looked_at_next = None
        del self._by_agent[upstream.agent_id]
        self._names.discard(upstream.name)
        self.kinds.take_out(upstream)
        self.on_forgotten(upstream)
        self.on_changed(upstream)
        self.drop_if_over(upstream)

    def drop_if_over(self, upstream: Upstream) -> None:
        """Let a forgotten upstream go when nothing runs there any more."""
        if upstream.forgotten and not upstream.in_flight:
            del self._by_address[_key(upstream.address)]

    def index(self, upstream: Upstream) -> None:
        """Keep the indexes of idle slots true after a change."""
        self.kinds.index(upstream)

    def changed(self, upstream: Upstream) -> None:
        """More than the slots that we hold has changed of an upstream."""
        self.plan(upstream)
        self.index(upstream)
        self.on_changed(upstream)

    def told(self, upstream: Upstream, before: State, why: str = "") -> list[Note]:
        """A note if its state is another; ready and full take turns all day and are one here."""
        alike = ("ready", "full")
        if upstream.state == before or (before in alike and upstream.state in alike):
            return []
        change = f"{before} -> {upstream.state}"
        return [note("state", upstream, f"{change}: {why}" if why else change)]

    # Time.

    def plan(self, upstream: Upstream) -> None:
        """See to it that an upstream is looked at when time changes something of it."""
        at = _changes_at(upstream)
        # A look that comes too early plans the next; so a report mostly changes nothing here.
        if upstream.looked_at_next is None or at < upstream.looked_at_next:
            upstream.looked_at_next = at
            heapq.heappush(self._agenda, (at, next(self._entries), upstream))

    @property
    def next_event(self) -> float | None:
        """When `pass_time` must be called at the latest; None: never."""
        while self._agenda and self._agenda[0][2].looked_at_next != self._agenda[0][0]:
            heapq.heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else None

    def pass_time(self, now: float) -> tuple[list[Note], list[Upstream]]:
        """Do what is due: agents go stale and are forgotten; clients that left free their slots.

        :returns: also the upstreams that were doubted by agents which say nothing more.
        """
        notes: list[Note] = []
        doubted: list[Upstream] = []
        while (due := self.next_event) is not None and due <= now:
            upstream = heapq.heappop(self._agenda)[2]
            upstream.looked_at_next = None
            upstream.pass_time(now)
            if upstream.stale_since is None and upstream.stale_at <= now:
                if upstream.doubt is not None:
                    doubted.append(upstream)
                upstream.stale_since = now
                silence = now - upstream.last_update
                notes.append(note("stale", upstream, f"silent for {silence:.1f} s"))
            elif upstream.stale_since is not None and upstream.stale_since + FORGET_AFTER <= now:
                notes.append(note("forgotten", upstream, f"silent for {FORGET_AFTER:g} s more"))
                self.forget(upstream)
                continue
            self.changed(upstream)
        self._plan_ahead()
        return notes, doubted

    def _plan_ahead(self) -> None:
        """Plan anew what would be looked at next and too early, in one go rather than one by one.

        Some of it: all may be very many.
        """
        for _ in range(PLANNED_AHEAD):
            at = self.next_event
            if at is None or _changes_at(self._agenda[0][2]) <= at:
                return
            upstream = heapq.heappop(self._agenda)[2]
            upstream.looked_at_next = None
            self.plan(upstream)

    def _name(self, upstream: Upstream, wanted: str) -> None:
        """Give it a name that nobody else has."""
        name = wanted
        numbers = count(2)
        while name in self._names:
            name = f"{wanted}#{next(numbers)}"
        self._names.add(name)
        upstream.name = name


def _changes_at(upstream: Upstream) -> float:
    """When time changes something of an upstream, if nothing else does before."""
    at = upstream.stale_at
    if upstream.stale_since is not None:
        at = upstream.stale_since + FORGET_AFTER
    trust = upstream.trust
    for until in (upstream.left_until, None if trust.on_trial else trust.until):
        if until is not None:
            at = min(at, until)
    return at


def _key(address: Address) -> str:
    return str(address).lower()
