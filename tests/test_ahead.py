"""Tests for paddler.ahead: waiting for something before the reactor runs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from paddler.ahead import run_ahead
from paddler.dialing import look_up
from tests.commands import environment, python

__all__ = ["CtrlCTests", "RunAheadTests"]


class RunAheadTests(SynchronousTestCase):
    """What it waits for, and what it leaves."""

    def test_result(self) -> None:
        """What fires later is waited for, and what has fired already isn't."""
        self.assertEqual(run_ahead(lambda reactor: deferLater(reactor, 0.01, str, 5)), "5")
        self.assertEqual(run_ahead(lambda reactor: succeed(6)), 6)

    def test_failure(self) -> None:
        """Its failure is raised."""
        failing: Any = fail(ZeroDivisionError("oops"))
        self.assertRaises(ZeroDivisionError, run_ahead, lambda reactor: failing)

    def test_names(self) -> None:
        """Names are looked up, and the threads that did so are gone."""
        before = set(threading.enumerate())
        found = run_ahead(lambda reactor: Deferred.fromCoroutine(look_up(reactor, "localhost")))
        self.assertTrue({"127.0.0.1", "::1"} & set(found))
        self.assertEqual(set(threading.enumerate()) - before, set())

    def test_quiet(self) -> None:
        """Nothing is logged, and signals do what they did."""
        events: list[Any] = []
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        run_ahead(lambda reactor: deferLater(reactor, 0.01, lambda: None))
        self.assertEqual(events, [])
        after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        self.assertEqual(after, handlers)

    def test_no_reactor_is_installed(self) -> None:
        """The process may still choose its reactor afterwards."""
        script = (
            "import sys; from twisted.internet.defer import succeed\n"
            "from paddler.hosts import run_ahead; print(run_ahead(lambda reactor: succeed(7)))\n"
            "assert 'twisted.internet.reactor' not in sys.modules\n"
            "from twisted.internet import asyncioreactor; asyncioreactor.install()\n"
            "from twisted.internet import reactor; reactor.callWhenRunning(reactor.stop)\n"
            "reactor.run(); print(type(reactor).__name__)"
        )
        ended = python("-W", "error", "-c", script)
        self.assertEqual((ended.err, ended.out), ("", "7\nAsyncioSelectorReactor\n"))


class CtrlCTests(SynchronousTestCase):
    """A person who won't wait."""

    def test_ctrl_c(self) -> None:
        """It ends the wait at once."""
        script = (
            "import os, signal; from twisted.internet.defer import Deferred\n"
            "from paddler.ahead import run_ahead\n"
            "def work(reactor):\n"
            "    print('waiting', flush=True); return Deferred()\n"
            "try: run_ahead(work)\n"
            "except KeyboardInterrupt: print('interrupted')"
        )
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            self.addCleanup(process.kill)
            alarm = threading.Timer(20, process.kill)
            alarm.start()
            self.addCleanup(alarm.cancel)
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            said = process.stdout.read()
        self.assertTrue(re.fullmatch("interrupted\n", said), said)
