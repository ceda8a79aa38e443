"""Clients that ask at an even pace, several servers in turn, and time each answer."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import attrs
from httptools import HttpResponseParser

from benchmarks.loops import run

__all__ = ["ask_at_a_pace"]

#: Connections to each server, used in turn.
CONNECTIONS = 4
PATIENCE = 10.0


class _Asker(asyncio.Protocol):
    """One connection, kept."""

    def __init__(self, took: list[float]) -> None:
        self._took = took
        self._asked_at: float | None = None
        self._parser = HttpResponseParser(self)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, request: bytes) -> None:
        """Ask, unless the last question has no answer yet."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        answered = time.monotonic()
        if self._parser.get_status_code() == 200 and self._asked_at is not None:
            self._took.append(answered - self._asked_at)
        self._asked_at = None

    def close(self) -> None:
        """Ask no more."""
        self._transport.close()


@attrs.define(eq=False)
class _Server:
    """One that is asked."""

    took: list[float] = attrs.field(factory=list)
    askers: list[_Asker] = attrs.field(factory=list)

    async def connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, asker = await loop.create_connection(lambda: _Asker(self.took), "127.0.0.1", port)
            self.askers.append(asker)


def ask_at_a_pace(
    ports: dict[str, int], request: bytes, rate: float, seconds: float, settle: float = 0.5
) -> dict[str, list[float]]:
    """Ask each server so often a second, in turn, and tell how long its answers took.

    :param ports: where each of them is.
    :param rate: requests a second to each.
    :param settle: seconds before anything counts.
    """

    async def asking() -> dict[str, list[float]]:
        servers = {name: _Server() for name in ports}
        for name, server in servers.items():
            await server.connect(ports[name])
        turns = list(servers.values())
        between = 1.0 / rate / len(turns)
        gc.collect()
        gc.disable()
        began, asked, counts = time.monotonic(), 0, False
        try:
            while (now := time.monotonic() - began) < settle + seconds:
                if now >= settle and not counts:
                    counts = True
                    for server in turns:
                        server.took.clear()
                turn = turns[asked % len(turns)]
                turn.askers[asked // len(turns) % CONNECTIONS].ask(request)
                asked += 1
                await asyncio.sleep(max(0.0, began + asked * between - time.monotonic()))
            await asyncio.sleep(0.1)
        finally:
            gc.enable()
            for server in turns:
                for asker in server.askers:
                    asker.close()
        return {name: server.took for name, server in servers.items()}

    return run(asking())
