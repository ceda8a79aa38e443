"""`paddler demo` as a user runs it: real llama-servers, real services, one real chat."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import unittest
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.children import tied_to_parent
from paddler.llamaserver import NO_LLAMA_SERVER, find_llama_server
from tests.commands import environment, run_paddler

__all__ = ["DemoTests"]


def _running(mark: str) -> dict[int, str]:
    """The processes whose environment has `mark` in it: their ids and command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if words != [b""]:  # one that has ended has none
                    found[int(folder.name)] = b" ".join(words).decode(errors="replace")
        except OSError:
            continue
    return found


class DemoTests(SynchronousTestCase):
    """The whole demo in processes of its own."""

    def setUp(self) -> None:
        if find_llama_server() is None:
            raise unittest.SkipTest(NO_LLAMA_SERVER)
        # Children of the demo have its environment, so that this finds all of them.
        self.mark = f"OF_A_TEST={self.id()}-{os.getpid()}"
        self.marked = dict([self.mark.split("=")])

    def assert_nothing_runs(self) -> None:
        """No process of this test is left."""
        self.assertEqual(_running(self.mark), {})

    def open(self, stack: ExitStack, *words: str) -> subprocess.Popen[str]:
        """Start a demo; it is killed at the end and after a while, whatever happens."""
        demo = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "paddler", "demo", *words],
                env=environment(self.marked),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        stack.callback(demo.kill)
        alarm = Timer(60, demo.kill)
        alarm.start()
        stack.callback(alarm.cancel)
        return demo

    def read_until(self, demo: subprocess.Popen[str], says: str) -> str:
        """What it prints up to the line that has `says` in it."""
        assert demo.stdout is not None
        text = ""
        for line in demo.stdout:
            text += line
            if says in line:
                return text
        raise AssertionError(f"it ended without {says!r}:\n{text}")

    def test_once(self) -> None:
        """`--once` shows a whole chat and the agent that answered, and leaves nothing."""
        ended = run_paddler("demo", "--once", "--servers", "1", "--slots", "3", more=self.marked)
        self.assertEqual((ended.code, ended.err), (0, ""), ended.out)
        self.assertIn("1 llama-server with 3 slots", ended.out)
        self.assertRegex(ended.out, r"model:( [a-z]+){48}\n")
        self.assertIn("Answered by agent llama-1", ended.out)
        self.assert_nothing_runs()

    def check_signal(self, number: signal.Signals, to_group: bool = False) -> None:
        """A signal stops a demo that stays, without a traceback; nothing is left."""
        with ExitStack() as stack:
            demo = self.open(stack)
            text = self.read_until(demo, "Ctrl-C stops all of it")
            for address in ("/health", "/api/v1/agents", "curl -i http://127.0.0.1:"):
                self.assertIn(address, text)
            self.assertGreaterEqual(len(_running(self.mark)), 6)  # 2 servers, 2 agents, ...
            if to_group:
                os.killpg(demo.pid, number)
            else:
                demo.send_signal(number)
            assert demo.stdout is not None
            rest = demo.stdout.read()
            self.assertEqual(demo.wait(), 0, rest)
            self.assertEqual(rest, "\nStopping.\n")
            self.assert_nothing_runs()

    def test_interrupted(self) -> None:
        """Ctrl-C, which a terminal sends to the whole group, stops all of it."""
        self.check_signal(signal.SIGINT, to_group=True)

    def test_terminated(self) -> None:
        """SIGTERM stops all of it."""
        self.check_signal(signal.SIGTERM)

    def test_terminal_closed(self) -> None:
        """SIGHUP stops all of it."""
        self.check_signal(signal.SIGHUP)

    def test_killed(self) -> None:
        """What a demo started ends even when the demo itself is killed."""
        if not tied_to_parent():
            raise unittest.SkipTest("this system can't tie a process to its parent")
        with ExitStack() as stack:
            demo = self.open(stack)
            self.read_until(demo, "Ctrl-C stops all of it")
            demo.kill()
            assert demo.stdout is not None
            self.assertEqual(demo.stdout.read(), "")
            demo.wait()
            for pid in _running(self.mark):
                _wait_for_end(pid)
            self.assert_nothing_runs()

    def test_child_dies(self) -> None:
        """When one process dies, the demo says which, ends the others, and fails."""
        with ExitStack() as stack:
            demo = self.open(stack)
            self.read_until(demo, "Ctrl-C stops all of it")
            victims = [pid for pid, line in _running(self.mark).items() if "llama-2" in line]
            self.assertEqual(len(victims), 1)
            os.kill(victims[0], signal.SIGKILL)
            assert demo.stdout is not None
            rest = demo.stdout.read()
            self.assertEqual(demo.wait(), 1)
            self.assertRegex(rest, re.compile(r"^paddler demo: agent 2 ended \(signal 9\)", re.M))
            self.assert_nothing_runs()

    def test_broken_server(self) -> None:
        """A llama-server that ends at once ends the demo, with what it said."""
        broken = Path(self.mktemp()).absolute()
        broken.write_text("#!/bin/sh\necho no such GPU >&2\nexit 3\n")
        broken.chmod(0o755)
        ended = run_paddler("demo", "--once", "--llama-server", str(broken), more=self.marked)
        self.assertEqual(ended.code, 1)
        self.assertRegex(ended.err, r"\Apaddler demo: llama-server \d ended \(exit code 3\)")
        self.assertIn("no such GPU", ended.err)
        self.assertNotIn("Traceback", ended.err)
        self.assert_nothing_runs()


def _wait_for_end(pid: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    watch: Any = None
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    select.select([watch], [], [], 10)
    os.close(watch)
