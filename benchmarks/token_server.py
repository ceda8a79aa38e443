"""A server that streams tokens at an even pace, as a process of its own.

Every POST is answered with a stream of events, a new one every so many milliseconds, until
its `max_tokens` are sent or its client leaves. The streams take turns, so that each millisecond
has its share of them. A stream whose client is slow waits; its numbers have no gaps.

    python -m benchmarks.token_server --port 8088 --every-ms 4
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from typing import Any

import attrs
from httptools import HttpRequestParser

from benchmarks.events import LAST, frame
from benchmarks.loops import new_loop

__all__ = ["Pacer", "Stream", "main"]

_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: text/event-stream\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_TICK = 0.001
#: Seconds behind which it catches up no more, as after the machine was stopped.
_FORGETS = 0.25


class Pacer:
    """Tells its streams when an event is due.

    :param every_ms: milliseconds between two events of one stream.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, every_ms: int) -> None:
        self._loop = loop
        self._turns: list[list[Stream]] = [[] for _ in range(every_ms)]
        self._turn = self._joined = 0
        self._due = loop.time()
        self._tick()

    def join(self, stream: Stream) -> list[Stream]:
        """Give a stream its turn; what is returned lists those that share it."""
        turn = self._turns[self._joined % len(self._turns)]
        self._joined += 1
        turn.append(stream)
        return turn

    def _tick(self) -> None:
        now = self._loop.time()
        if now - self._due > _FORGETS:
            self._due = now
        while self._due <= now:
            for stream in tuple(self._turns[self._turn]):
                stream.send_event()
            self._turn = (self._turn + 1) % len(self._turns)
            self._due += _TICK
        self._loop.call_at(self._due, self._tick)


@attrs.define(eq=False)
class Stream(asyncio.Protocol):
    """One connection, which has one stream after another."""

    _pacer: Pacer
    _transport: Any = attrs.field(default=None, init=False)
    _parser: Any = attrs.field(default=None, init=False)
    _body: bytes = attrs.field(default=b"", init=False)
    _turn: list[Stream] | None = attrs.field(default=None, init=False)
    _number: int = attrs.field(default=0, init=False)
    _left: int = attrs.field(default=0, init=False)
    _full: bool = attrs.field(default=False, init=False)

    def connection_made(self, transport: Any) -> None:
        """A client is here."""
        self._transport = transport
        self._parser = HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Some of a request."""
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Some of its body."""
        self._body += data

    def on_message_complete(self) -> None:
        """It is whole."""
        asked, self._body = json.loads(self._body), b""
        self._number, self._left = 0, int(asked["max_tokens"])
        self._transport.write(_HEAD)
        self._turn = self._pacer.join(self)

    def send_event(self) -> None:
        """It is this stream's turn."""
        if self._full:
            return
        self._transport.write(frame(self._number, time.monotonic_ns()))
        self._number += 1
        if self._number == self._left:
            self._leave()
            self._transport.write(LAST)
            self._transport.close()  # as llama-server does

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._full = True

    def resume_writing(self) -> None:
        """It has taken it."""
        self._full = False

    def connection_lost(self, error: Exception | None) -> None:
        """The client has left."""
        self._leave()

    def _leave(self) -> None:
        if self._turn is not None:
            self._turn.remove(self)
            self._turn = None


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(description="Streams tokens at an even pace.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--every-ms", type=int, default=4)
    given = parser.parse_args()
    loop = new_loop()
    pacer = Pacer(loop, given.every_ms)
    serving = loop.create_server(lambda: Stream(pacer), "127.0.0.1", given.port, backlog=2048)
    loop.run_until_complete(serving)
    gc.freeze()
    loop.run_forever()


if __name__ == "__main__":
    main()
