"""Clients that read streams of tokens: they count events, see to their order and time their way."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
from httptools import HttpResponseParser

from benchmarks.events import SIZE, read
from benchmarks.loops import run
from benchmarks.rows import NotMeasured

__all__ = ["Reader", "Tally", "Window", "read_streams", "watch_streams"]

#: Seconds for all streams to have begun.
PATIENCE = 30.0
#: Seconds in which those that have left are gone.
LEAVING = 0.1
#: Clients that connect at a time: no listener's backlog is shorter.
AT_A_TIME = 32
#: More tokens than any benchmark waits for.
ENDLESS = 10**7


@attrs.define(eq=False)
class Tally:
    """What has come.

    :ivar delays: seconds each event was on its way, where they are kept.
    :ivar wrong: events out of their order, answers that are none, and streams that were cut.
    """

    events: int = 0
    ended: int = 0
    wrong: int = 0
    delays: list[float] | None = None


@attrs.frozen
class Window:
    """What came while it was watched.

    :param seconds: how long that was.
    :param watched: what `watch` said at its end, less what it said at its beginning.
    :param held: what `hold` said while all streams ran.
    """

    tally: Tally
    seconds: float
    watched: float
    held: float


class Reader(asyncio.Protocol):
    """One client with one stream.

    :param begun: called when the first of its events is here.
    """

    def __init__(self, tally: Tally, request: bytes, begun: Callable[[], None]) -> None:
        self._tally = tally
        self._request = request
        self._begun: Callable[[], None] | None = begun
        self._parser = HttpResponseParser(self)
        self._rest = b""
        self._next = 0
        self._left = False
        self._whole = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        self._tally.wrong += self._parser.get_status_code() != 200

    def on_body(self, data: bytes) -> None:
        tally = self._tally
        if self._rest:
            data = self._rest + data
        place, size = 0, len(data)
        while place + SIZE <= size:
            number, stamp = read(data, place)
            if number != self._next:
                tally.wrong += 1
            self._next = number + 1
            tally.events += 1
            if tally.delays is not None:
                tally.delays.append((time.monotonic_ns() - stamp) * 1e-9)
            place += SIZE
        self._rest = data[place:]
        if self._begun is not None:
            begun, self._begun = self._begun, None
            begun()

    def on_message_complete(self) -> None:
        self._whole = True
        self._tally.ended += 1
        self._tally.wrong += bool(self._rest)

    def leave(self) -> None:
        """Go in the middle of it."""
        self._left = True
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._tally.wrong += not (self._whole or self._left)


@asynccontextmanager
async def _streams(port: int, count: int, tokens: int, tally: Tally) -> AsyncIterator[None]:
    """Streams of which each has had an event; those that still run are left in the end."""
    loop = asyncio.get_running_loop()
    body = json.dumps(
        {"messages": [{"role": "user", "content": "A story."}], "stream": True}
        | {"max_tokens": tokens}
    ).encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json"
        b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    left, all_begun = count, loop.create_future()

    def begun() -> None:
        nonlocal left
        left -= 1
        if not left:
            all_begun.set_result(None)

    readers: list[Reader] = []
    try:
        while len(readers) < count:
            wanted = min(AT_A_TIME, count - len(readers))
            connecting = (
                loop.create_connection(lambda: Reader(tally, request, begun), "127.0.0.1", port)
                for _ in range(wanted)
            )
            readers += [reader for _, reader in await asyncio.gather(*connecting)]
        try:
            await asyncio.wait_for(all_begun, PATIENCE)
        except asyncio.TimeoutError:
            raise NotMeasured(f"{left} of {count} streams did not begin") from None
        yield
    finally:
        for reader in readers:
            reader.leave()
        await asyncio.sleep(LEAVING)


def watch_streams(
    port: int,
    count: int,
    seconds: float,
    *,
    settle: float = 0.5,
    delays: bool = False,
    watch: Callable[[], float] = lambda: 0.0,
    hold: Callable[[], float] = lambda: 0.0,
) -> Window:
    """Read endless streams for a while, then leave them.

    :param count: streams at once.
    :param settle: seconds before anything counts.
    :param delays: keep how long each event was on its way.
    :param watch: a reading that grows, such as the CPU time of a process.
    :param hold: a reading that is taken at the end, with all streams open.
    """

    async def watched() -> Window:
        tally = Tally()
        async with _streams(port, count, ENDLESS, tally):
            await asyncio.sleep(settle)
            gc.collect()
            gc.disable()
            try:
                tally.events, tally.delays = 0, [] if delays else None
                began, before = time.monotonic(), watch()
                await asyncio.sleep(seconds)
                lasted, spent = time.monotonic() - began, watch() - before
                counted, held = attrs.evolve(tally), hold()
            finally:
                gc.enable()
        counted.wrong = tally.wrong
        return Window(counted, lasted, spent, held)

    return run(watched())


def read_streams(port: int, count: int, tokens: int) -> Tally:
    """Read streams to their ends."""

    async def to_the_end() -> Tally:
        tally = Tally()
        async with _streams(port, count, tokens, tally):
            give_up = time.monotonic() + PATIENCE
            while tally.ended < count and time.monotonic() < give_up:
                await asyncio.sleep(0.01)
        return tally

    return run(to_the_end())
