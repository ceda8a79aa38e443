"""Log lines as JSON objects, for whoever reads logs by machine.

Text is twisted.logger's own. Nothing here knows what is logged.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import syslog
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    eventAsText,
    formatEvent,
    textFileLogObserver,
)
from twisted.python.reflect import safe_str
from zope.interface import provider

from paddler.logfile import MovableLogFile

__all__ = ["json_line", "json_observer", "twistd_observer"]

_PRIORITIES = {
    LogLevel.debug: syslog.LOG_DEBUG,
    LogLevel.info: syslog.LOG_INFO,
    LogLevel.warn: syslog.LOG_WARNING,
    LogLevel.error: syslog.LOG_ERR,
    LogLevel.critical: syslog.LOG_CRIT,
}


def json_line(event: LogEvent) -> str:
    """One event as one object on one line.

    `time` (UTC, ISO 8601), `level`, `event` (the text that a person would read), `source`, then
    the event's own fields, and `traceback` where there is a failure.
    """
    seconds: float = event.get("log_time", 0.0)
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds"),
        "level": "info" if level is None else level.name,
        "event": _plain(formatEvent(event)),
        "source": event.get("log_namespace", ""),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in line and not name.startswith("_"):
            line[name] = _plain(value)
    if "log_failure" in event:
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        line["traceback"] = _plain(text)
    # Legacy events bring these along; they say nothing.
    for name in ("message", "isError", "system", "format", "time_"):
        line.pop(name, None)
    return json.dumps(line) + "\n"


def _plain(value: object) -> str | int | float | None:
    """A value as JSON has it; a line is written whatever the value is."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    # Half a surrogate pair, as Python makes of a file's name that is no UTF-8, is no text.
    return safe_str(value).encode("utf-8", "backslashreplace").decode()


def json_observer(file: IO[str]) -> ILogObserver:
    """Writes events to a file, an object a line."""
    observer: ILogObserver = FileLogObserver(file, json_line)
    return observer


def twistd_observer(
    options: Mapping[str, Any] | None, reactor: Any, *, as_json: bool = False
) -> ILogObserver | None:
    """What twistd shall log with, where its own options say; None: as it is used to.

    twistd chooses the place and the form of its log together, and hands out neither. SIGUSR1
    begins a new file; where there is none it changes nothing.

    :param options: twistd's; None, or those of another runner: what is returned is None, too.
    :raises SystemExit: the file can't be written.
    """
    if options is None or "nodaemon" not in options:
        return None
    free = not signal.getsignal(signal.SIGUSR1)
    if free:
        # It would end the process, and comes from scripts that don't know where it logs.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if not as_json and (options.get("syslog") or options.get("logger")):
        return None
    if options.get("syslog"):
        return _syslog_observer(options.get("prefix", ""))
    name = options.get("logfile") or ("-" if options["nodaemon"] else "twistd.log")
    if name == "-":
        return json_observer(sys.stdout) if as_json else None
    try:
        file: Any = MovableLogFile.fromFullPath(name)
    except OSError as error:
        sys.exit(f"--logfile: got {name!r}; it needs a file to write to ({error.strerror})")
    if free:
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return json_observer(file) if as_json else textFileLogObserver(file)


def _syslog_observer(prefix: str) -> ILogObserver:
    """Sends events to syslog, an object a message.

    :param prefix: what syslog calls this process.
    """
    syslog.openlog(prefix)

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        priority = _PRIORITIES.get(event.get("log_level", LogLevel.info), syslog.LOG_INFO)
        syslog.syslog(priority, json_line(event).rstrip("\n"))

    observer: ILogObserver = observe
    return observer
