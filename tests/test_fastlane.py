"""The same requests in the fast lane: the proxy's tests on the reactors that have one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commands import environment

__all__ = ["ReactorTests"]

_OTHERS = ("test_faults_balancer", "test_faults_of_answers")
_MODULES = ("test_proxy", "test_limits", "onlane")


def modules() -> list[str]:
    """All that go through a proxy on real sockets."""
    faults = (path.stem for path in Path(__file__).parent.glob("test_faults_*.py"))
    ours = [
        name for name in faults if name not in ("test_faults_balancer", "test_faults_of_answers")
    ]
    return [f"tests.{name}" for name in (*_MODULES, *sorted(ours))]


class ReactorTests(SynchronousTestCase):
    """Each reactor in a process of its own, for a process has one."""

    timeout = 300

    def run_on(self, reactor: str) -> None:
        """All of them pass, and none is passed over."""
        command = [sys.executable, "-m", "twisted.trial", f"--reactor={reactor}"]
        command += [f"--temp-directory={self.mktemp()}", *modules()]
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=280, env=environment(), check=False
        )
        found = re.search(r"^PASSED \(successes=(\d+)\)$", ran.stdout, re.MULTILINE)
        self.assertEqual(ran.returncode, 0, ran.stdout[-6000:] + ran.stderr[-2000:])
        assert found is not None, ran.stdout[-6000:]
        self.assertGreater(int(found[1]), 150)

    def test_uvloop(self) -> None:
        """On uvloop's loop."""
        self.run_on("uvloop")
