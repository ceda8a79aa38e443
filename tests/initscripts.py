"""Init scripts, run as they are, with all that they touch in a folder of the test's."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.commands import ROOT, Finished
from tests.daemons import soon
from tests.processes import command_line

__all__ = ["EXAMPLES", "InitScript", "twistd"]

EXAMPLES = ROOT / "examples"

#: As `service` has it.
_PATH = "/sbin:/usr/sbin:/bin:/usr/bin"

reactor = cast(Any, _reactor)


def twistd() -> Path:
    """twistd of the Python that runs the tests."""
    return Path(sys.executable).parent / "twistd"


class InitScript:
    """One of `examples/init.d/`, its own file in /etc/default, and its folders.

    :param test: at whose end the service is ended and the folders go.
    :param name: the script's.
    :param options: Paddler's options, as in the environment, or more lines for /etc/default.
    :ivar shell: what runs it.
    :ivar run_as: the user that the service becomes; root alone may have it become another.
    """

    shell = ("/bin/sh",)
    run_as = "nobody" if os.geteuid() == 0 else ""

    def __init__(self, test: TestCase, name: str, **options: object) -> None:
        # Not in trial's folder, which the service's user may not be able to come to.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.folder.chmod(0o755)
        test.addCleanup(self.remove)
        self.script = EXAMPLES / "init.d" / name
        self.defaults = self.folder / "defaults"
        self.pidfile = self.folder / "run" / f"{name}.pid"
        self.log = self.folder / "log" / f"{name}.log"
        example = (EXAMPLES / "default" / name).read_text(encoding="utf-8")
        self.defaults.write_text(f"{example}\n", encoding="utf-8")
        self.write(PYTHONPATH=ROOT, TWISTD=twistd(), RUN_AS=self.run_as)
        self.write(RUN_DIR=self.pidfile.parent, LOG_DIR=self.log.parent)
        self.write(**options)

    def write(self, **values: object) -> None:
        """Write more into /etc/default; later lines win."""
        with self.defaults.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())

    async def __call__(self, *actions: str) -> Finished:
        """Run the script, as `service` would."""
        out, err, code = await getProcessOutputAndValue(
            self.shell[0],
            [*self.shell[1:], str(self.script), *actions],
            self.environment,
            reactor=reactor,
        )
        return Finished(code, out.decode(), err.decode())

    @property
    def environment(self) -> dict[str, str]:
        """The environment that it is run in: what `service` leaves, and where its defaults are."""
        return {"PATH": _PATH, "PADDLER_DEFAULTS": str(self.defaults)}

    @property
    def pid(self) -> int:
        """The number in the pid file."""
        return int(self.pidfile.read_text())

    def remove(self) -> None:
        """End what still runs, and remove the folders."""
        if self.pidfile.exists() and self.pidfile.read_text().isdigit():
            pid = self.pid
            if f"--pidfile={self.pidfile}" in command_line(pid):
                os.kill(pid, signal.SIGKILL)
                soon(lambda: command_line(pid), lambda words: not words)
        shutil.rmtree(self.folder)
