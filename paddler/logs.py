"""Log lines as JSON objects, for whoever reads logs by machine.

Text is twisted.logger's own. Nothing here knows what is logged.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import IO, Any

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, eventAsText, formatEvent
from twisted.python.logfile import LogFile
from twisted.python.reflect import safe_str

__all__ = ["json_line", "json_observer", "twistd_log"]


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


def twistd_log(options: Mapping[str, Any], reactor: Any) -> IO[str]:
    """The file that twistd would log to, as its own options say; SIGUSR1 begins a new one.

    twistd chooses the file and the form of its log together, and hands out neither.

    :raises SystemExit: they contradict JSON.
    """
    if options.get("syslog"):
        sys.exit("--log-format json and twistd's --syslog contradict each other; give one")
    name = options.get("logfile") or ("-" if options.get("nodaemon") else "twistd.log")
    if name == "-":
        return sys.stdout
    file: Any = LogFile.fromFullPath(name)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    log: IO[str] = file
    return log
