"""Runs the dashboard on a terminal, and leaves that as it was, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner

from paddler.terminal.app import Dashboard
from paddler.terminal.client import Watch
from paddler.terminal.glyphs import PLAIN_TERMINALS
from paddler.terminal.scene import Choices
from paddler.terminal.settings import DashboardSettings
from paddler.web import HttpCaller

__all__ = ["run_dashboard"]

#: Seconds for leaving in good order, and between two looks whether there is still a terminal.
_PATIENCE, _LOOK_EVERY = 3.0, 2.0


def run_dashboard(settings: DashboardSettings, reactor: Any) -> int:
    """Show the dashboard until the operator leaves it.

    :param reactor: one on asyncio, which Textual needs.
    :return: the exit code.
    """
    # A line of a log would be written across the picture.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    caller = HttpCaller.to(reactor, settings.management, settings.token, keep=True)
    app = Dashboard(
        settings.management,
        _choices(settings.ascii),
        lambda changed: Watch(reactor, caller, settings.token is not None, changed),
        reactor.seconds,
    )

    def begin() -> None:
        _leave_on_signals(app.exit)
        showing = Deferred.fromFuture(asyncio.ensure_future(app.run_async()))
        showing.addErrback(app.failed).addCallback(lambda _: reactor.stop())

    reactor.callLater(0, begin)  # when the loop runs
    reactor.run(installSignalHandlers=False)
    if app.failure is not None:
        app.failure.raiseException()
    return app.return_code or 0


def _choices(plain: bool) -> Choices:
    # Textual draws on the standard error.
    encoding = getattr(sys.__stderr__, "encoding", None) or "ascii"
    only = not encoding.lower().startswith("utf")
    return Choices(
        ascii=plain or only or os.environ.get("TERM") in PLAIN_TERMINALS, ascii_only=only
    )


def _leave_on_signals(leave: Callable[[], object]) -> None:
    """Have signals end it in good order, and the end of its terminal end it at all.

    A terminal that takes no more text can't be waited for, nor one that is gone; and while one
    is waited for, nothing else is done here. So threads see to it.
    """
    loop = asyncio.get_running_loop()
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def received(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(leave)
        giving_up = threading.Timer(_PATIENCE, give_up, [number])
        giving_up.daemon = True
        giving_up.start()

    def give_up(number: int) -> None:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSANOW, before)
        os._exit(128 + number)

    def look() -> None:
        while os.isatty(terminal):
            time.sleep(_LOOK_EVERY)
        give_up(signal.SIGHUP)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, received)
    threading.Thread(target=look, daemon=True).start()
