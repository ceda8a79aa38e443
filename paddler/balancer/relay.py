"""One answer on its way from llama-server to the client.

Nothing of it is read: bytes pass as they come, no faster than the client takes
them. Its head is held until the first byte of its body, so that a server that dies while it
evaluates the prompt can still be replaced. Only a short error of the server's own is held
whole, for it may say that the model is still loading.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.http_headers import Headers
from zope.interface import implementer

from paddler.balancer.accounts import Account
from paddler.balancer.answers import error_body, status_of
from paddler.balancer.channel import PlainRequest
from paddler.errors import UpstreamFailed, UpstreamTruncated
from paddler.interfaces import IAnswer, IBodyReceiver

__all__ = ["Relay", "cut"]

_EVENT_STREAM = b"text/event-stream"
#: Bytes of an error's body that are held; llama-server's have a few hundred.
HELD = 8192


@implementer(IBodyReceiver, IPushProducer)
@attrs.define(eq=False)
class Relay:
    """Passes one answer on.

    :param clock: the time.
    :param request: the client's.
    :param answer: llama-server's.
    :param upstream: its address, for errors.
    :param ours: headers of our own, set over what the answer has.
    :param good: called when an answer begins that is no error of the server's.
    :param account: kept of the request.
    """

    _clock: IReactorTime
    _request: PlainRequest
    _answer: IAnswer
    _upstream: str
    _ours: Headers
    _good: Callable[[], None]
    _account: Account
    #: When the last bytes came, or the head.
    last_byte_at: float = attrs.field(default=0.0, init=False)
    #: The client has enough for now: that nothing comes is our own doing.
    paused: bool = attrs.field(default=False, init=False)
    #: The client was sent something of this answer.
    started: bool = attrs.field(default=False, init=False)
    #: Tokens of a stream have come: llama-server notices at once when it is closed.
    tokens_flowing: bool = attrs.field(default=False, init=False)
    _streams: bool = attrs.field(default=False, init=False)
    _held: bytes | None = attrs.field(default=None, init=False)
    _tail: bytes = attrs.field(default=b"", init=False)
    _done: Deferred[bytes | None] = attrs.field(init=False)

    def run(self) -> Deferred[bytes | None]:
        """Pass the answer on; cancel to close the connection to llama-server.

        Fires with None when the client has all of it, or with the body of an error, of which the
        client was sent nothing yet: `send_held` does that.

        :raises UpstreamFailed: it ended before the client was sent anything; by the Deferred.
        :raises UpstreamTruncated: it ended after that and before it was whole; the client's
            connection is cut, so that it can't take the answer for whole.
        """
        kind = self._answer.headers.getRawHeaders(b"content-type", [b""])[0]
        self._streams = kind.lower().startswith(_EVENT_STREAM)
        if self._answer.code >= 500:
            self._held = b""
        self.last_byte_at = self._clock.seconds()
        self._done = Deferred(lambda _: self._answer.abort())
        done = self._done
        self._answer.deliver(self)
        return done

    def send_held(self, body: bytes) -> None:
        """Send the client the error that was held."""
        self._start()
        self._account.sent += len(body)
        self._request.write(body)
        self._finish()

    def give_up(self, problem: str) -> None:
        """Treat the server as dead: close the connection to it and end as if it had."""
        self._answer.abort()
        self.body_ended(problem)

    # From llama-server.

    def data_received(self, data: bytes) -> None:
        """See `IBodyReceiver`."""
        self.last_byte_at = self._clock.seconds()
        if self._held is not None:
            data = self._held + data
            self._held = data if len(data) <= HELD else None
            if self._held is not None:
                return
        if not self.started:
            self._start()
        if self._streams:
            self._tail = data[-4:] if len(data) >= 4 else (self._tail + data)[-4:]
            self.tokens_flowing = self.tokens_flowing or _has_tokens(data)
        self._account.sent += len(data)
        self._request.write(data)

    def body_ended(self, problem: str | None) -> None:
        """See `IBodyReceiver`."""
        if self._done.called:
            return
        if problem is None and self._held is not None:
            self._done.callback(self._held)
        elif problem is None:
            if not self.started:
                self._start()
            self._finish()
            self._done.callback(None)
        elif not self.started:
            self._done.errback(UpstreamFailed(self._upstream, problem))
        else:
            error = UpstreamTruncated(self._upstream, problem)
            if self._streams:
                self._request.write(self._last_event(error))
            self._request.unregisterProducer()
            cut(self._request, told=self._streams)
            self._done.errback(error)

    def _last_event(self, error: UpstreamTruncated) -> bytes:
        """An event that says that the stream was cut, as llama-server says its errors."""
        code, _ = status_of(error)
        data = b"data: " + error_body(code, "upstream_truncated", str(error)) + b"\n\n"
        ended = self._tail.endswith((b"\n\n", b"\r\n\r\n"))
        return data if ended else b"\n\n" + data

    # From the client's connection.

    def pauseProducing(self) -> None:
        """The client reads more slowly than llama-server writes."""
        self.paused = True
        self._answer.pause()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self.paused = False
        self.last_byte_at = self._clock.seconds()
        self._answer.resume()

    def stopProducing(self) -> None:
        """The client has gone; whoever waits for this relay is told so and cancels it."""

    def _start(self) -> None:
        self.started = True
        self._account.code = self._answer.code
        self._account.first_byte_at = self._clock.seconds()
        if self._answer.code < 500:
            self._good()
        request, answer = self._request, self._answer
        request.setResponseCode(answer.code, answer.phrase)
        # twisted.web gives its own Content-Type where there is none, its own Date and Server.
        request.defaultContentType = None
        request.responseHeaders.removeHeader(b"date")
        request.responseHeaders.removeHeader(b"server")
        for headers in (answer.headers, self._ours):
            for name, values in headers.getAllRawHeaders():
                request.responseHeaders.setRawHeaders(name, values)
        bodyless = request.method == b"HEAD" or answer.code in (204, 304)
        if answer.length is not None and not bodyless:
            request.setHeader(b"content-length", b"%d" % answer.length)
        request.registerProducer(self, True)

    def _finish(self) -> None:
        self._request.unregisterProducer()
        self._request.finish()


def _has_tokens(data: bytes) -> bool:
    """Whether bytes of a stream begin with an event that is no news of the prompt.

    Comments and, where they are asked for, reports of progress come while it is evaluated.
    """
    return data.startswith((b"data:", b"event:")) and b'"prompt_progress"' not in data


def cut(request: PlainRequest, *, told: bool) -> None:
    """End a client's connection such that its answer can't pass for whole.

    :param told: the client was told so by an event.
    """
    if request.clientproto == b"HTTP/1.0" and not told:
        # With neither length nor chunks a clean close would be its end.
        request.channel.transport.abortConnection()
    else:
        # Without the last chunk, or short of its length, it shows.
        request.loseConnection()
