"""What a decision costs: slots granted and given back, by the scheduler alone.

Everywhere all slots are taken and requests wait; one ends, the next in line gets its slot and
another comes to wait. The same without a queue: one ends and one comes. What matters is how the
cost grows from few llama-servers to many and from a short queue to a long one, for the times
themselves are the machine's. Exit code 1 when the dearest is more than three times the cheapest.

    python benchmarks/bench_scheduler.py [--json] [--steps 5000]
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import deque
from random import Random

import attrs

from paddler.scheduling.lines import Waiter
from paddler.scheduling.policies import IdleSlots
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease
from paddler.values import Address, Report

__all__ = ["Cost", "main", "measure"]

UPSTREAMS = (10, 100, 1_000, 10_000)
WAITERS = (0, 100, 1_000, 10_000)
SLOTS = 4
#: How much more the dearest may cost than the cheapest.
LIMIT = 3.0


@attrs.frozen
class Cost:
    """What one request costs: its coming, its grant and its end.

    :param microseconds: the median of several runs.
    """

    upstreams: int
    waiters: int
    microseconds: float


@attrs.define(eq=False)
class Fleet:
    """A scheduler in whose upstreams requests run, and for which others wait."""

    random: Random
    scheduler: Scheduler
    running: list[Lease] = attrs.field(factory=list)
    now: float = 1_000.0

    @classmethod
    def of(cls, upstreams: int, waiters: int) -> Fleet:
        """All slots taken and so many waiting; half of the slots taken when none waits."""
        random = Random(1)
        fleet = cls(random, Scheduler(IdleSlots(), random, waiters + 1, 3))
        for number in range(upstreams):
            address = Address(f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}", 80)
            report = Report(f"gpu-{number}", address, 3600.0, SLOTS)
            fleet.scheduler.report(str(number), report, fleet.now)
        slots = upstreams * SLOTS
        for _ in range(slots + waiters if waiters else slots // 2):
            fleet.come()
        return fleet

    def come(self) -> None:
        """A request comes."""
        outcome = self.scheduler.request(Waiter(1, self.now), self.now)
        self.running += [grant.lease for grant in outcome.grants]

    def end(self) -> None:
        """A request ends, whichever."""
        place = self.random.randrange(len(self.running))
        lease, self.running[place] = self.running[place], self.running[-1]
        self.running.pop()
        self.now += 0.001
        outcome = self.scheduler.release(lease, self.now)
        self.running += [grant.lease for grant in outcome.grants]


def measure(upstreams: int, waiters: int, steps: int, runs: int = 5) -> Cost:
    """What a request costs with so many upstreams and waiters.

    :param steps: requests in a run.
    """
    fleet = Fleet.of(upstreams, waiters)
    took: deque[float] = deque()
    gc.collect()
    gc.disable()
    try:
        for _ in range(runs + 1):
            began = time.process_time()
            for _ in range(steps):
                fleet.end()
                fleet.come()
            took.append(time.process_time() - began)
    finally:
        gc.enable()
    took.popleft()  # it warmed up
    return Cost(upstreams, waiters, sorted(took)[runs // 2] / steps * 1e6)


def main() -> None:
    """Measure every pair and print the table."""
    parser = argparse.ArgumentParser(description="What a decision of the scheduler costs.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--steps", type=int, default=5_000)
    given = parser.parse_args()
    costs = [measure(u, w, given.steps) for u in UPSTREAMS for w in WAITERS]
    cheapest = min(cost.microseconds for cost in costs)
    dearest = max(cost.microseconds for cost in costs) / cheapest
    if given.json:
        print(json.dumps({"costs": [attrs.asdict(c) for c in costs], "dearest": dearest}))
    else:
        print("microseconds for one request, and how many times the cheapest that is")
        print("upstreams  " + "".join(f"{w:>10} waiting" for w in WAITERS))
        for upstreams in UPSTREAMS:
            row = (c.microseconds for c in costs if c.upstreams == upstreams)
            print(f"{upstreams:>9}  " + "".join(f"{m:>11.1f}{m / cheapest:>6.2f}x" for m in row))
        print(f"the dearest is {dearest:.2f} times the cheapest; {LIMIT:g} is the limit")
    sys.exit(dearest > LIMIT)


if __name__ == "__main__":
    main()
