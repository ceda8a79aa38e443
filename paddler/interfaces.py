"""Seams with more than one home."""

from __future__ import annotations

from typing import IO

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from paddler.errors import PaddlerError
from paddler.headers import Forwarded, Pairs, RequestHeaders, text_of
from paddler.values import Address

__all__ = [
    "Head",
    "IAnswerReceiver",
    "IBody",
    "ICall",
    "IClientRequest",
    "IFlow",
    "IPlainServer",
    "IUpstreamHop",
]


class Head(msgspec.Struct, frozen=True):
    """The head of an answer.

    :param code: its status.
    :param phrase: the words behind it.
    :param headers: those that the client gets.
    :param length: bytes of its body; None: that is not known before its end.
    :param chunked: its body comes in HTTP/1.1's chunks, which can be had as they are.
    :param streams: its body is a stream of events.
    :param text: see `as_text`, where it is known already.
    :ivar bodyless: it can have no body.
    """

    code: int
    phrase: bytes
    headers: Pairs
    length: int | None
    chunked: bool = False
    streams: bool = False
    text: bytes = b""

    @property
    def bodyless(self) -> bool:
        """See above."""
        return self.code in (204, 304)

    def as_text(self) -> bytes:
        """The lines of it that need no change, each with its end: all but its body's length."""
        if self.text:
            return self.text
        has_length = self.length is not None and not self.bodyless
        pairs = self.others if has_length else self.headers
        return b"HTTP/1.1 %d %b\r\n%b" % (self.code, self.phrase, text_of(pairs))

    @property
    def others(self) -> Pairs:
        """Its headers but its body's length."""
        return [pair for pair in self.headers if pair[0].lower() != b"content-length"]


class IBody(Interface):
    """A request's body, which can be sent as often as it takes."""

    size = Attribute("Its bytes, an int.")
    fingerprint = Attribute("An int that tells it from other bodies.")

    def read() -> bytes:
        """All of it."""

    def file() -> IO[bytes]:
        """A file that reads it, at its start."""

    def may_be_json_object() -> bool:
        """Whether it begins like one, told without reading it all."""

    def replaced(body: bytes) -> IBody:
        """Another body in its place."""


class IFlow(Interface):
    """Something that can be told to send less."""

    def pause() -> None:
        """Send nothing more for now."""

    def resume() -> None:
        """Go on."""


class IClientRequest(Interface):
    """A client's request, and the way back to that client."""

    method = Attribute("Its method, bytes.")
    uri = Attribute("Its target as it came, bytes.")
    headers = Attribute("Its headers, `paddler.headers.RequestHeaders`.")
    its_id = Attribute("The client's id for it, or ours, bytes.")
    body = Attribute("Its body, an `IBody`.")
    client_host = Attribute("The client's address, bytes.")
    secure = Attribute("It came over TLS, a bool.")
    takes_frames = Attribute("Chunks may be given to `write` with their frames, a bool.")

    def let_go() -> None:
        """Its body counts no more among those that wait."""

    def hold_again() -> None:
        """Its body waits once more."""

    def respond(code: int, headers: Pairs, body: bytes) -> None:
        """Answer, whole."""

    def begin(head: Head, agent: bytes, framed: bool, flow: IFlow) -> None:
        """Begin an answer: its body follows by `write`, and `finish` or `cut` end it.

        :param agent: the name of the agent whose llama-server answers.
        :param framed: the body comes in chunks, framed as HTTP/1.1 has them.
        :param flow: told when the client takes less than it is sent.
        """

    def write(data: bytes) -> None:
        """Some of the body."""

    def finish() -> None:
        """The answer is whole."""

    def cut(event: bytes | None) -> None:
        """End the connection such that the answer can't pass for whole.

        :param event: the last that the client is sent; None: nothing more.
        """


class IPlainServer(Interface):
    """Serves plain requests: POSTs that came whole."""

    def takes(uri: bytes, headers: RequestHeaders) -> bool:
        """Whether a request is for it; all others are for twisted.web."""

    def new(request: IClientRequest) -> object:
        """A request has come: `begin()` of what is returned serves it, and `client_has_left()`
        is called when its client leaves before it is answered.
        """


class IAnswerReceiver(Interface):
    """Hears what becomes of a request that was sent."""

    takes_frames = Attribute(
        "Chunks come with their frames, by `framed_received`, a bool; asked after `head_received`."
    )

    def head_received(head: Head) -> None:
        """The answer has begun."""

    def data_received(data: bytes) -> None:
        """Some bytes of its body."""

    def whole_received(head: Head, body: bytes) -> None:
        """All of an answer that is no stream, in the place of the others. It raises nothing."""

    def framed_received(data: bytes) -> None:
        """Bytes as they came, with the frames of chunks; what is in them was received before."""

    def broke(failure: Failure) -> None:
        """An error of ours came out of one of these; nothing more comes."""

    def answer_ended(problem: PaddlerError | None) -> None:
        """Nothing more comes; called once, and never after `ICall.abort`. It raises nothing.

        :param problem: None when the answer is whole; else a `PaddlerError` that says why it
            is not: `UpstreamRefused` and `UpstreamTimedOut` before anything was sent,
            `UpstreamFailed` after that, `NoConnection` where the fault is ours.
        """


class ICall(IFlow):
    """A request that was sent to an upstream."""

    in_frame = Attribute("The last bytes that came end within a chunk, a bool.")

    def abort() -> None:
        """Close the connection; the receiver hears no more."""


class IUpstreamHop(Interface):
    """Sends requests to llama-servers: the way bytes take, which knows no slots."""

    def send(
        upstream: Address,
        method: bytes,
        target: bytes,
        headers: Forwarded,
        more: Pairs,
        body: IBody,
        receiver: IAnswerReceiver,
    ) -> ICall:
        """Send one request.

        :param target: path and query, as they go into the request line.
        :param headers: Host included; sent as they are.
        :param more: headers of this request alone.
        """

    def close() -> Deferred[None]:
        """Close what is kept open."""
