"""Server-sent events: the agents and the buffer as they change, for who watches.

Nothing is looked at while nobody watches; then once a tick, for all watchers together,
and only what differs from the look before is sent. An agent's report that changes nothing
but its time is no change.

Note [Slow readers]. A watcher whose transport has enough is sent nothing more. When it has
caught up it gets everything as it is now, in place of what it missed; so it costs its
transport's buffer and one event, however slow it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
import msgspec
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from paddler.balancer.admission import Admission
from paddler.errors import Stopping
from paddler.scheduling.views import AgentView, QueueView

__all__ = ["AgentsSource", "QueueSource", "Source", "Stream", "Streams"]

#: Seconds from look to look, and above how many agents it is the longer time.
PACE = 0.1
SLOW_PACE = 1.0
MANY = 200
#: Seconds of silence after which a comment shows everyone between that the stream lives.
KEEP_ALIVE = 15.0

_encode = msgspec.json.Encoder().encode


def _event(name: bytes, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name, _encode(data))


class Source(Protocol):
    """What is watched."""

    @property
    def pace(self) -> float:
        """Seconds until it is worth another look."""

    def look(self) -> bytes | None:
        """Look anew; the event that tells what has changed, None when nothing has."""

    def whole(self) -> bytes:
        """The event that tells all of it, as it was looked at last."""


@attrs.define(eq=False)
class AgentsSource:
    """The agents. `snapshot` tells all of them, `changed` those that are new or differ, and the
    ids of those that have left.
    """

    _admission: Admission
    _seen: dict[str, AgentView] = attrs.field(factory=dict, init=False)
    _whole: bytes | None = attrs.field(default=None, init=False)

    @property
    def pace(self) -> float:
        """See `Source`."""
        return PACE if len(self._seen) <= MANY else SLOW_PACE

    def look(self) -> bytes | None:
        """See `Source`."""
        before, now = self._seen, {view.agent_id: view for view in self._admission.agents()}
        self._seen, self._whole = now, None
        changed = [view for agent_id, view in now.items() if before.get(agent_id) != view]
        left = [agent_id for agent_id in before if agent_id not in now]
        return _event(b"changed", {"changed": changed, "left": left}) if changed or left else None

    def whole(self) -> bytes:
        """See `Source`."""
        if self._whole is None:
            self._whole = _event(b"snapshot", {"agents": list(self._seen.values())})
        return self._whole


@attrs.define(eq=False)
class QueueSource:
    """The buffer; `snapshot` and `changed` both tell all of it."""

    _admission: Admission
    _seen: QueueView | None = attrs.field(default=None, init=False)

    @property
    def pace(self) -> float:
        """See `Source`."""
        return PACE

    def look(self) -> bytes | None:
        """See `Source`."""
        before, self._seen = self._seen, self._admission.queue()
        return None if before == self._seen else _event(b"changed", self._seen)

    def whole(self) -> bytes:
        """See `Source`."""
        return _event(b"snapshot", self._seen)


@attrs.define(eq=False)
class Stream:
    """Sends a source's events to all who watch.

    :param clock: the time.
    :param source: what is watched.
    """

    _clock: IReactorTime
    _source: Source
    _watchers: set[_Watcher] = attrs.field(factory=set, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    def watch(self, request: Request) -> None:
        """Answer a request with events, until its client leaves or this stops.

        :raises Stopping: this has stopped.
        """
        if self._stopped:
            raise Stopping()
        request.setHeader(b"content-type", b"text/event-stream")
        # nginx would else keep events until it has some kilobytes.
        request.setHeader(b"x-accel-buffering", b"no")
        if request.method == b"HEAD":
            request.finish()
            return
        watcher = _Watcher(request, self._source.whole, self._clock.seconds)
        request.notifyFinish().addErrback(lambda _: self._left(watcher))
        request.registerProducer(watcher, True)
        if self._timer is None:
            self._source.look()
            self._timer = self._clock.callLater(self._source.pace, self._tick)
        self._watchers.add(watcher)
        watcher.tell_all()

    def stop(self) -> None:
        """End all, at once."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        watchers, self._watchers = self._watchers, set()
        for watcher in watchers:
            watcher.end()

    def _tick(self) -> None:
        # The timer first: a mistake in a look costs that look.
        self._timer = self._clock.callLater(self._source.pace, self._tick)
        event = self._source.look()
        for watcher in tuple(self._watchers):
            watcher.tell(event)

    def _left(self, watcher: _Watcher) -> None:
        self._watchers.discard(watcher)
        if not self._watchers and self._timer is not None:
            self._timer.cancel()
            self._timer = None


@attrs.frozen
class Streams:
    """All that can be watched."""

    agents: Stream
    queue: Stream

    @classmethod
    def of(cls, admission: Admission, clock: IReactorTime) -> Streams:
        """The streams of a balancer."""
        return cls(
            Stream(clock, AgentsSource(admission)),
            Stream(clock, QueueSource(admission)),
        )

    def stop(self) -> None:
        """End all, at once."""
        self.agents.stop()
        self.queue.stop()


@implementer(IPushProducer)
@attrs.define(eq=False)
class _Watcher:
    """One who watches.

    :param request: its.
    :param whole: the event that tells everything.
    :param seconds: the time.
    """

    _request: Any
    _whole: Callable[[], bytes]
    _seconds: Callable[[], float]
    _paused: bool = attrs.field(default=False, init=False)
    _behind: bool = attrs.field(default=False, init=False)
    _told_at: float = attrs.field(default=0.0, init=False)

    def tell(self, event: bytes | None) -> None:
        """Send what has changed, if anything, or now and then that nothing has."""
        if self._paused:
            self._behind = self._behind or event is not None
        elif event is not None:
            self._write(event)
        elif abs(self._seconds() - self._told_at) >= KEEP_ALIVE:
            self._write(b":\n\n")

    def tell_all(self) -> None:
        """Send everything."""
        self._behind = False
        self._write(self._whole())

    def end(self) -> None:
        """Send no more."""
        self._request.unregisterProducer()
        if self._paused:
            # It would be waited for until it has read what it was sent.
            self._request.channel.transport.abortConnection()
        else:
            self._request.finish()

    def pauseProducing(self) -> None:
        """Its transport has enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Its transport takes more."""
        self._paused = False
        if self._behind:
            self.tell_all()

    def stopProducing(self) -> None:
        """It has gone; its request tells."""
        self._paused = True

    def _write(self, event: bytes) -> None:
        self._told_at = self._seconds()
        self._request.write(event)
