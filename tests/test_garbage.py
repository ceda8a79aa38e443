"""What Python's collector is told to pass over: `paddler.garbage`."""

from __future__ import annotations

import gc

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from paddler.garbage import spare_the_start

__all__ = ["SpareTests"]


class _Cycle:
    """Garbage as soon as nobody has it."""

    def __init__(self) -> None:
        self.itself = self


class SpareTests(SynchronousTestCase):
    """A service that starts."""

    def test_start(self) -> None:
        """What is there by then is spared, but not what was garbage already, and not what comes."""
        self.addCleanup(gc.unfreeze)
        reactor = MemoryReactorClock()
        spare_the_start(reactor)
        before, cycle = gc.get_freeze_count(), _Cycle()
        del cycle
        reactor.run()
        self.assertGreater(gc.get_freeze_count(), before + 1000)
        self.assertFalse(any(isinstance(each, _Cycle) for each in gc.get_objects()))
        cycle = _Cycle()
        self.assertIn(cycle, [each for each in gc.get_objects() if isinstance(each, _Cycle)])
        del cycle
        self.assertGreaterEqual(gc.collect(), 1)
