"""Slots for those who wait, by what each prompt would cost everybody where.

Note [Toll]. A second of a prompt's evaluation keeps waiting the request itself, all that run on
that server, whose tokens all but stop meanwhile, and that server's share of those who wait; so it
is charged once for each of them. What other chats begin with too is charged once only, for the
next of them profits from it; else all chats of one system prompt would lock onto the first servers
that saw it. A request goes where price and wait are least in sum. Where that server is full it
keeps waiting, though others are free, in a line that makes that server dearer for those
behind it. Who would be served soonest is asked first.

Note [Passed over]. Somebody who waits is passed over from the moment in which it would have been
its turn, were slots given in the order of arrival: as many others as stood before it have left
the line, and a later one got the next slot, or that stayed free. From a bound on such waiters come
first, as they arrived, each to the best server that is free; so do those for whom one was kept.
To wait behind those who came before is not to be passed over: in a long queue all would soon be,
and then every prompt is evaluated anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from operator import attrgetter
from random import Random

from paddler.scheduling.alone import choose
from paddler.scheduling.fleet import Fleet
from paddler.scheduling.heads import Seen
from paddler.scheduling.learning import Learning
from paddler.scheduling.lines import Line, Waiter, Waits
from paddler.scheduling.outcomes import Grant
from paddler.scheduling.policies import Prefix
from paddler.scheduling.slots import Lease, Upstream
from paddler.scheduling.standing import FEW, UNKNOWN, Price, Round, Stand
from paddler.scheduling.waiting import WaitingQueue

__all__ = ["Toll"]

#: Waiters that are looked at for a slot.
WINDOW = 64
#: And of those behind them, where something is free that these had better not have.
BEYOND = 128
#: Seconds for which it holds what somebody's prompt costs at least, as far as the order goes.
COUNTED = 0.5

_place, _counts_from = attrgetter("place"), attrgetter("counts_from", "place")


class Toll(Learning):
    """Finds room for waiters; those without prompts are granted as `IdleSlots` chooses.

    :param settings: of the policy.
    """

    def __init__(self, settings: Prefix, random: Random, fleet: Fleet, queue: WaitingQueue) -> None:
        super().__init__(settings, random, fleet, queue)
        self._bound = settings.fairness_bound
        self._due: float | None = None

    @property
    def due(self) -> float | None:
        """See `Granting`: when somebody has been passed over for too long, with a slot free."""
        return self._due if len(self._queue) else None

    def grant_one(
        self, waiter: Waiter, now: float, kept: Collection[Upstream] = ()
    ) -> Lease | None:
        """See `Granting`; None also where it had better wait."""
        prompt = waiter.prompt
        if prompt is None:
            lease = super().grant_one(waiter, now, kept)
            if lease is not None:
                told = waiter.request_id, waiter.need, waiter.arrived_at
                self._granted.append((*told, lease.upstream, now, False, None, 0.0, 0.0, UNKNOWN))
            return lease
        servers = self._fleet.kinds.servers(waiter.need)
        if waiter.weight == 1 and not kept:
            seen = self.heads.look(prompt)
            best, waits, costs = choose(seen, self.heads, self.paces, servers, self._random, now)
            if waits:
                return None
            if best is not None:
                return self._give(waiter, seen, best, now, costs)
        if not servers.some_idle:
            return None
        seen = waiter.seen = self.heads.see(prompt)
        round_ = Round(now, self.paces, self._random)
        prices = round_.prices(seen, servers, self.heads, 0)
        for upstream in kept:
            round_.keep(upstream)
        stand = round_.cheapest(waiter, prices)
        if stand is None or not stand.has_room(waiter.weight):
            return None
        return self._give(waiter, seen, stand.upstream, now, round_.costs)

    def grant_anywhere(self, waiter: Waiter, now: float) -> Lease | None:
        """See `Granting`."""
        round_ = Round(now, self.paces, self._random)
        servers = self._fleet.kinds.servers(waiter.need)
        prices = round_.prices(self._seen(waiter), servers, self.heads, 0)
        for line in self._queue.lines:
            if line.kept is not None and line.head is line.first():
                round_.keep(line.kept)
        stand = round_.cheapest(waiter, prices, with_room=True)
        return None if stand is None else self._take(waiter, stand, round_, now)

    def grant_all(self, now: float) -> list[Grant]:
        """See `Granting`."""
        self._due = None
        kinds = self._fleet.kinds
        lines = self._queue.within_reach(kinds)
        lines = [line for line in lines if kinds.servers(line.need).some_idle]
        most = WINDOW // max(1, min(len(lines), WINDOW // 8))
        window = {waiter: line for line in lines for waiter in line.oldest(most)}
        if all(waiter.prompt is None for waiter in window):
            return super().grant_all(now)
        round_ = Round(now, self.paces, self._random)
        for line in lines:
            round_.look(kinds.servers(line.need))
        self._keep(window, round_, now)
        # A few servers are looked at anew at each step; among many something happens all the time.
        many = any(len(kinds.servers(line.need)) > FEW for line in lines)
        grants = self._ask(window, round_, now, many)
        if round_.room:
            # Those who had better wait keep from nobody what they don't take.
            beyond = self._queue.others(lines, window, BEYOND, now - COUNTED)
            grants += self._ask(beyond, round_, now, many)
            window.update(beyond)
        self._note_passed(window, round_, now)
        return grants

    def _ask(
        self, window: dict[Waiter, Line], round_: Round, now: float, many: bool
    ) -> list[Grant]:
        """Give these their slots, those for whom it is best to have them now."""
        grants: list[Grant] = []
        for waiter, anywhere in self._in_order(window, round_, now):
            if not round_.room:
                break
            waits = waiter.waits_for
            if many and not anywhere and waits and waits.hold(self._seen(waiter), now):
                round_.stand_in_line(waits.upstream, waits.seconds)
                continue
            prices = self._prices(waiter, window[waiter], round_)
            stand = round_.cheapest(waiter, prices, with_room=anywhere)
            if stand is None:
                continue
            if stand.has_room(waiter.weight):
                self._queue.leave(waiter)
                lease = self._take(waiter, stand, round_, now, fair=anywhere)
                grants.append(Grant(waiter, lease))
            elif not anywhere:
                seconds = waiter.weight / stand.rate
                stand.line += seconds
                waiter.waits_for = Waits.at(now, stand.upstream, seconds, waiter.seen)
        return grants

    def _prices(self, waiter: Waiter, line: Line, round_: Round) -> list[Price]:
        servers = self._fleet.kinds.servers(line.need)
        return round_.prices(self._seen(waiter), servers, self.heads, line.size)

    def _in_order(
        self, window: dict[Waiter, Line], round_: Round, now: float
    ) -> Iterator[tuple[Waiter, bool]]:
        """Who is asked next, and whether any server with room will do for it."""
        bound = self._bound
        first = [w for w, line in window.items() if line.head is w]
        first += [w for w in window if w.passed_at is not None and w.passed_at + bound <= now]
        for waiter in sorted(first, key=_place):
            if waiter.waiting:
                yield waiter, True
        for waiter, line in window.items():
            if waiter.waiting and not 0 <= now - waiter.counted_at < COUNTED:
                prices = self._prices(waiter, line, round_)
                waiter.counted_at = now
                waiter.counts_from = waiter.arrived_at + min((p for p, _ in prices), default=0.0)
        for waiter in sorted(window, key=_counts_from):
            if waiter.waiting:
                yield waiter, False

    def _keep(self, window: dict[Waiter, Line], round_: Round, now: float) -> None:
        """Keep a server for each head that needs several slots and finds them nowhere."""
        kept: list[Upstream] = []
        for waiter, line in window.items():
            if waiter.weight == 1 or line.first() is not waiter:
                continue
            servers = self._fleet.kinds.servers(line.need)
            room = self._policy.choose(waiter, servers, kept, self._random)
            if room is None:
                self._keep_for(line, waiter, kept, now)
            else:
                round_.add(servers, room)
        for upstream in kept:
            round_.keep(upstream)

    def _note_passed(self, window: dict[Waiter, Line], round_: Round, now: float) -> None:
        """Note who has been passed over, and when the first of them has been for too long."""
        for waiter, line in window.items():
            if not waiter.waiting:
                continue
            if waiter.passed_at is None and line.left + round_.room > waiter.turn:
                waiter.passed_at = now
            if waiter.passed_at is not None and round_.room:
                due = waiter.passed_at + self._bound
                if due > now and (self._due is None or due < self._due):
                    self._due = due

    def _seen(self, waiter: Waiter) -> Seen | None:
        """Who has how much of a waiter's prompt, as it is known since the last great change.

        What is sent meanwhile that begins alike is no news to it: else all who wait with one
        system prompt would go on waiting for those that had it first, and nobody else would get it.
        """
        if waiter.prompt is None:
            return None
        seen = waiter.seen
        if seen is None or seen.generation != self.heads.generation:
            seen = waiter.seen = self.heads.see(waiter.prompt)
        return seen

    def _take(
        self, waiter: Waiter, stand: Stand, round_: Round, now: float, *, fair: bool = False
    ) -> Lease:
        """Give one who waits its slots."""
        seen = self._seen(waiter)
        lease = self._give(waiter, seen, stand.upstream, now, round_.costs, fair=fair)
        round_.took(stand)
        return lease
