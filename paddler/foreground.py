"""Running things in the foreground of a terminal or a container: log lines and signals.

twistd does this in its own way for the plugins; this is for the `paddler` command.
It knows nothing of what it runs.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import ILogObserver, Logger, globalLogBeginner, textFileLogObserver
from zope.interface import implementer

from paddler.garbage import spare_the_start
from paddler.usage_text import Section

__all__ = ["SERVICE_SECTIONS", "CannotStart", "has_terminal", "on_signals", "run_service"]

log = Logger()

#: What a shell reports of a process that SIGTERM ended.
_ENDED_BY_SIGTERM = 143

#: What the help of a service says of its signals and of its end.
SERVICE_SECTIONS = (
    Section(
        "Signals",
        (
            ("SIGTERM, SIGINT", "stop, gracefully; a second one ends it at once"),
            (
                "SIGHUP",
                "stop likewise where its terminal was closed; nothing else: no file is "
                "read again and none reopened",
            ),
            ("SIGUSR1", "under twistd with a log file: begin a new one"),
        ),
    ),
    Section(
        "Exit status",
        (
            ("0", "it was stopped"),
            ("1", "it could not start; one line says why"),
            (str(_ENDED_BY_SIGTERM), "it was ended by a second signal"),
        ),
    ),
)


class CannotStart(SystemExit, Exception):
    """A service can't start; its one line ends the process, with the exit code 1.

    It is a SystemExit, so that no traceback is printed, and an Exception besides: a twistd that
    becomes a daemon tells only of those to the process that waits for its start, which else
    waits for ever, and removes its pidfile.
    """

    # twistd shows the first 98 bytes of it; a module's name is not among them then.
    __module__ = "builtins"


def has_terminal() -> bool:
    """Whether a terminal controls this process, and sends it SIGHUP when it is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def on_signals(
    reactor: Any,
    stop: Callable[[], object],
    stop_now: Callable[[], object] = lambda: None,
    *,
    before_running: bool = False,
    hangup_stops: bool = True,
) -> None:
    """Have `stop` called at the first SIGINT or SIGTERM, and end at the second.

    Twisted's own answer to a second signal is a traceback, and it goes on running. It leaves
    SIGHUP as it is, which ends a process on the spot.

    :param stop: called once, in the reactor.
    :param stop_now: called at the second one, in the signal handler, just before the process
        ends with the code 143.
    :param before_running: also for signals that come before the reactor runs; `stop` is then
        called once it does.
    :param hangup_stops: SIGHUP stops it, too; else it gets a line in the log. One that the
        process ignores, as under nohup, stays ignored.
    """
    seen: list[int] = []

    def received(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:
            reactor.callFromThread(stop_once)
            return
        stop_now()
        os._exit(_ENDED_BY_SIGTERM)

    def hung_up(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(log.info, "SIGHUP: no file is read again and none reopened")

    def stop_once() -> None:
        try:
            stop()
        except ReactorNotRunning:
            pass  # it is stopping already

    def take(number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)

    def install() -> None:
        take(signal.SIGINT, received)
        take(signal.SIGTERM, received)
        take(signal.SIGHUP, received if hangup_stops else hung_up)

    if before_running:
        install()
    elif not hangup_stops:
        take(signal.SIGHUP, hung_up)
    # The reactor installs its own when it starts to run.
    reactor.callWhenRunning(install)


@implementer(IReadDescriptor)
@attrs.frozen(eq=False)
class _Bell:
    """Wakes a reactor that waits when a signal comes, so that its handler is called."""

    _hears: socket.socket

    @classmethod
    @contextmanager
    def at(cls, reactor: Any) -> Iterator[None]:
        """Have one while the reactor runs."""
        hears, rings = socket.socketpair()
        with hears, rings:
            hears.setblocking(False)
            rings.setblocking(False)
            bell = cls(hears)
            reactor.addReader(bell)
            signal.set_wakeup_fd(rings.fileno(), warn_on_full_buffer=False)
            try:
                yield
            finally:
                signal.set_wakeup_fd(-1)
                reactor.removeReader(bell)

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return self._hears.fileno()

    def doRead(self) -> None:
        """See `IReadDescriptor`: Python calls the handlers, there is nothing to do but wake."""
        with suppress(BlockingIOError):
            self._hears.recv(4096)

    def connectionLost(self, reason: Any) -> None:
        """See `IReadDescriptor`; it closes with the reactor."""

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "signals"


def run_service(service: IService, reactor: Any, observer: ILogObserver | None = None) -> None:
    """Run a service until a signal ends it; its log goes to the standard output.

    The first signal stops it and waits for what its `stopService` waits for; a second one ends
    the process at once. SIGHUP is one of them where it means that a terminal was closed.

    :param observer: writes the log; None: as text.

    :raises SystemExit: what the service raises when it can't start (a taken port) comes out
        before the reactor runs.
    """
    globalLogBeginner.beginLoggingTo(
        [observer or textFileLogObserver(sys.stdout)], redirectStandardIO=False, discardBuffer=False
    )

    def stop() -> None:
        log.info("stopping; a second signal ends it at once")
        reactor.stop()

    on_signals(reactor, stop, before_running=True, hangup_stops=has_terminal())
    spare_the_start(reactor)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    # With handlers of its own the reactor would take over for a moment at its start; without
    # them nothing wakes it when a signal comes just before it begins to wait.
    with _Bell.at(reactor):
        reactor.run(installSignalHandlers=False)
    _flush()


def _flush() -> None:
    """Write what is left for a terminal, or let it go where that has been closed.

    Python would else try at the end, and make of it an exit code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
