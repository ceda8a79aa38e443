"""What a number was: `paddler.scheduling.history`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.history import GRAIN, SPAN, CountHistory

__all__ = ["CountHistoryTests"]


def _history(*changes: tuple[float, int]) -> CountHistory:
    history = CountHistory()
    for now, count in changes:
        history.put(count, now)
    return history


class CountHistoryTests(SynchronousTestCase):
    """`CountHistory` against tables."""

    def test_empty(self) -> None:
        """A number that never changed was 0."""
        self.assertEqual(CountHistory().most_between(0, 1e9), 0)

    def test_most(self) -> None:
        """The largest value in a window counts, the one it began with included."""
        history = _history((10, 1), (11, 5), (12, 2), (13, 0))
        for since, until, most in (
            (9.0, 9.5, 0),
            (9.0, 10.5, 1),
            (10.5, 10.6, 1),
            (10.5, 11.0, 5),
            (11.5, 11.6, 5),
            (11.9, 12.1, 5),
            (12.5, 12.6, 2),
            (12.9, 13.1, 2),
            (13.5, 99.0, 0),
            (0.0, 99.0, 5),
        ):
            self.assertEqual(history.most_between(since, until), most, (since, until))

    def test_within_a_grain(self) -> None:
        """Changes that follow at once leave the largest and the last."""
        history = _history((10.0, 1), (10.001, 7), (10.002, 3))
        self.assertEqual(history.most_between(10.0, 10.0), 7)
        self.assertEqual(history.most_between(11.0, 12.0), 3)

    def test_bounded(self) -> None:
        """However often the number changes, only a fixed number of stretches is kept."""
        history = CountHistory()
        for step in range(20_000):
            history.put(step % 7, 100 + step * GRAIN / 10)
        self.assertLessEqual(len(history._stretches), SPAN / GRAIN + 1)

    def test_older_than_the_span(self) -> None:
        """What is too old to be known is taken to be as the oldest that is known."""
        history = _history((10, 4), (20, 2), (40, 0))
        self.assertEqual(history.most_between(39, 39.5), 2)
        self.assertEqual(history.most_between(5, 6), 2)

    def test_clock_set_back(self) -> None:
        """A clock that jumps back loses no change and breaks no order."""
        history = _history((100, 1), (90, 6), (91, 2), (101, 3))
        self.assertEqual(history.most_between(100, 100), 6)
        self.assertEqual(history.most_between(101, 102), 3)
        self.assertEqual(history.most_between(100.5, 100.9), 2)
