"""Idle slots found at once: `paddler.scheduling.idle`."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.idle import IdleIndex
from paddler.scheduling.slots import Upstream
from tests.scenes import new_upstream, report

__all__ = ["IdleIndexTests"]


def _upstream(name: str) -> Upstream:
    return new_upstream(report(name))


class IdleIndexTests(SynchronousTestCase):
    """`IdleIndex` against a dictionary."""

    def test_empty(self) -> None:
        """Nobody has nothing."""
        index = IdleIndex()
        self.assertEqual((index.most, list(index.levels())), (0, []))

    def test_none_idle(self) -> None:
        """An upstream without idle slots is not in it."""
        index, upstream = IdleIndex(), _upstream("a")
        index.put(upstream, 0)
        index.put(upstream, 3)
        index.put(upstream, 0)
        self.assertEqual((index.most, list(index.levels())), (0, []))

    def test_most_first(self) -> None:
        """Levels come from the most idle slots down."""
        index = IdleIndex()
        a, b, c = map(_upstream, "abc")
        for upstream, idle in ((a, 1), (b, 100), (c, 1)):
            index.put(upstream, idle)
        self.assertEqual([(n, list(us)) for n, us in index.levels()], [(100, [b]), (1, [a, c])])

    def test_random_walk(self) -> None:
        """After any changes it says what a dictionary of the same changes says."""
        random = Random(7)
        index, upstreams = IdleIndex(), [_upstream(f"u{i}") for i in range(12)]
        idle: dict[Upstream, int] = {}
        for _ in range(2000):
            upstream = random.choice(upstreams)
            idle[upstream] = random.choice((0, 0, 1, 2, 3, 100))
            index.put(upstream, idle[upstream])
            found = {u: n for n, us in index.levels() for u in us}
            self.assertEqual(found, {u: n for u, n in idle.items() if n})
            self.assertEqual(index.most, max(idle.values()))
