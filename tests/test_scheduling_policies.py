"""Whom a request goes to: `paddler.scheduling.policies`."""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.lines import ANYTHING, Waiter
from paddler.scheduling.policies import IdleSlots
from paddler.scheduling.serving import Kinds, Servers
from paddler.scheduling.slots import Upstream
from tests.scenes import new_upstream, report

__all__ = ["IdleSlotsTests"]


def _fleet(kinds: int = 1, **slots: tuple[int, int]) -> tuple[Servers, dict[str, Upstream]]:
    """Upstreams by name, each with its idle slots and its slots in all, in turn of each kind."""
    index, upstreams = Kinds(), {}
    for number, (name, (idle, total)) in enumerate(slots.items()):
        told = report(name, total, total - idle, models=(f"m{number % kinds}",))
        upstreams[name] = upstream = new_upstream(told)
        upstream.hear(told, 0.0)
        index.put(upstream)
        index.index(upstream)
    return index.servers(ANYTHING), upstreams


class IdleSlotsTests(SynchronousTestCase):
    """`IdleSlots`."""

    def choices(
        self, servers: Servers, weight: int = 1, avoid: Upstream | None = None, times: int = 3000
    ) -> Counter[str | None]:
        """Who is chosen, and how often of so many times."""
        random = Random(5)
        kept = () if avoid is None else (avoid,)
        waiter = Waiter(weight, 0.0)
        chosen = (IdleSlots().choose(waiter, servers, kept, random) for _ in range(times))
        return Counter(None if upstream is None else upstream.name for upstream in chosen)

    def test_nobody(self) -> None:
        """Without an idle slot nobody is chosen."""
        self.assertEqual(self.choices(Kinds().servers(ANYTHING), times=5), {None: 5})

    def test_most_idle(self) -> None:
        """The most idle slots win, whatever share of the whole they are."""
        servers, _ = _fleet(small=(2, 2), large=(3, 64))
        self.assertEqual(self.choices(servers, times=100), {"large": 100})

    def test_random_among_equals(self) -> None:
        """Among equals each is as likely, so that no herd runs to one."""
        servers, _ = _fleet(a=(2, 2), b=(2, 4), c=(2, 8), d=(1, 8))
        counts = self.choices(servers)
        self.assertEqual(set(counts), {"a", "b", "c"})
        for name in counts:
            self.assertLess(abs(counts[name] - 1000), 120)

    def test_several_kinds(self) -> None:
        """Equals are as likely as each other whatever else they serve, and the most idle win."""
        servers, upstreams = _fleet(2, a=(2, 2), b=(2, 4), c=(2, 8), d=(1, 8), e=(2, 2))
        counts = self.choices(servers, times=4000)
        self.assertEqual(set(counts), {"a", "b", "c", "e"})
        for name in counts:
            self.assertLess(abs(counts[name] - 1000), 120)
        self.assertEqual(set(self.choices(servers, avoid=upstreams["a"])), {"b", "c", "e"})
        self.assertEqual(set(self.choices(servers, 3, times=99)), {"a", "e"})
        servers, _ = _fleet(2, a=(2, 2), b=(3, 4))
        self.assertEqual(self.choices(servers, times=50), {"b": 50})

    def test_avoid(self) -> None:
        """The one to avoid is never chosen, and the others stay as likely as each other."""
        servers, upstreams = _fleet(a=(2, 2), b=(2, 2), c=(2, 2), d=(2, 2))
        counts = self.choices(servers, avoid=upstreams["b"])
        self.assertEqual(set(counts), {"a", "c", "d"})
        for name in counts:
            self.assertLess(abs(counts[name] - 1000), 120)

    def test_avoid_the_only_best(self) -> None:
        """Where the best is to be avoided the next best is chosen, or nobody."""
        servers, upstreams = _fleet(a=(4, 4), b=(1, 4))
        self.assertEqual(self.choices(servers, avoid=upstreams["a"], times=9), {"b": 9})
        servers, upstreams = _fleet(a=(4, 4))
        self.assertEqual(self.choices(servers, avoid=upstreams["a"], times=9), {None: 9})

    def test_weight(self) -> None:
        """A weight needs that many idle slots, or all that a smaller server has."""
        for weight, slots, expected in (
            (2, {"a": (2, 4), "b": (1, 4)}, "a"),
            (3, {"a": (2, 4), "b": (1, 4)}, None),
            (3, {"a": (2, 4), "b": (2, 2)}, "b"),
            (3, {"a": (3, 4), "b": (2, 2)}, "a"),
            (9, {"a": (8, 9), "b": (1, 1)}, "b"),
            (9, {"a": (8, 9), "b": (1, 2)}, None),
        ):
            servers, _ = _fleet(**slots)
            self.assertEqual(self.choices(servers, weight, times=5), {expected: 5}, (weight, slots))

    def test_weight_and_avoid(self) -> None:
        """What a small server costs counts for the one to avoid too."""
        servers, upstreams = _fleet(a=(2, 2), b=(2, 2), c=(2, 4))
        self.assertEqual(self.choices(servers, 3, upstreams["a"], times=20), {"b": 20})
