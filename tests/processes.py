"""Paddler's commands as long-lived child processes, and what the system says of them.

Needs /proc, so Linux.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from paddler.children import tied_to_parent
from tests.commands import environment

__all__ = [
    "ChildProcess",
    "PaddlerProcess",
    "Watched",
    "WordsProcess",
    "command_line",
    "cpu_seconds",
    "descriptors",
    "memory",
    "peak_memory",
    "processes_with",
]

reactor = cast(Any, _reactor)


class Watched(ProcessProtocol):
    """Keeps what the process prints and tells when it ended."""

    def __init__(self) -> None:
        self.output: list[bytes] = []
        self.ended: Deferred[None] = Deferred()
        self.exit_code: int | None = None

    def outReceived(self, data: bytes) -> None:
        self.output.append(data)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.exit_code = getattr(reason.value, "exitCode", None)
        self.ended.callback(None)


class ChildProcess:
    """A child that is watched; it can be started again after it has ended."""

    def __init__(self) -> None:
        self._watched: Watched | None = None
        self._process: Any = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None and self._process.pid, "it does not run"
        return int(self._process.pid)

    def signal(self, number: int) -> None:
        """Send it a signal, such as `signal.SIGSTOP`; nothing happens when it has ended."""
        if self._process is not None:
            try:
                self._process.signalProcess(number)
            except ProcessExitedAlready:
                pass

    def ended(self) -> Deferred[None]:
        """Fire once the process is gone (at once when there is none)."""
        if self._watched is None or self._watched.ended.called:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._watched.ended.addCallback(lambda _: waiting.callback(None))
        return waiting


class WordsProcess(ChildProcess):
    """A command that is run by its words.

    :param words: the program and its arguments.
    :param folder: where it runs; None: where this one does.
    :param more: more of its environment.
    :ivar output: what all its runs have printed.
    """

    def __init__(
        self, *words: str, folder: Path | None = None, more: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._words = words
        self._folder = folder
        self._environment = environment(more)
        self._printed: list[list[bytes]] = []

    @property
    def output(self) -> str:
        """What it has printed, over all its runs."""
        return b"".join(b"".join(run) for run in self._printed).decode(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """How it ended; None: it runs, or a signal ended it."""
        return None if self._watched is None else self._watched.exit_code

    def start(self, *, on_terminal: bool = False) -> None:
        """Start it; it is not ready when this returns.

        :param on_terminal: on a terminal of its own, which `close_terminal` closes.
        """
        assert self._watched is None or self._watched.ended.called, "it runs already"
        self._watched = Watched()
        self._printed.append(self._watched.output)
        # Who is tied to its parent has no terminal.
        words = list(self._words) if on_terminal else [*tied_to_parent(), *self._words]
        self._process = reactor.spawnProcess(
            self._watched,
            words[0],
            words,
            env=self._environment,
            path=None if self._folder is None else str(self._folder),
            usePTY=on_terminal,
        )

    def close_terminal(self) -> None:
        """Close its terminal, as when a window is closed; nothing it prints is heard any more."""
        self._process.loseConnection()

    def kill(self) -> Deferred[None]:
        """Kill it and wait until it is gone; may be called at any time, and again."""
        self.signal(signal.SIGKILL)
        return self.ended()


class PaddlerProcess(WordsProcess):
    """`paddler WORDS`, run by this Python.

    :param words: the command and its options.
    :param more: more of its environment.
    :param script: what is run instead of `paddler`, with the same words.
    """

    def __init__(
        self, *words: str, more: Mapping[str, str] | None = None, script: str | None = None
    ) -> None:
        run = ("-m", "paddler") if script is None else ("-c", script)
        super().__init__(sys.executable, *run, *words, more=more)


def cpu_seconds(pid: int) -> float:
    """The time that a process has spent on a core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    return _status(pid, "VmRSS")


def peak_memory(pid: int) -> int:
    """The most bytes that it ever had in memory."""
    return _status(pid, "VmHWM")


def descriptors(pid: int) -> int:
    """How many files and connections a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def command_line(pid: int) -> list[str]:
    """The words that started a process; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def processes_with(word: str) -> list[str]:
    """The command lines of all processes that have this as one of their words."""
    lines = (command_line(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
    return [" ".join(words) for words in lines if word in words]


def _status(pid: int, name: str) -> int:
    """A number of kilobytes in a process' status, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"the status of process {pid} has no {name}")
