"""`paddler.terminal.running`: a real terminal is left as it was, whatever ends the dashboard."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from paddler.llamaserver import free_port
from tests.terminals import Terminal, wait_until

__all__ = ["LeavingTests", "NoTerminalTests"]

_SHOWN = "No connection, trying again in"


class _Case(SynchronousTestCase):
    """The dashboard of a balancer that is not there."""

    timeout = 120

    def open(self, before: str = "", after: str = "") -> Terminal:
        """Open it."""
        port = f"--management-port={free_port()}"
        terminal = Terminal(80, 24, "dashboard", port, before=before, after=after)
        self.addCleanup(terminal.close)
        return terminal


class LeavingTests(_Case):
    """How it ends."""

    def test_signals(self) -> None:
        """A signal ends it as `q` does."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            terminal = self.open()
            terminal.wait_for(_SHOWN)
            self.assertFalse(terminal.is_sane())
            os.kill(terminal.child(), number)
            terminal.wait_for("ended with 0")
            wait_until(terminal.is_sane, terminal.text)
            self.assertNotIn("paddler", terminal.text())
            terminal.close()

    def test_terminal_gone(self) -> None:
        """Without its terminal it ends, also where nobody says that the terminal is gone."""
        terminal = self.open(before="trap '' HUP;")
        terminal.wait_for(_SHOWN)
        process = terminal.child()
        terminal.close()

        def gone() -> bool:
            try:
                stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
            except (FileNotFoundError, ProcessLookupError):
                return True
            return stat.rpartition(")")[2].split()[0] == "Z"

        wait_until(gone, lambda: "it goes on")

    def test_suspended(self) -> None:
        """Ctrl-Z gives the terminal back, and `fg` all of the picture."""
        terminal = self.open(before="set -m;", after="; fg")
        terminal.wait_for(_SHOWN, "q quit")
        terminal.press("C-z")
        # The shell goes on with `fg` at once, so that the picture must come again.
        terminal.wait_for(_SHOWN, "q quit")
        terminal.press("q")
        terminal.wait_for("ended with 0")
        wait_until(terminal.is_sane, terminal.text)
        # What `fg` says of a job that there was.
        self.assertIn("paddler dashboard", terminal.text().replace("\n", ""))


class NoTerminalTests(_Case):
    """Where nothing can be drawn."""

    def test_one_line(self) -> None:
        """There is one line, where somebody sees it, and nothing else."""
        for before, after, why in (
            ("", "2>/dev/null", "for its input, output and errors"),
            ("", "</dev/null", "for its input, output and errors"),
            ("TERM=dumb", "", "that can place text, and TERM is dumb"),
        ):
            terminal = self.open(before, after)
            terminal.wait_for("ended with 1")
            said = terminal.text().replace("\n", "")
            self.assertIn(f"paddler dashboard: needs a terminal {why}; programs read", said)
            self.assertTrue(said.endswith("api/v1/agentsended with 1"), said)
            terminal.close()

    def test_plain(self) -> None:
        """A terminal that shows only ASCII, by its name or its encoding, is sent nothing else."""
        for before in ("TERM=linux", "PYTHONIOENCODING=latin-1"):
            terminal = self.open(before)
            terminal.wait_for(_SHOWN, "-----")
            self.assertTrue(terminal.text().isascii(), terminal.text())
            self.assertNotIn("\\u", terminal.text())
            terminal.close()
