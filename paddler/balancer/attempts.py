"""Attempts: each sending of a request to one upstream, and its answer's way to the client.

Of an answer at most its end is read: bytes pass as they come, no faster than the client takes
them. Its head is held until the first byte of its body, so that a server that dies while it
evaluates the prompt can still be replaced. Only a short error is held whole, for it may say that
the model is still loading, or that the prompt is too long for this server's context.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from paddler.balancer.accounts import Account
from paddler.balancer.answers import error_body, status_of
from paddler.balancer.doubts import Watch
from paddler.errors import PaddlerError, UpstreamFailed, UpstreamTruncated
from paddler.facts import TAIL
from paddler.headers import Forwarded, Pairs
from paddler.interfaces import Head, IAnswerReceiver, IFlow
from paddler.scheduling.slots import Upstream

__all__ = ["Attempt", "Owner"]

#: Bytes of an error's body that are held; llama-server's have a few hundred.
HELD = 8192
#: The last pieces of an answer that are kept as they came, for what it says of itself at its end.
PIECES = 8


class Owner(Protocol):
    """Whose attempt it is."""

    def answer_began(self, attempt: Attempt) -> None:
        """The client is about to get its first bytes."""

    def prompt_evaluated(self, attempt: Attempt) -> None:
        """The first tokens of a stream have come, that began with something else."""

    def attempt_ended(self, attempt: Attempt, error: PaddlerError | None) -> None:
        """It is over.

        :param error: None: the client has the whole answer. An `UpstreamTruncated`: it has a
            part, and its connection was cut. Else the client was sent nothing.
        """

    def attempt_broke(self, failure: Failure) -> None:
        """It is over, for an error of ours."""

    def attempt_held(self, attempt: Attempt, body: bytes) -> None:
        """It is over, with an error of which the client was sent nothing: see `send_held`."""


@implementer(IAnswerReceiver, IFlow)
class Attempt(msgspec.Struct, eq=False):
    """One sending of a request to one upstream.

    :param clock: the time.
    :param owner: told how it goes.
    :param request: the client's, an `IClientRequest`.
    :param account: kept of it.
    :param upstream: where it goes.
    :param takes_frames: chunks may come with their frames.
    """

    _clock: IReactorTime
    _owner: Owner
    _request: Any
    _account: Account
    upstream: Upstream
    takes_frames: bool
    watch: Watch | None = None
    #: The status of the answer.
    code: int = 0
    #: The client was sent something of the answer.
    started: bool = False
    #: Tokens of a stream have come: llama-server notices at once when it is closed.
    tokens_flowing: bool = False
    _call: Any = None
    _over: bool = False
    _began: float = 0.0
    #: When the last bytes came, or the head.
    _last_byte_at: float = 0.0
    #: The client has enough for now: that nothing comes is our own doing.
    _paused: bool = False
    _head: Any = None
    _held: bytes | None = None
    _frames: bytes = b""
    #: Of a stream, before its tokens: a line whose end has not come.
    _line: bytes = b""
    #: The last pieces of the answer.
    _last: Any = ()

    @property
    def tail(self) -> bytes:
        """The last bytes of the answer, `TAIL` of them at most."""
        return b"".join(self._last)[-TAIL:]

    @property
    def evaluates(self) -> bool:
        """As far as its answer tells, the prompt is still being evaluated."""
        return not self.tokens_flowing and self._head.streams

    @property
    def seconds(self) -> float:
        """How long it has been under way."""
        return self._clock.seconds() - self._began

    def begin(self, hop: Any, target: bytes, headers: Forwarded, more: Pairs, body: Any) -> None:
        """Send the request; the rest is told to the owner."""
        self._began = self._clock.seconds()
        address = self.upstream.address
        self._call = hop.send(address, self._request.method, target, headers, more, body, self)

    def abort(self) -> None:
        """Close the connection; the owner hears no more."""
        self._over = True
        if self._call is not None:
            self._call.abort()

    def send_held(self, body: bytes) -> None:
        """Send the client the error that was held."""
        self._start()
        self._account.sent += len(body)
        self._request.write(body)
        self._request.finish()

    # Doubts.

    def heard_at(self) -> float:
        """See `Watched`."""
        return self._clock.seconds() if self._paused else self._last_byte_at

    def give_up(self, problem: str) -> None:
        """Treat the server as dead: close the connection to it and end as if it had."""
        if not self._over:
            self._call.abort()
            self.answer_ended(UpstreamFailed(str(self.upstream.address), problem))

    # From llama-server.

    def head_received(self, head: Head) -> None:
        """See `IAnswerReceiver`."""
        if self._over:
            return
        self._head = head
        self.code = head.code
        if head.code >= 500 or head.code == 400:
            self._held = b""
        if self._held is not None or not head.chunked or head.bodyless:
            self.takes_frames = False
        self._last_byte_at = self._clock.seconds()

    def data_received(self, data: bytes) -> None:
        """See `IAnswerReceiver`."""
        if self._over:
            return
        self._last_byte_at = self._clock.seconds()
        if self._held is not None:
            data = self._held + data
            self._held = data if len(data) <= HELD else None
            if self._held is not None:
                return
        if not self.tokens_flowing and self._head.streams and self._brings_tokens(data):
            self.tokens_flowing, self._line = True, b""
            if self.started:
                self._owner.prompt_evaluated(self)
        if not self.started:
            if self._head.bodyless:
                return  # some servers send one all the same, which a client takes for an answer
            self._start()
        if not self._last:
            self._last = deque(maxlen=PIECES)
        self._last.append(data if len(data) <= TAIL else data[-TAIL:])
        self._account.sent += len(data)
        if not self.takes_frames:
            self._request.write(data)

    def whole_received(self, head: Head, body: bytes) -> None:
        """See `IAnswerReceiver`."""
        if self._over or not 200 <= head.code < 400 or not body:
            self.head_received(head)
            if body:
                self.data_received(body)
            self.answer_ended(None)
            return
        self._over = True
        self._head, self.code, self.takes_frames = head, head.code, False
        self._last = (body,)
        try:
            self.tokens_flowing = True
            self._start()
            self._account.sent += len(body)
            self._request.write(body)
            self._request.finish()
            self._owner.attempt_ended(self, None)
        except Exception:  # our own, of which nobody else would hear
            self.broke(Failure())

    def framed_received(self, data: bytes) -> None:
        """See `IAnswerReceiver`; frames with nothing in them yet are held as the head is."""
        data = self._frames + data
        if self.started and not self._over:
            self._frames = b""
            self._request.write(data)
        else:
            self._frames = data

    def answer_ended(self, problem: PaddlerError | None) -> None:
        """See `IAnswerReceiver`."""
        if self._over:
            return
        self._over = True
        try:
            self._tell(problem)
        except Exception:  # our own, of which nobody else would hear
            self.broke(Failure())

    def _tell(self, problem: PaddlerError | None) -> None:
        if problem is None and self._held is not None:
            self._owner.attempt_held(self, self._held)
        elif problem is None:
            if not self.started:
                self._start()
                if self._frames:
                    self._request.write(self._frames)
            self._request.finish()
            self._owner.attempt_ended(self, None)
        elif self.started and isinstance(problem, UpstreamFailed):
            error = UpstreamTruncated(problem.upstream, problem.problem)
            self._request.cut(self._last_event(error))
            self._owner.attempt_ended(self, error)
        else:
            self._owner.attempt_ended(self, problem)

    def broke(self, failure: Failure) -> None:
        """See `IAnswerReceiver`."""
        self._owner.attempt_broke(failure)

    def _last_event(self, error: UpstreamTruncated) -> bytes | None:
        """An event that says that the stream was cut, as llama-server says its errors."""
        if not self._head.streams or self._call.in_frame:
            return None
        code, _ = status_of(error)
        data = b"data: " + error_body(code, "upstream_truncated", str(error)) + b"\n\n"
        ended = self.tail.endswith((b"\n\n", b"\r\n\r\n"))
        return data if ended else b"\n\n" + data

    # From the client's connection.

    def pause(self) -> None:
        """See `IFlow`: the client reads more slowly than llama-server writes."""
        self._paused = True
        self._call.pause()

    def resume(self) -> None:
        """See `IFlow`: the client has caught up."""
        self._paused = False
        self._last_byte_at = self._clock.seconds()
        self._call.resume()

    def _brings_tokens(self, data: bytes) -> bool:
        """Whether the first tokens have come; of a line that is cut nothing can be told yet."""
        whole, end, self._line = (self._line + data).rpartition(b"\n")
        return _has_tokens(whole + end) or len(self._line) > HELD

    def _start(self) -> None:
        self.started = True
        self._owner.answer_began(self)
        self._request.begin(self._head, self.upstream.name.encode(), self.takes_frames, self)


def _has_tokens(data: bytes) -> bool:
    """Whether an event is in bytes of a stream that is no news of the prompt.

    Comments and, where they are asked for, reports of progress come while it is evaluated.
    """
    return data.count(b"data:") > data.count(b'"prompt_progress"')
