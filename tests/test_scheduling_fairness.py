"""For how long somebody may be passed over, whatever comes: `paddler.scheduling.toll`."""

from __future__ import annotations

from random import Random

import attrs
from hypothesis import given, settings
from hypothesis.strategies import booleans, floats, integers, lists, tuples
from twisted.trial.unittest import SynchronousTestCase

from paddler.facts import Facts
from paddler.prompts import Prompt
from paddler.scheduling.lines import Waiter
from paddler.scheduling.outcomes import Grant
from paddler.scheduling.policies import Prefix
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease
from paddler.values import Address, Report

BOUND = 5.0
SERVERS, SLOTS = 3, 2

#: Seconds until something happens, whether somebody comes or goes, which, and how long a prompt.
STEPS = lists(tuples(floats(0.0, 1.5), booleans(), integers(0, 8), integers(1, 6)), max_size=250)


@attrs.define(eq=False)
class Crowd:
    """Requests that come and go, and when the turn of each is, told from what happens alone."""

    now: float = 1000.0
    scheduler: Scheduler = attrs.field(init=False)
    running: list[Lease] = attrs.field(factory=list)
    #: Those who wait, in their order, and how many of those who came before each still wait.
    before: dict[Waiter, int] = attrs.field(factory=dict)
    #: Since when those who wait have been passed over.
    since: dict[Waiter, float] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.scheduler = Scheduler(Prefix(BOUND), Random(1), 10**6, 3)
        for n in range(SERVERS):
            report = Report(f"gpu-{n}", Address(f"10.0.0.{n + 1}", 8080), 1e6, SLOTS)
            self.scheduler.report(str(n), report, self.now)

    def comes(self, chat: int, turns: int) -> None:
        """Somebody comes, who has said so much before."""
        chain = [hash((chat, n)) for n in range(turns)]
        ends = [8000 * (n + 1) for n in range(turns)]
        waiter = Waiter(1, self.now, prompt=Prompt(chain, ends, ends[-1], 0, None))
        lease = self.scheduler.grant_at_once(waiter, self.now)
        if lease is not None:
            self.running.append(lease)
            return
        self.before[waiter] = len(self.before)
        self.granted(self.scheduler.request(waiter, self.now).grants)

    def ends(self, which: int) -> None:
        """One of those who run has its answer."""
        if self.running:
            lease = self.running.pop(which % len(self.running))
            self.scheduler.answers(lease, self.now)
            facts = Facts(0, 500, 10, 400.0, 20.0)
            self.granted(self.scheduler.release(lease, self.now, facts).grants)

    def passes(self, seconds: float) -> None:
        """Time passes, and the scheduler is called when it wants to be."""
        until = self.now + seconds
        while (due := self.scheduler.next_event) is not None and due <= until:
            self.now = max(self.now, due)
            self.granted(self.scheduler.pass_time(self.now).grants)
        self.now = until

    def granted(self, grants: tuple[Grant, ...]) -> None:
        """Some who waited have got slots: nobody who came later than one whose bound is over."""
        overdue = [w for w, since in self.since.items() if since + BOUND <= self.now]
        for grant in grants:
            waiter = grant.waiter
            late = [w for w in overdue if w in self.before and w.place < waiter.place]
            assert not late, f"{late[0]} is passed over after {self.now - self.since[late[0]]} s"
            self.running.append(grant.lease)
            del self.before[waiter]
            self.since.pop(waiter, None)
            for other in self.before:
                self.before[other] -= 1
        free = SERVERS * SLOTS - len(self.running)
        for waiter, left in self.before.items():
            # Below nothing, later ones have gone as well.
            if left - free < 0:
                self.since.setdefault(waiter, self.now)
        if free:
            assert all(since + BOUND > self.now for since in self.since.values())


class FairnessTests(SynchronousTestCase):
    """Nobody is passed over for longer than the bound."""

    @settings(max_examples=60, deadline=None)
    @given(STEPS)
    def test_bound(self, steps: list[tuple[float, bool, int, int]]) -> None:
        """From then on nobody who came later gets a slot, and no slot stays free."""
        crowd = Crowd()
        for seconds, comes, which, turns in steps:
            crowd.passes(seconds)
            if comes:
                crowd.comes(which, turns)
            else:
                crowd.ends(which)

    def test_longest_wait(self) -> None:
        """With more work than there is time for, none waits for long beyond its bound."""
        random, crowd, longest = Random(3), Crowd(), 0.0
        for _ in range(3000):
            crowd.passes(random.expovariate(2.0))
            if random.random() < 0.52:
                crowd.comes(random.randrange(40), random.randint(1, 6))
            else:
                crowd.ends(random.randrange(6))
            longest = max([longest, *(crowd.now - since for since in crowd.since.values())])
            # Once it is over they come one after another, as slots are given back.
            self.assertLess(longest, 3 * BOUND)
        self.assertGreater(longest, BOUND)
