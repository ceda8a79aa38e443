"""Agents that report once a second to a balancer, as real ones do, each over one connection."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import attrs
from httptools import HttpResponseParser

from benchmarks.loops import run
from paddler.values import Address, Report, agent_id_for

__all__ = ["Reported", "report_for_a_while"]

INTERVAL = 1.0
SLOTS = 4


@attrs.define(eq=False)
class Reported:
    """What the reports of a while came to.

    :ivar took: seconds each was answered in.
    :ivar wrong: answers that were not 200, and connections that were lost.
    :ivar watched: what `watch` said at the end, less what it said at the beginning.
    """

    took: list[float] = attrs.field(factory=list)
    wrong: int = 0
    watched: float = 0.0
    seconds: float = 0.0


class _Agent(asyncio.Protocol):
    """One of them."""

    def __init__(self, number: int, told: Reported) -> None:
        self._told = told
        self._sent_at: float | None = None
        self._requests = [_request(number, busy) for busy in range(SLOTS + 1)]
        self._parser = HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        # As agents do that were started at different times.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(random.random() * INTERVAL, self._report, loop)

    def _report(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(INTERVAL, self._report, loop)
        # One that is late is not asked again on top of it.
        if self._sent_at is None:
            self._sent_at = time.monotonic()
            self._transport.write(random.choice(self._requests))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._told.wrong += self._parser.get_status_code() != 200
        self._told.took.append(time.monotonic() - (self._sent_at or 0.0))
        self._sent_at = None

    def stop(self) -> None:
        """Report no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._told.wrong += self._timer is not None


def _request(number: int, busy: int) -> bytes:
    report = Report(
        agent_name=f"gpu-{number}",
        external=Address(f"10.1.{number // 250}.{number % 250 + 1}", 8088),
        interval_s=INTERVAL,
        slots_total=SLOTS,
        slots_busy=busy,
        slots_age_s=0.4,
        n_ctx=8192,
        models=("qwen3-8b-instruct-q4_k_m.gguf", "qwen3-8b"),
        version="1.0",
    )
    body = report.to_json()
    path = f"/api/v1/agent_status_update/{agent_id_for(report.agent_name, report.external)}"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def report_for_a_while(
    port: int, agents: int, seconds: float, watch: Callable[[], float], settle: float = 2.0
) -> Reported:
    """Have agents report.

    :param port: the balancer's management port.
    :param watch: a reading that grows, such as the CPU time of a process.
    :param settle: seconds before anything counts.
    """

    async def reporting() -> Reported:
        loop = asyncio.get_running_loop()
        told = Reported()
        all_of_them: list[_Agent] = []
        for number in range(agents):
            agent = _Agent(number, told)
            await loop.create_connection(lambda agent=agent: agent, "127.0.0.1", port)  # type: ignore[misc]
            all_of_them.append(agent)
        await asyncio.sleep(settle)
        told.took.clear()
        began, before = time.monotonic(), watch()
        await asyncio.sleep(seconds)
        told.watched, told.seconds = watch() - before, time.monotonic() - began
        for agent in all_of_them:
            agent.stop()
        return told

    return run(reporting())
