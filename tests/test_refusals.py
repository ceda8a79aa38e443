"""Tests of what is counted and logged of reports that are refused."""

from __future__ import annotations

import json

from paddler.balancer.management import REPORT_LIMIT
from paddler.balancer.refusals import AGENTS, LINES, SENDERS, SILENCE, RefusedReports
from tests.managing import REPORT, ManagementCase

__all__ = ["RefusedReportTests", "SendersTests"]


class RefusedReportTests(ManagementCase):
    """What is counted and logged of reports that are refused."""

    path = "/api/v1/agent_status_update/"

    def refused(self) -> int:
        """How many the API says were refused."""
        count: int = self.ask("GET", "/api/v1/balancer").json["refused_reports"]
        return count

    def test_one_line_a_change(self) -> None:
        """A problem is logged when it is new, when it is another, and when it is over."""
        for body in (b"{}", b"{}", b"{}", b"[]", b"[]", REPORT.to_json(), REPORT.to_json()):
            self.ask("POST", self.path + "a1", body)
        lines = [line for line in self.lines if "reports of" in line]
        self.assertEqual(len(lines), 3, lines)
        self.assertIn("agent a1 from 127.0.0.1 are refused: ", lines[0])
        self.assertIn("agent_name", lines[0])
        self.assertIn("agent a1 from 127.0.0.1 are refused: ", lines[1])
        self.assertIn("agent a1 from 127.0.0.1 are taken again", lines[2])
        self.assertEqual(self.refused(), 5)

    def test_good_reports(self) -> None:
        """Good reports are not logged; the agent's joining is."""
        for _ in range(5):
            self.report()
        self.assertEqual(len(self.lines), 1)

    def test_hostile_ids(self) -> None:
        """However many ids are made up, the log has a few lines, each one line."""
        for number in range(300):
            self.ask("POST", f"{self.path}x%0Aroot{number}%1B%E2%80%A8", b"{}")
        lines = self.lines
        self.assertLess(len(lines), 20)
        for line in lines:
            self.assertTrue(line.isprintable(), ascii(line))
        self.assertEqual(self.refused(), 300)

    def test_lines_come_back(self) -> None:
        """After a while there is a line again, and it says how many there were not."""
        for number in range(30):
            self.ask("POST", f"{self.path}x{number}", b"{}")
        said = len(self.lines)
        self.clock.advance(60.0)
        self.ask("POST", f"{self.path}late", b"{}")
        self.assertEqual(len(self.lines), said + 1)
        self.assertIn(f"({30 - said} more such changes", self.lines[-1])

    def test_hostile_problems(self) -> None:
        """What a report says is not repeated at length, nor as lines of its own."""
        fields = {**json.loads(REPORT.to_json()), "issues": ["a\nb\x1b[2J" + "c" * 9999]}
        self.ask("POST", self.path + "a1", json.dumps(fields).encode())
        (line,) = self.lines
        self.assertTrue(line.isprintable(), ascii(line))
        self.assertLess(len(line), 500)

    def test_too_large_is_counted(self) -> None:
        """A report that is too large is a refused one."""
        self.ask("POST", self.path + "a1", b" " * (REPORT_LIMIT + 1))
        self.assertEqual(self.refused(), 1)

    def test_unauthorized_is_not_counted(self) -> None:
        """What is turned away at the door was never a report."""
        self.serve(token="s3cret")
        self.ask("POST", self.path + "a1", b"{}")
        got = self.ask("GET", "/api/v1/balancer", authorization="Bearer s3cret")
        self.assertEqual(got.json["refused_reports"], 0)


class SendersTests(ManagementCase):
    """Those who send such reports."""

    def test_apart(self) -> None:
        """One sender's rubbish does not hide another's."""
        refusals = RefusedReports(self.clock)
        for number in range(1000):
            refusals.refused("10.0.0.1", f"x{number}", "rubbish")
        refusals.refused("10.0.0.2", "a1", "a problem")
        self.assertEqual(len(self.lines), LINES + 1)
        self.assertIn("10.0.0.2", self.lines[-1])

    def test_bounded(self) -> None:
        """Of any number of senders and agents only so many are remembered."""
        refusals = RefusedReports(self.clock)
        for number in range(SENDERS * 4):
            refusals.refused(f"address {number}", "a1", "rubbish")
        for number in range(AGENTS * 4):
            refusals.refused("address 0", f"a{number}", "rubbish")
        self.assertLess(len(self.lines), SENDERS + 3 * LINES)
        self.assertEqual(refusals.count, SENDERS * 4 + AGENTS * 4)
        self.assertEqual(refusals.remembered, SENDERS + AGENTS)

    def test_forgotten(self) -> None:
        """A sender that has been silent for long makes room for another."""
        refusals = RefusedReports(self.clock)
        for number in range(SENDERS):
            refusals.refused(f"address {number}", "a1", "rubbish")
        self.clock.advance(SILENCE + 1)
        refusals.refused("new", "a1", "rubbish")
        self.assertIn("from new are refused", self.lines[-1])
