"""A look at something at each interval, for as long as the service runs.

A look that fails is logged and the next one comes all the same. Nothing here knows what
is looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["PollingService"]

_T = TypeVar("_T")


@attrs.define(eq=False)
class PollingService(Service, Generic[_T]):
    """Looks, tells what it saw, and looks again; never twice at a time.

    :param clock: times the looks.
    :param interval: seconds from one look's beginning to the next one's.
    :param look: takes a look; None: there is nothing to tell.
    :param tell: told what was seen.
    """

    _clock: IReactorTime
    _interval: float
    _look: Callable[[], Awaitable[_T | None]]
    _tell: Callable[[_T], None]
    log = Logger()
    _loop: LoopingCall | None = attrs.field(default=None, init=False)
    _looking: Deferred[None] | None = attrs.field(default=None, init=False)
    _under_way: bool = attrs.field(default=False, init=False)
    _again: bool = attrs.field(default=False, init=False)
    _ended: Deferred[None] = attrs.field(factory=lambda: succeed(None), init=False)

    def startService(self) -> None:
        """Take the first look."""
        super().startService()
        # Not earlier: its constructor brings in the global reactor.
        self._loop = LoopingCall(self._tick)
        self._loop.clock = self._clock
        self._begin(self._loop)

    def look_now(self) -> None:
        """Take a look now, or right after the one that is under way."""
        if self._loop is None or not self._loop.running:
            return
        if self._under_way:
            self._again = True
            return
        self._loop.stop()
        self._begin(self._loop)

    def stopService(self) -> Deferred[None]:
        """Look no more; fires when a look under way has been given up."""
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._looking is not None:
            self._looking.cancel()
        return self._ended

    def _begin(self, loop: LoopingCall) -> None:
        self._ended = loop.start(self._interval).addCallbacks(lambda _: None, self._broke)

    def _broke(self, failure: Failure) -> None:
        self.log.failure("polling ended although it must not", failure)

    def _tick(self) -> Deferred[None]:
        self._looking = Deferred.fromCoroutine(self._look_and_tell())
        return self._looking

    async def _look_and_tell(self) -> None:
        self._under_way = self._again = True
        try:
            while self._again:
                self._again = False
                seen = await self._look()
                if seen is not None and self.running:
                    self._tell(seen)
        except CancelledError:
            pass
        except Exception:  # the owner's boundary: the next look must come
            self.log.failure("a look failed")
        finally:
            self._under_way = False
