"""Server-sent events: how they are read, and how an answer that brings them is followed.

Nothing here knows what they tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from paddler.calls import NoAnswer, Outcome
from paddler.web import HttpCaller, read_body

__all__ = ["STRANGE", "EventReader", "Follower", "Unreadable", "follow"]

#: The most bytes from one event to the next: an event of some hundred thousand agents.
LONGEST = 64 * 1024 * 1024
#: Seconds in which the answer begins.
PATIENCE = 5.0
#: Seconds in which a stream says something. A balancer sends a comment after 15 s, and a
#: connection may be dead without an end.
SILENCE = 25.0


#: What is said of a server that answers something else.
STRANGE = "what answers there is no balancer that this version understands"


class Unreadable(Exception):
    """What comes is not what was asked for."""


@attrs.define(eq=False)
class EventReader:
    """Bytes as they come, in; events, out."""

    _rest: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)
    _name: str = attrs.field(default="message", init=False)
    _data: list[bytes] = attrs.field(factory=list, init=False)

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """The events that end in this: the name and the data of each.

        :raises Unreadable: one grows without end.
        """
        self._size += len(data)
        if self._size > LONGEST:
            raise Unreadable()
        for line in self._lines(data):
            if not line:
                if self._data:
                    yield self._name, b"\n".join(self._data)
                self._name, self._data = "message", []
                self._size = sum(map(len, self._rest))
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                self._name = value.decode("utf-8", "replace")
            elif field == b"data":
                self._data.append(value)

    def _lines(self, data: bytes) -> list[bytes]:
        first, *more = data.split(b"\n")
        self._rest.append(first)
        if not more:
            return []
        lines = [b"".join(self._rest), *more[:-1]]
        self._rest = [more[-1]]
        return [line.removesuffix(b"\r") for line in lines]


@attrs.frozen
class Follower:
    """Who follows a stream.

    :param heard: called with each event's name and data.
    :param alive: called whenever something comes, if only a comment.
    :param opened: called once, with the answer's headers.
    """

    heard: Callable[[str, bytes], None]
    alive: Callable[[], None]
    opened: Callable[[Headers], None]


class _Following(Protocol):
    """Hands on what comes; the connection is closed when it is given up."""

    def __init__(self, follower: Follower, something: Callable[[], None]) -> None:
        self.ended: Deferred[bytes] = Deferred(lambda _: self._close())
        self._follower = follower
        self._something = something
        self._events = EventReader()

    def dataReceived(self, data: bytes) -> None:
        if self.ended.called:
            return
        self._something()
        self._follower.alive()
        try:
            for name, told in self._events.feed(data):
                self._follower.heard(name, told)
        except (Unreadable, msgspec.DecodeError, UnicodeDecodeError):
            self._close()
            self.ended.errback(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.ended.called:
            return
        # Without a length the end of the connection is the end of the body.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.ended.callback(b"")
        else:
            self.ended.errback(reason)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


async def follow(clock: IReactorTime, caller: HttpCaller, path: str, follower: Follower) -> Outcome:
    """Follow a stream until it ends.

    :param clock: measures how long it is silent.
    :return: what ended it; an answer with the status 200 is a stream that the server ended.
    """
    patience = PATIENCE

    def read(response: IResponse) -> Deferred[bytes]:
        nonlocal patience
        follower.opened(response.headers)
        if response.code != 200:
            return read_body(response)
        kind = (response.headers.getRawHeaders("content-type") or ["?"])[0]
        if kind.partition(";")[0].strip().lower() != "text/event-stream":
            unread = read_body(response).addBoth(lambda _: Failure(Unreadable()))
            unread.cancel()
            return unread
        patience = SILENCE
        alarm.reset(patience)
        following = _Following(follower, lambda: alarm.reset(patience))
        response.deliverBody(following)
        return following.ended

    alarm: IDelayedCall = clock.callLater(patience, lambda: asking.cancel())
    asking = caller.follow(path, read)
    try:
        return await asking
    except (Unreadable, msgspec.DecodeError, UnicodeDecodeError):
        return NoAnswer("garbled", STRANGE)
    except CancelledError:
        if alarm.active():
            raise
        return NoAnswer("timeout", f"nothing came for {patience:g} s")
    finally:
        if alarm.active():
            alarm.cancel()
