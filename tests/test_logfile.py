"""Log files that are moved away while they are written to."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from paddler.llamaserver import free_ports
from paddler.logfile import MovableLogFile
from tests.commands import python
from tests.daemons import TWISTD, soon

__all__ = ["MovableLogFileTests", "TwistdTests"]


class MovableLogFileTests(SynchronousTestCase):
    """What a new file is begun for."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "log"
        self.file = MovableLogFile.fromFullPath(str(self.path))
        self.addCleanup(lambda: self.file.close())
        self.file.write("one\n")

    def texts(self) -> dict[str, str]:
        """All files that are there."""
        return {path.name: path.read_text() for path in self.folder.iterdir()}

    def test_in_place(self) -> None:
        """One that nobody has moved is renamed, as twistd does."""
        self.file.rotate()
        self.file.write("two\n")
        self.assertEqual(self.texts(), {"log": "two\n", "log.1": "one\n"})

    def test_length(self) -> None:
        """So is one that has become long."""
        self.file.rotateLength = 4
        self.file.write("two\n")
        self.assertEqual(self.texts(), {"log": "two\n", "log.1": "one\n"})

    def test_moved(self) -> None:
        """One that was moved away keeps its new name and what was written since."""
        self.path.rename(self.folder / "log-yesterday")
        self.file.write("still\n")
        self.file.rotate()
        self.file.write("two\n")
        self.assertEqual(self.texts(), {"log": "two\n", "log-yesterday": "one\nstill\n"})

    def test_replaced(self) -> None:
        """An empty one that was put in its place is written to, and gets no other name."""
        self.path.rename(self.folder / "log-yesterday")
        self.path.touch(0o640)
        self.file.rotate()
        self.file.write("two\n" * 300_000)
        self.file.write("three\n")
        self.assertEqual(self.texts().keys(), {"log", "log-yesterday"})
        self.assertTrue(self.texts()["log"].endswith("two\nthree\n"))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o640)

    def test_truncated(self) -> None:
        """One that was copied and truncated goes on at its beginning."""
        os.truncate(self.path, 0)
        self.file.write("two\n")
        self.assertEqual(self.texts(), {"log": "two\n"})

    def test_no_file(self) -> None:
        """/dev/null keeps its name, however much is written to it."""
        path = self.folder / "null"
        path.symlink_to("/dev/null")
        null = MovableLogFile.fromFullPath(str(path))
        self.addCleanup(null.close)
        null.rotateLength = 1
        null.write("one\n")
        null.write("two\n")
        null.rotate()
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"log", "null"})

    def test_no_new_one(self) -> None:
        """Where no new one can be opened the old one goes on, and says so."""
        observer = textFileLogObserver(self.file, timeFormat=None)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.path.rename(self.folder / "log-yesterday")
        self.path.mkdir()
        self.file.rotate()
        self.file.write("two\n")
        self.path.rmdir()
        (text,) = self.texts().values()
        self.assertRegex(text, r"\Aone\n.* no new log file .*/log, .*: Is a directory\ntwo\n\Z")


class TwistdTests(SynchronousTestCase):
    """Both services as daemons, whose log file is moved away."""

    def run_daemon(self, *words: str) -> None:
        """Start one, move its log away, and see where it writes then."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        log, pidfile, moved = folder / "log", folder / "pid", folder / "moved"
        ended = python(*TWISTD, f"--pidfile={pidfile}", f"--logfile={log}", *words)
        self.assertEqual((ended.code, ended.err), (0, ""))
        pid = int(pidfile.read_text())
        try:
            log.rename(moved)
            os.kill(pid, signal.SIGUSR1)
            self.assertTrue(soon(log.exists, bool))
        finally:
            os.kill(pid, signal.SIGTERM)
            gone = soon(lambda: not pidfile.exists(), bool)
        self.assertTrue(gone)
        self.assertIn("starting up", moved.read_text())
        self.assertNotIn("Main loop terminated", moved.read_text())
        self.assertIn("Main loop terminated", log.read_text())
        self.assertEqual({path.name for path in folder.iterdir()}, {"log", "moved"})

    def test_balancer(self) -> None:
        """The balancer writes to a new file, in text and in JSON."""
        management, public = free_ports(2)
        ports = [f"--management-port={management}", f"--reverseproxy-port={public}"]
        for form in ("text", "json"):
            self.run_daemon("paddler-balancer", *ports, f"--log-format={form}")

    def test_agent(self) -> None:
        """The agent does."""
        llama, management = free_ports(2)
        ports = [f"--management-port={management}", f"--local-llamacpp-port={llama}"]
        self.run_daemon("paddler-agent", *ports)

    def test_not_to_be_written(self) -> None:
        """A log file that can't be written is named in one line."""
        missing = Path(self.mktemp()).absolute() / "log"
        for words in (["paddler-agent"], ["paddler-balancer", "--log-format=json"]):
            ended = python(*TWISTD, "--pidfile=", f"--logfile={missing}", *words)
            self.assertEqual(ended.code, 1)
            self.assertRegex(
                ended.err, r"\A--logfile: got .*/log'; .*No such file or directory.*\n\Z"
            )
