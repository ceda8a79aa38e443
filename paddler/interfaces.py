"""Seams with more than one home, or that will have."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import Attribute, Interface

from paddler.values import Address

__all__ = ["IAnswer", "IBodyReceiver", "IUpstreamHop"]


class IBodyReceiver(Interface):
    """Takes an answer's body as it comes."""

    def data_received(data: bytes) -> None:
        """Some bytes of the body, at once."""

    def body_ended(problem: str | None) -> None:
        """Nothing more comes; called once.

        :param problem: None when the body is complete, else why it is not.
        """


class IAnswer(Interface):
    """The head of a llama-server's answer, and its body to come."""

    code = Attribute("The status code, an int.")
    phrase = Attribute("The status phrase, bytes.")
    headers = Attribute("The headers, without those between us and llama-server only.")
    length = Attribute("How many bytes the body has; None when that is not known before its end.")

    def deliver(receiver: IBodyReceiver) -> None:
        """Let the body come. Called once."""

    def pause() -> None:
        """Read no more from llama-server for now."""

    def resume() -> None:
        """Read on."""

    def abort() -> None:
        """Cut the connection to llama-server; the receiver hears no more."""


class IUpstreamHop(Interface):
    """Sends requests to llama-servers: the way bytes take, which knows no slots."""

    def send(
        upstream: Address,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: IBodyProducer | None,
    ) -> Deferred[IAnswer]:
        """Send one request; cancelling the Deferred closes the connection.

        :param target: path and query, as they go into the request line.
        :param headers: Host included; sent as they are.
        :raises UpstreamRefused: no connection was made; nothing was sent.
        :raises UpstreamTimedOut: likewise, for it took too long.
        :raises UpstreamFailed: the connection was lost before the answer's head was whole.
        """

    def close() -> Deferred[None]:
        """Close what is kept open."""
