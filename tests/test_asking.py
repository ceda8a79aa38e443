"""`paddler.asking`: a client for health and streamed chats, against a small server on a socket."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from paddler.asking import Asking, ChatFailed

__all__ = ["AskingTests"]

reactor = cast(Any, _reactor)

_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Paddler-Agent: one\r\n\r\n"


class _Says(Protocol):
    """Answers every request with the same bytes and closes."""

    answer = b""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)
        self.transport.loseConnection()


class AskingTests(TestCase):
    """What is made of answers."""

    timeout = 20

    def serve(self, answer: bytes) -> int:
        """A server that says `answer`; its port."""
        factory = Factory.forProtocol(type("_Saying", (_Says,), {"answer": answer}))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def test_chat(self) -> None:
        """Pieces come in order, whatever else the stream says; the agent is named."""
        events = (
            b': a comment\n\ndata: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n'
            b'data: {"choices":[{"delta":{"content":"two "}}]}\n\n'
            b'data: {"choices":[{"delta":{"content":"words"}}]}\r\n\r\n'
            b'data: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n'
        )
        port, pieces = self.serve(_STREAM + events), list[str]()
        agent = await Asking(reactor).chat(port, "hello", 5, pieces.append)
        self.assertEqual((agent, pieces), ("one", ["two ", "words"]))

    async def check_failure(self, answer: bytes, says: str) -> None:
        """A chat that is answered so fails, and says why."""
        try:
            await Asking(reactor).chat(self.serve(answer), "hello", 5, lambda piece: None)
        except ChatFailed as error:
            self.assertIn(says, str(error))
        else:
            self.fail("it did not fail")

    async def test_failures(self) -> None:
        """An answer that is an error, is cut short, or reports an error is no whole answer."""
        full = b"HTTP/1.1 429 no\r\nContent-Length: 4\r\n\r\nfull"
        await self.check_failure(full, "the balancer answered 429: full")
        await self.check_failure(_STREAM + b"data: {}\n\n", "ended before it was whole")
        error = b'data: {"error":{"message":"no more room"}}\n\n'
        await self.check_failure(_STREAM + error, "no more room")
        await self.check_failure(b"", "did not answer")

    async def test_health(self) -> None:
        """Health is what a 200 says; anything else is none."""
        asking = Asking(reactor)
        head = b"Content-Type: application/json\r\nContent-Length: 15\r\n\r\n"
        body = b'{"status":"ok"}'
        healthy = self.serve(b"HTTP/1.1 200 OK\r\n" + head + body)
        self.assertEqual(await asking.health(healthy), {"status": "ok"})
        loading = self.serve(b"HTTP/1.1 503 no\r\n" + head + body)
        self.assertIsNone(await asking.health(loading))
        self.assertIsNone(await asking.health(self.serve(b"")))
