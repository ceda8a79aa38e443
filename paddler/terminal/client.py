"""Keeps what is known of the balancer up to date: follows its streams, and comes back when lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

import attrs
import msgspec

from paddler.terminal.events import EventReader, LineReader, TooLong
from paddler.terminal.fleet import Agent, Balancer, Fleet, Point, Queue
from paddler.terminal.scene import Link
from paddler.terminal.web import Broken, Refused, Web, problem_of

__all__ = ["WAITS", "Watch"]

#: Seconds before the next try; the last goes on.
WAITS = (1.0, 2.0, 4.0, 8.0)

#: Seconds between two looks at what has no stream. If nobody answers, nobody is there.
_EVERY = 5.0
#: A clock that is off by less is not off: an answer's date has whole seconds.
_CLOCK_SLACK = 2.0

_LOST = (OSError, asyncio.TimeoutError, Broken, Refused, TooLong, msgspec.DecodeError, UnicodeError)


@attrs.frozen
class _Snapshot:
    agents: tuple[Agent, ...]


@attrs.frozen
class _Changes:
    changed: tuple[Agent, ...] = ()
    left: tuple[str, ...] = ()


@attrs.frozen
class _Past:
    points: tuple[Point, ...]


_read_snapshot = msgspec.json.Decoder(_Snapshot).decode
_read_changes = msgspec.json.Decoder(_Changes).decode
_read_past = msgspec.json.Decoder(_Past).decode
_read_queue = msgspec.json.Decoder(Queue).decode
_read_balancer = msgspec.json.Decoder(Balancer).decode


@attrs.define(eq=False)
class Watch:
    """What is known, and the connection that it comes by.

    :param web: the management server.
    :param has_token: whether that is shown a token.
    :param changed: called after each change.
    :param clock: this machine's time, Unix seconds.
    :param sleep: lets so many seconds go by.
    :ivar fleet: what is known.
    :ivar link: how it is come by.
    """

    _web: Web
    _has_token: bool
    _changed: Callable[[], None]
    _clock: Callable[[], float]
    _sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    fleet: Fleet = attrs.field(factory=Fleet, init=False)
    link: Link = attrs.field(factory=Link, init=False)
    _ahead: float = attrs.field(default=0.0, init=False)
    _heard_at: float = attrs.field(default=0.0, init=False)

    def now(self) -> float:
        """The balancer's time; it stands still while there is no connection."""
        here = self._clock() if self.link.live or not self._heard_at else self._heard_at
        return here + self._ahead

    async def run(self) -> None:
        """Follow the balancer until cancelled."""
        tries = 0
        while True:
            before, refused = self._heard_at, None
            try:
                await self._followed()
                problem = "the balancer ended the stream"
            except _LOST as error:
                problem = problem_of(error)
                if isinstance(error, Refused) and error.status == 401:
                    refused = error
            tries = 0 if self._heard_at != before else tries
            wait = WAITS[min(tries, len(WAITS) - 1)]
            tries += 1
            self._lost(problem, wait, refused is not None)
            await self._sleep(wait)

    async def steer(self, agent_id: str, deed: str) -> str:
        """Drain or resume an agent.

        :param deed: `drain` or `resume`.
        :return: what went wrong; empty if nothing did.
        """
        try:
            await self._web.post(f"/api/v1/agents/{agent_id}/{deed}")
        except _LOST as error:
            return problem_of(error)
        return ""

    def _lost(self, problem: str, wait: float, refused: bool) -> None:
        now = self._clock()
        self.link = Link(
            ever=self.link.ever,
            since=now if self.link.live else self.link.since,
            retry_at=now + wait,
            problem=problem,
            refused="" if not refused else "wrong token" if self._has_token else "no token",
        )
        self._changed()

    async def _followed(self) -> None:
        """All that is asked for at once; ends when one of it does."""
        tasks = [
            asyncio.ensure_future(following)
            for following in (self._agents(), self._queue(), self._rest())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _agents(self) -> None:
        def heard(event: str, data: bytes) -> None:
            self._heard_at = self._clock()
            if event == "snapshot":
                fleet = self.fleet.replaced(_read_snapshot(data).agents)
            else:
                changes = _read_changes(data)
                fleet = self.fleet.changed(changes.changed, changes.left)
            if not self.link.live:
                self.link = Link(live=True, ever=True)
            self._take(fleet)

        await self._streamed("/api/v1/agents/stream", heard)

    async def _queue(self) -> None:
        def heard(event: str, data: bytes) -> None:
            self._take(attrs.evolve(self.fleet, queue=_read_queue(data), queue_at=self.now()))

        await self._streamed("/api/v1/buffered_requests/stream", heard)

    async def _streamed(self, path: str, heard: Callable[[str, bytes], None]) -> None:
        lines, events = LineReader(), EventReader()
        async with self._web.asked("GET", path) as answer:
            self._set_clock(answer.headers.get("date"))
            async for piece in answer.body():
                for line in lines.feed(piece):
                    event = events.feed(line)
                    if event is not None:
                        heard(*event)

    async def _rest(self) -> None:
        while True:
            past = _read_past(await self._web.get("/api/v1/history"))
            balancer = _read_balancer(await self._web.get("/api/v1/balancer"))
            self._take(attrs.evolve(self.fleet.with_history(past.points), balancer=balancer))
            await self._sleep(_EVERY)

    def _take(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._changed()

    def _set_clock(self, date: str | None) -> None:
        if date is None:
            return
        try:
            ahead = parsedate_to_datetime(date).timestamp() + 0.5 - self._clock()
        except (TypeError, ValueError):
            return
        self._ahead = ahead if abs(ahead) > _CLOCK_SLACK else 0.0
