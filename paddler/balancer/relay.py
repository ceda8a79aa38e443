"""One answer on its way from llama-server to the client.

Nothing of it is read: bytes pass as they come, no faster than the client takes
them. Its head is held until the first byte of its body, so that a server that dies while it
evaluates the prompt can still be replaced.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.http_headers import Headers
from twisted.web.server import Request
from zope.interface import implementer

from paddler.errors import UpstreamFailed, UpstreamTruncated
from paddler.interfaces import IAnswer, IBodyReceiver

__all__ = ["Relay"]

_EVENT_STREAM = b"text/event-stream"


@implementer(IBodyReceiver, IPushProducer)
@attrs.define(eq=False)
class Relay:
    """Passes one answer on.

    :param request: the client's.
    :param answer: llama-server's.
    :param upstream: its address, for errors.
    :param ours: headers of our own, set over what the answer has.
    """

    _request: Request
    _answer: IAnswer
    _upstream: str
    _ours: Headers
    #: The client was sent something of this answer.
    started: bool = attrs.field(default=False, init=False)
    #: Tokens of a stream have come: llama-server notices at once when it is closed.
    tokens_flowing: bool = attrs.field(default=False, init=False)
    _streams: bool = attrs.field(default=False, init=False)
    _done: Deferred[None] = attrs.field(init=False)

    def run(self) -> Deferred[None]:
        """Pass the answer on; cancel to close the connection to llama-server.

        :raises UpstreamFailed: it ended before the client was sent anything; by the Deferred.
        :raises UpstreamTruncated: it ended after that and before it was whole; the client's
            connection is cut, so that it can't take the answer for whole.
        """
        kind = self._answer.headers.getRawHeaders(b"content-type", [b""])[0]
        self._streams = kind.lower().startswith(_EVENT_STREAM)
        self._done = Deferred(lambda _: self._answer.abort())
        done = self._done
        self._answer.deliver(self)
        return done

    # From llama-server.

    def data_received(self, data: bytes) -> None:
        """See `IBodyReceiver`."""
        if not self.started:
            self._start()
        if self._streams and not self.tokens_flowing:
            # Comments come while the prompt is evaluated, and then say nothing of tokens.
            self.tokens_flowing = not data.startswith(b":")
        self._request.write(data)

    def body_ended(self, problem: str | None) -> None:
        """See `IBodyReceiver`."""
        if problem is None:
            if not self.started:
                self._start()
            self._request.unregisterProducer()
            self._request.finish()
            self._done.callback(None)
        elif not self.started:
            self._done.errback(UpstreamFailed(self._upstream, problem))
        else:
            self._request.unregisterProducer()
            # Without the last chunk, or short of its length, it can't pass for whole.
            self._request.loseConnection()
            self._done.errback(UpstreamTruncated(self._upstream, problem))

    # From the client's connection.

    def pauseProducing(self) -> None:
        """The client reads more slowly than llama-server writes."""
        self._answer.pause()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self._answer.resume()

    def stopProducing(self) -> None:
        """The client has gone; whoever waits for this relay is told so and cancels it."""

    def _start(self) -> None:
        self.started = True
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
