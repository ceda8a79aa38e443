"""`paddler.foreground`: a service in a real process, its log and its end by signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from threading import Timer

from twisted.trial.unittest import SynchronousTestCase

from tests.commands import environment, python

__all__ = ["SignalTests", "StartTests"]

_SCRIPT = """
import sys
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from paddler.foreground import run_service

class Sample(Service):
    def privilegedStartService(self):
        if sys.argv[1] == "taken":
            sys.exit("--port: it is taken")

    def startService(self):
        Logger("sample").info("it is up and {word}", word="running")

    def stopService(self):
        if sys.argv[1] == "stubborn":
            return Deferred()
        return deferLater(reactor, 0.05, print, "it has stopped")

run_service(Sample(), reactor)
"""


class StartTests(SynchronousTestCase):
    """Starting."""

    def test_cannot_start(self) -> None:
        """A service that can't start ends the process with its line alone."""
        ended = python("-W", "error", "-c", _SCRIPT, "taken")
        self.assertEqual((ended.code, ended.out, ended.err), (1, "", "--port: it is taken\n"))


class SignalTests(SynchronousTestCase):
    """Ending by signals."""

    def ended_by(self, kind: str, *numbers: signal.Signals) -> tuple[int, str]:
        """Start a service, send it signals once it is up; its exit code and output."""
        words = [sys.executable, "-W", "error", "-c", _SCRIPT, kind]
        with ExitStack() as stack:
            process = stack.enter_context(
                subprocess.Popen(
                    words,
                    env=environment(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,  # where there is no terminal
                )
            )
            stack.callback(process.kill)
            alarm = Timer(20, process.kill)  # ends the reading below, whatever happens
            alarm.start()
            stack.callback(alarm.cancel)
            assert process.stdout is not None
            output = ""
            for number in numbers:
                output += process.stdout.readline()
                process.send_signal(number)
            output += process.stdout.read()
            return process.wait(10), output

    def test_first_signal(self) -> None:
        """The first signal stops the service and waits for its end; the exit code is 0."""
        for number in (signal.SIGTERM, signal.SIGINT):
            code, output = self.ended_by("willing", number)
            self.assertEqual(code, 0, output)
            up, stopping, stopped = output.splitlines()[:3]
            self.assertIn("[sample#info] it is up and running", up)
            self.assertIn("stopping; a second signal ends it at once", stopping)
            self.assertEqual(stopped, "it has stopped")

    def test_hangup(self) -> None:
        """SIGHUP stops nothing where there is no terminal that could have been closed."""
        code, output = self.ended_by("willing", signal.SIGHUP, signal.SIGHUP, signal.SIGTERM)
        self.assertEqual(code, 0, output)
        _, one, two, stopping, stopped = output.splitlines()[:5]
        for line in (one, two):
            self.assertIn("SIGHUP: no file is read again and none reopened", line)
        self.assertIn("stopping", stopping)
        self.assertEqual(stopped, "it has stopped")

    def test_second_signal(self) -> None:
        """The second signal ends a process whose service does not stop, without a traceback."""
        code, output = self.ended_by("stubborn", signal.SIGTERM, signal.SIGTERM)
        self.assertEqual(code, 143)
        self.assertNotIn("Traceback", output)
        self.assertEqual(len(output.splitlines()), 2)
