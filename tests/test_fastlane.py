"""The same requests in the fast lane: the proxy's tests on the reactors that have one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.bodies import MemoryBody
from paddler.balancer.fastlane.request import FastRequest
from paddler.headers import RequestHeaders
from paddler.interfaces import Head
from tests.commands import environment

__all__ = ["LaneTests", "ReactorTests", "StallTests"]

_OTHERS = ("test_faults_balancer", "test_faults_of_answers")
_MODELS = ("test_models", "test_context", "test_conversations", "test_prefix")
_MODULES = ("test_proxy", "test_limits", *_MODELS, "onlane", "onlane_reports")


def modules() -> list[str]:
    """All that go through a proxy on real sockets."""
    faults = (path.stem for path in Path(__file__).parent.glob("test_faults_*.py"))
    ours = [
        name for name in faults if name not in ("test_faults_balancer", "test_faults_of_answers")
    ]
    return [f"tests.{name}" for name in (*_MODULES, *sorted(ours))]


class StallTests(SynchronousTestCase):
    """A client that takes less than it is sent."""

    def test_before_it_began(self) -> None:
        """An answer that begins behind one that is not taken waits from the start."""

        class Stalled:
            stalls = True

        class Flow:
            paused = 0

            def pause(self) -> None:
                self.paused += 1

        flow, body, connection = Flow(), MemoryBody(b""), cast(Any, Stalled())
        request = FastRequest(connection, b"/", RequestHeaders(), b"1", body, b"", True)
        request.begin(Head(200, b"OK", [], 2), b"one", False, flow)
        self.assertEqual(flow.paused, 1)


class LaneTests(SynchronousTestCase):
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


class ReactorTests(LaneTests):
    """The proxy's tests, all of them."""

    def test_uvloop(self) -> None:
        """On uvloop's loop."""
        self.run_on("uvloop")
