"""Child processes that live no longer than this one, for the demo."""

from __future__ import annotations

import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

__all__ = ["Child", "Family", "tied_to_parent"]

#: How many of its last lines a child's death is told with.
_LINES_KEPT = 12


def tied_to_parent() -> list[str]:
    """The words before a command that make it end when its parent is killed.

    They also keep the terminal's Ctrl-C from it, so that its parent decides when it ends.
    Systems without util-linux have no such words; there both is left to chance.
    """
    setsid, setpriv = shutil.which("setsid"), shutil.which("setpriv")
    return [setsid, setpriv, "--pdeathsig", "KILL"] if setsid and setpriv else []


class Child(ProcessProtocol):
    """One child process: its last words, and when it ended."""

    def __init__(self, name: str, ended: Callable[[Child], None]) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self.gone: Deferred[None] = Deferred()
        self.exit = ""
        self._ended = ended

    def outReceived(self, data: bytes) -> None:
        self.lines.extend(data.decode(errors="replace").splitlines())

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        code, number = (
            getattr(reason.value, "exitCode", None),
            getattr(reason.value, "signal", None),
        )
        self.exit = f"signal {number}" if number else f"exit code {code}"
        self._ended(self)
        self.gone.callback(None)

    @property
    def last_words(self) -> str:
        """Its last lines, each on an indented line of its own."""
        return "".join(f"\n    {line}" for line in self.lines)

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        try:
            self.transport.signalProcess(number)  # type: ignore[union-attr]
        except ProcessExitedAlready:
            pass


@attrs.define(eq=False)
class Family:
    """All the child processes.

    :param reactor: spawns them.
    :param died: called with a child that ended before `stop` was called.
    """

    _reactor: Any
    _died: Callable[[Child], None]
    _living: list[Child] = attrs.field(factory=list, init=False)
    _stopping: bool = attrs.field(default=False, init=False)

    def start(self, name: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a child.

        :param name: what it is called when it dies.
        """
        child = Child(name, self._ended)
        words = [*tied_to_parent(), *words]
        self._living.append(child)
        self._reactor.spawnProcess(child, words[0], words, env=dict(environment))

    def last_words(self, name: str) -> str:
        """The last lines of the living child of that name."""
        return "".join(child.last_words for child in self._living if child.name == name)

    def _ended(self, child: Child) -> None:
        self._living.remove(child)
        if not self._stopping:
            self._died(child)

    async def stop(self, patience: float = 3.0) -> None:
        """End all of them, the last one started first, and wait until they are gone.

        :param patience: seconds after which those that are left are killed.
        """
        self._stopping = True
        left = list(reversed(self._living))
        for child in left:
            child.send(signal.SIGTERM)
        killing = self._reactor.callLater(patience, self.kill)
        await DeferredList([child.gone for child in left])
        if killing.active():
            killing.cancel()

    def kill(self) -> None:
        """Kill those that are left, by their ids alone: also right inside a signal handler."""
        for child in self._living:
            pid = getattr(child.transport, "pid", None)
            if pid:
                os.kill(pid, signal.SIGKILL)
