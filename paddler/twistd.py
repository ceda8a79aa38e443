"""What a service must know of the twistd that it runs under.

twistd changes the root folder, the user and the file mask by itself, between the making of a
service and its start. Nothing here knows what the service does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.logger import ILogObserver
from twisted.python import usage

from paddler.foreground import has_terminal, on_signals
from paddler.garbage import spare_the_start

__all__ = ["WithLog", "masked", "prepare"]

#: What Twisted gives a unix socket whose description names no mode.
_OPEN_TO_ALL = 0o666


class WithLog(Service):
    """A service that has twistd log with an observer of its own; None: as it is used to."""

    _observer: ILogObserver | None

    def setServiceParent(self, parent: Any) -> None:
        """Become part of an application; twistd asks that what to log with."""
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)


def prepare(options: usage.Options, reactor: Any, *, listens: bool) -> None:
    """Take the signals that twistd has for a service, and see that it can start as it is asked.

    What has started by then is spared the search for garbage.

    :param options: the service's; twistd's own are their parent.
    :param listens: the service listens somewhere.
    :raises SystemExit: it can't; one line says why.
    """
    twistd: Mapping[str, Any] = options.parent or {}
    # Twisted's other runner, `twist`, is no daemon and has no such option.
    daemon = not twistd.get("nodaemon", True)
    problem = _problem_of_root(twistd, daemon or listens) or _problem_of_folder(twistd)
    if problem is not None:
        sys.exit(problem)
    if (umask := twistd.get("umask")) is not None:
        # twistd itself sets it only after the log's file was made.
        os.umask(umask)
    on_signals(reactor, reactor.stop, hangup_stops=not daemon and has_terminal())
    spare_the_start(reactor)


def masked(description: str, options: usage.Options) -> str:
    """A server endpoint's description, with the mode that twistd's --umask asks for.

    Twisted opens a unix socket to everyone whatever the file mask is, unless a mode is named.
    """
    twistd: Mapping[str, Any] = options.parent or {}
    umask = twistd.get("umask")
    if umask is None or not description.startswith("unix:") or ":mode=" in description:
        return description
    return f"{description}:mode={_OPEN_TO_ALL & ~umask:o}"


def _problem_of_root(twistd: Mapping[str, Any], needs_null: bool) -> str | None:
    """What is missing in the root folder that twistd changes to; each ends it with a traceback."""
    root = twistd.get("chroot")
    if root is None:
        return None
    if not Path(root).is_dir():
        return f"--chroot: got {root!r}; it needs a folder that is there"
    if needs_null and not Path(root, "dev/null").exists():
        make = f"mkdir -p {root}/dev && mknod -m 666 {root}/dev/null c 1 3"
        return f"--chroot: {root} needs a dev/null: {make}"
    if twistd.get("uid") is not None and not Path(root, "etc/passwd").exists():
        return f"--chroot: {root} needs an etc/passwd with the user of --uid"
    pidfile = twistd.get("pidfile")
    if pidfile and not Path(root, pidfile.lstrip("/")).parent.is_dir():
        return f"--pidfile: got {pidfile!r}; it needs a folder that is there in {root} (--chroot)"
    return None


def _problem_of_folder(twistd: Mapping[str, Any]) -> str | None:
    """What is wrong with the folder to work in, for want of which a daemon ends without a word."""
    root, folder = twistd.get("chroot"), twistd.get("rundir") or "."
    if (Path(folder) if root is None else Path(root, folder.lstrip("/"))).is_dir():
        return None
    inside = "" if root is None else f" in {root} (--chroot)"
    return f"--rundir: got {folder!r}; it needs a folder that is there{inside}"
