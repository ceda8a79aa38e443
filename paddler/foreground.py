"""Running things in the foreground of a terminal or a container: log lines and signals.

twistd does this in its own way for the plugins; this is for the `paddler` command.
It knows nothing of what it runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.application.service import IService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger, globalLogBeginner, textFileLogObserver

from paddler.usage_text import Section

__all__ = ["SERVICE_SECTIONS", "CannotStart", "on_signals", "run_service"]

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


def on_signals(
    reactor: Any,
    stop: Callable[[], object],
    stop_now: Callable[[], object],
    *,
    before_running: bool = False,
) -> None:
    """Have `stop` called at the first SIGINT, SIGTERM or SIGHUP, and end at the second.

    Twisted's own answer to a second signal is a traceback, and it goes on running. One that
    the process ignores (SIGHUP under nohup) stays ignored.

    :param stop: called once, in the reactor.
    :param stop_now: called at the second one, in the signal handler, just before the process
        ends with the code 143.
    :param before_running: also for signals that come before the reactor runs; `stop` is then
        called once it does.
    """
    seen: list[int] = []

    def received(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:
            reactor.callFromThread(stop_once)
            return
        stop_now()
        os._exit(_ENDED_BY_SIGTERM)

    def stop_once() -> None:
        try:
            stop()
        except ReactorNotRunning:
            pass  # it is stopping already

    def install() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, received)

    if before_running:
        install()
    # The reactor installs its own when it starts to run.
    reactor.callWhenRunning(install)


def run_service(service: IService, reactor: Any, observer: ILogObserver | None = None) -> None:
    """Run a service until a signal ends it; its log goes to the standard output.

    The first signal stops it and waits for what its `stopService` waits for; a second one ends
    the process at once.

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

    on_signals(reactor, stop, lambda: None, before_running=True)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    # With handlers of its own the reactor would take over for a moment at its start.
    reactor.run(installSignalHandlers=False)
