"""Twisted's reactor on uvloop's loop: `paddler.uvloopreactor`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.commands import python

__all__ = ["TimerTests"]

_WAITS = """
import time
from paddler.uvloopreactor import install

install()
from twisted.internet import reactor

turns, late = [], []
run_until_current = reactor.runUntilCurrent
reactor.runUntilCurrent = lambda: (turns.append(1), run_until_current())


def wait(left, since):
    late.append(time.monotonic() - since - 0.0104)
    if left:
        reactor.callLater(0.0104, wait, left - 1, time.monotonic())
    else:
        reactor.stop()


reactor.callWhenRunning(reactor.callLater, 0.0104, wait, 20, time.monotonic())
reactor.run()
print(len(turns), sorted(late)[len(late) // 2])
"""


class TimerTests(SynchronousTestCase):
    """Timed calls."""

    def test_one_turn_each(self) -> None:
        """The reactor wakes up once for each, hardly later than it is due."""
        turns, late = python("-c", _WAITS).out.split()
        self.assertLess(int(turns), 35)
        self.assertLess(float(late), 0.01)
