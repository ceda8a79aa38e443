"""Something that is done at an interval for as long as a service runs, whatever goes wrong with it.

A `LoopingCall` alone ends for good at the first mistake. Nothing here knows what is done.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["Ticks"]


class Ticks(Service):
    """Does it at the start, and at each interval from then on.

    :param clock: the time.
    :param interval: seconds from one to the next.
    :param doing: what is done, as it follows `while` in the log.
    :param tick: does it.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, interval: float, doing: str, tick: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._doing = doing
        self._tick = tick
        self._fails = False
        self._loop: LoopingCall | None = None

    def startService(self) -> None:
        """Begin."""
        super().startService()
        loop = self._loop = LoopingCall(self._once)
        loop.clock = self._clock
        # It can't fail, for `_once` does not.
        loop.start(self._interval)

    def stopService(self) -> Deferred[None]:
        """Do it no more."""
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        return succeed(None)

    def _once(self) -> None:
        try:
            self._tick()
        except Exception:  # the owner's boundary: a mistake costs this time, and no other
            if not self._fails:
                self._log.failure("while {doing}; it is tried again", doing=self._doing)
            self._fails = True
        else:
            self._fails = False
