"""Asking a server as a user would: is it healthy, and what does it say in a chat.

For the demo; neither service uses it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseFailed

__all__ = ["Asking", "ChatFailed"]


@attrs.define(eq=False, str=False)
class ChatFailed(Exception):
    """A chat got no whole answer. Not among `paddler.errors`: no client is ever told of it.

    :param problem: why.
    """

    problem: str

    def __str__(self) -> str:
        return self.problem


class _Stream(Protocol):
    """A streamed chat's answer: hands on each piece of text the moment it is here."""

    def __init__(self, piece: Callable[[str], None]) -> None:
        self.done: Deferred[None] = Deferred(self._left)
        self._piece = piece
        self._pending = b""
        self._problem = "the answer ended before it was whole"
        self._whole = False

    def _left(self, done: Deferred[None]) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip())

    def _event(self, event: bytes) -> None:
        if event == b"[DONE]":
            self._whole = True
            return
        said = json.loads(event)
        if "error" in said:
            self._problem = str(said["error"].get("message", said["error"]))
        for choice in said.get("choices", ()):
            delta = choice.get("delta", {})
            text = delta.get("content") or delta.get("reasoning_content")
            if text:
                self._piece(text)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if self._whole:  # however the connection ended after that
            self.done.callback(None)
        else:
            self.done.errback(ChatFailed(self._problem))


class Asking:
    """A client for servers on the loopback.

    :param reactor: where its connections are made.
    """

    def __init__(self, reactor: Any) -> None:
        self._client = HTTPClient(Agent(reactor, connectTimeout=5))

    async def health(self, port: int) -> dict[str, Any] | None:
        """What `/health` says; None when nobody answers, or not with 200."""
        try:
            response = await self._client.get(f"http://127.0.0.1:{port}/health")
            answer: dict[str, Any] = await response.json()
        except (ConnectError, ResponseFailed):
            return None
        return answer if response.code == 200 else None

    async def chat(self, port: int, prompt: str, tokens: int, piece: Callable[[str], None]) -> str:
        """Have one streamed chat.

        :param tokens: the most that the answer may have.
        :param piece: called with each piece of the answer when it arrives.
        :returns: the name of the agent whose llama-server answered.
        :raises ChatFailed: saying why there was no whole answer.
        """
        ask = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "stream": True,
        }
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        try:
            response = await self._client.post(url, json=ask, unbuffered=True)
        except (ConnectError, ResponseFailed) as error:
            raise ChatFailed(f"the balancer did not answer: {error}") from error
        if response.code != 200:
            raise ChatFailed(f"the balancer answered {response.code}: {await response.text()}")
        stream = _Stream(piece)
        response.deliverBody(stream)
        await stream.done
        return ", ".join(response.headers.getRawHeaders("X-Paddler-Agent", ["(no name given)"]))
