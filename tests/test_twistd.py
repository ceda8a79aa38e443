"""What a service makes of the options of the twistd that it runs under."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import Options
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.settings import BalancerOptions
from paddler.logs import twistd_observer
from paddler.twistd import masked, prepare

__all__ = ["EndpointTests", "LogTests", "PrepareTests"]


def _options(**twistd: Any) -> BalancerOptions:
    """The balancer's, below twistd's."""
    options = BalancerOptions()
    options.environment = {}
    options.parent = Options()
    options.parent.update({"nodaemon": 0, "umask": None, "chroot": None, **twistd})
    return options


class EndpointTests(SynchronousTestCase):
    """The mode of unix sockets."""

    def test_mask(self) -> None:
        """twistd's --umask decides where the description doesn't."""
        for umask, description, becomes in (
            (0o027, "unix:/run/p", "unix:/run/p:mode=640"),
            (0o777, "unix:/run/p", "unix:/run/p:mode=0"),
            (0, "unix:/run/p:lockfile=0", "unix:/run/p:lockfile=0:mode=666"),
            (0o027, "unix:/run/p:mode=660", "unix:/run/p:mode=660"),
            (0o027, "tcp:80", "tcp:80"),
            (None, "unix:/run/p", "unix:/run/p"),
        ):
            self.assertEqual(masked(description, _options(umask=umask)), becomes)
        self.assertEqual(masked("unix:/run/p", BalancerOptions()), "unix:/run/p")

    def test_settings(self) -> None:
        """Both sides of the balancer take it."""
        options = _options(umask=0o027)
        options.parseOptions(["--management-endpoint=unix:a", "--reverseproxy-endpoint=unix:b"])
        settings = options.settings()
        self.assertEqual(settings.management, "unix:a:mode=640")
        self.assertEqual(settings.reverseproxy, "unix:b:mode=640")


class PrepareTests(SynchronousTestCase):
    """Before the service is made."""

    def setUp(self) -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.addCleanup(os.umask, os.umask(0o022))

    def prepare(self, options: Options) -> None:
        """Prepare a service that listens."""
        prepare(options, MemoryReactorClock(), listens=True)

    def test_hangup_before_the_start(self) -> None:
        """A daemon is not ended by a SIGHUP that comes before it runs."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.prepare(_options())
        self.assertTrue(callable(signal.getsignal(signal.SIGHUP)))

    def test_mask(self) -> None:
        """The mask holds before twistd opens its log."""
        self.prepare(_options(umask=0o037))
        self.assertEqual(os.umask(0), 0o037)

    def test_root(self) -> None:
        """A root folder that lacks something ends it with a line."""
        error = self.assertRaises(SystemExit, self.prepare, _options(chroot="/nowhere"))
        self.assertIn("--chroot: got '/nowhere'", str(error.code))

    def test_folder(self) -> None:
        """So does a folder to work in that is not there, below the root where there is one."""
        root = Path(self.mktemp()).absolute()
        (root / "dev").mkdir(parents=True)
        (root / "dev" / "null").touch()
        missing = "it needs a folder that is there"
        for twistd, says in (
            ({"rundir": "/nowhere"}, f"--rundir: got '/nowhere'; {missing}"),
            (
                {"rundir": str(root), "chroot": str(root)},
                f"--rundir: got {str(root)!r}; {missing} in {root} (--chroot)",
            ),
        ):
            error = self.assertRaises(SystemExit, self.prepare, _options(**twistd))
            self.assertEqual(error.code, says)
        for folder in (".", "/", "/dev", "dev"):
            self.prepare(_options(rundir=folder, chroot=str(root)))
        self.prepare(_options(rundir=str(root)))

    def test_other_runners(self) -> None:
        """Without twistd, and under one that has other options, there is nothing to do."""
        options = BalancerOptions()
        self.prepare(options)
        options.parent = Options()
        self.prepare(options)
        self.assertEqual(os.umask(0), 0o022)


class LogTests(SynchronousTestCase):
    """Whose log is written as JSON."""

    def test_other_runners(self) -> None:
        """A runner that is not twistd keeps its log to itself."""
        self.assertEqual(twistd_observer(None, None, as_json=True), None)
        self.assertEqual(twistd_observer({"log_format": "json"}, None, as_json=True), None)
