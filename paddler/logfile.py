"""twistd's log file, for hosts where logrotate moves log files away.

Knows nothing of what is logged.
"""

from __future__ import annotations

import fcntl
import os
import stat

from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.logfile import LogFile

__all__ = ["MovableLogFile"]


class MovableLogFile(LogFile):
    """A log file that somebody else may move away while it is written to.

    twistd's own knows one way only: it renames files itself, when one has a megabyte and at
    SIGUSR1. After logrotate it would give the new, empty file the name NAME.1 and, in a folder
    where it may rename nothing, go on with the old one for ever. And where logrotate copies and
    truncates it would leave a hole as long as what it had written.
    """

    _log = Logger()

    #: What threads may not do at the same time, beside what LogFile says.
    synchronized = ["rotate"]

    def rotate(self) -> None:
        """Begin a new file.

        The old one gets the name NAME.1, unless it has been moved away. Who did that decides
        from then on: it is no longer rotated for its length. What is no file, such as /dev/null,
        which root might rename, is left alone.
        """
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            return
        if self._in_place():
            super().rotate()
            return
        self.rotateLength = None
        old = self._file
        try:
            self._openFile()
        except OSError as error:
            # Better in the old one than nowhere, but who compresses it should know.
            self._log.warn(
                "no new log file {path}, the old one goes on wherever it is now: {why}",
                path=self.path,
                why=error.strerror,
            )
            return
        old.close()

    def _openFile(self) -> None:
        super()._openFile()
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags | os.O_APPEND)

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except OSError:
            return False


threadable.synchronize(MovableLogFile)
