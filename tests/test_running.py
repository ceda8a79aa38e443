"""`python -m tests`: the line that a run closes with."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.__main__ import closing_line

__all__ = ["ClosingLineTests"]


class ClosingLineTests(SynchronousTestCase):
    """Trial's last line in other words."""

    def test_lines(self) -> None:
        """Every word of trial's counts as passed, failed or skipped."""
        for result, code, closing in (
            ("PASSED (successes=12)\n", 0, "12 passed, 0 failed"),
            ("PASSED (skips=2, successes=3)\n", 0, "3 passed, 0 failed, 2 skipped"),
            ("PASSED (expectedFailures=1, successes=3)\n", 0, "4 passed, 0 failed"),
            ("FAILED (failures=1, errors=2, successes=3)\n", 1, "3 passed, 3 failed"),
            ("FAILED (unexpectedSuccesses=1)\n", 1, "0 passed, 1 failed"),
        ):
            self.assertEqual(closing_line(result, code), closing)

    def test_broken_off(self) -> None:
        """Without a result, or with one that its exit code denies, something has failed."""
        self.assertEqual(closing_line("", -11), "0 passed, 1 failed")
        self.assertEqual(closing_line("PASSED (successes=3)\n", 1), "3 passed, 1 failed")
