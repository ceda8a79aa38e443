"""Log lines as JSON objects, for whoever reads logs by machine.

Text is twisted.logger's own. Nothing here knows what is logged.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    eventAsText,
    formatEvent,
    textFileLogObserver,
)

from paddler.logfile import MovableLogFile

__all__ = ["json_line", "json_observer", "twistd_log", "twistd_observer"]

#: What a field may be as it is; anything else is shown as text.
_PLAIN = (str, int, float, bool, type(None))


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
        "event": formatEvent(event),
        "source": event.get("log_namespace", ""),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in line and not name.startswith("_"):
            line[name] = value if isinstance(value, _PLAIN) else str(value)
    if "log_failure" in event:
        line["traceback"] = eventAsText(event, includeTimestamp=False, includeSystem=False)
    # Legacy events bring these along; they say nothing.
    for name in ("message", "isError", "system", "format", "time_"):
        line.pop(name, None)
    return json.dumps(line) + "\n"


def json_observer(file: IO[str]) -> ILogObserver:
    """Writes events to a file, an object a line."""
    observer: ILogObserver = FileLogObserver(file, json_line)
    return observer


def twistd_observer(
    options: Mapping[str, Any], reactor: Any, *, as_json: bool = False
) -> ILogObserver | None:
    """What twistd shall log with, as its own options say; None: as it is used to.

    :raises SystemExit: they contradict JSON, or the file can't be written.
    """
    file_of_twistds = "nodaemon" in options and not (options.get("syslog") or options.get("logger"))
    if not (as_json or file_of_twistds):
        return None
    file = twistd_log(options, reactor)
    if as_json:
        return json_observer(file)
    return None if file is sys.stdout else textFileLogObserver(file)


def twistd_log(options: Mapping[str, Any], reactor: Any) -> IO[str]:
    """The file that twistd would log to, as its own options say; SIGUSR1 begins a new one.

    twistd chooses the file and the form of its log together, and hands out neither.

    :raises SystemExit: they contradict JSON, or the file can't be written.
    """
    if options.get("syslog"):
        sys.exit("--log-format json and twistd's --syslog contradict each other; give one")
    name = options.get("logfile") or ("-" if options.get("nodaemon") else "twistd.log")
    if name == "-":
        return sys.stdout
    try:
        file: Any = MovableLogFile.fromFullPath(name)
    except OSError as error:
        sys.exit(f"--logfile: got {name!r}; it needs a file to write to ({error.strerror})")
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    log: IO[str] = file
    return log
