"""A management server on asyncio that says what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from paddler.values import Address

__all__ = ["ScriptedManagement", "run_bounded", "until"]

_STREAMS = ("/api/v1/agents/stream", "/api/v1/buffered_requests/stream")


def run_bounded(test: Coroutine[Any, Any, None], seconds: float = 30.0) -> None:
    """Run a test on a loop of its own, for so long at most."""
    asyncio.run(asyncio.wait_for(test, seconds))


async def until(seen: Callable[[], Any], within: float = 10.0) -> None:
    """Wait until something is true.

    :raises AssertionError: it is not within so many seconds.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not seen():
        if loop.time() > end:
            raise AssertionError(f"not seen within {within} s")
        await asyncio.sleep(0.01)


class ScriptedManagement:
    """Answers the dashboard's requests.

    :ivar answers: what is at each path, as JSON; bytes are sent as they are.
    :ivar first: the first event of each stream.
    :ivar token: what everyone must show.
    :ivar asked: method and path of all requests so far.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "/api/v1/history": {"points": []},
            "/api/v1/balancer": {"version": "1.0.0", "uptime_seconds": 1, "news": True},
        }
        self.first: dict[str, Any] = {
            _STREAMS[0]: {"agents": []},
            _STREAMS[1]: {"requests_waiting": 0, "oldest_wait_seconds": 0, "limit": 10},
        }
        self.token: str | None = None
        self.date: str | None = None
        self.asked: list[tuple[str, str]] = []
        self._open: dict[str, list[asyncio.StreamWriter]] = {path: [] for path in _STREAMS}
        self._all: list[asyncio.StreamWriter] = []
        self.address = Address("127.0.0.1", 1)
        self._server: asyncio.Server | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedManagement]:
        """Serve on a port of the loopback; the same one when it is done again."""
        port = 0 if self.address.port == 1 else self.address.port
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            self._server.close()
            self.drop()
            for writer in self._all:
                writer.transport.abort()
            await self._server.wait_closed()
            await asyncio.sleep(0.01)  # so that transports close their sockets

    def drop(self) -> None:
        """Close all streams, wherever they are."""
        for writers in self._open.values():
            for writer in writers:
                writer.close()
            writers.clear()

    def push(self, path: str, event: str, data: Any) -> None:
        """Send an event to all who follow a stream."""
        for writer in self._open[path]:
            self._write(writer, f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())

    def following(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._open.values()))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._all.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            self.asked.append((method, path))
            allowed = self.token is None or f"Bearer {self.token}\r\n" in head
            if allowed and path in self._open:
                self._follow(path, writer)
                return
            self._answer(method, path, allowed, writer)
            await writer.drain()
            writer.close()

    def _follow(self, path: str, writer: asyncio.StreamWriter) -> None:
        date = f"Date: {self.date}\r\n" if self.date else ""
        head = f"HTTP/1.1 200 OK\r\n{date}Transfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        self._open[path].append(writer)
        data = json.dumps(self.first[path])
        self._write(writer, f": hello\n\nevent: snapshot\ndata: {data}\n\n".encode())

    def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        # In two chunks, cut wherever that happens to be.
        cut = len(data) // 3
        for part in (data[:cut], data[cut:]):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))

    def _answer(self, method: str, path: str, allowed: bool, writer: asyncio.StreamWriter) -> None:
        status, answer = "200 OK", self.answers.get(path)
        if not allowed:
            status, answer = "401 Unauthorized", {"error": {"message": "a token is needed"}}
        elif answer is None and method == "GET":
            status, answer = "404 Not Found", {"error": {"message": "no such page"}}
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        if not body.startswith(b"!"):
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
            body = head.encode() + body
        writer.write(body)
