"""Keeps what is known of the balancer up to date: follows its streams, and comes back when lost."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

import attrs
import msgspec
from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers

from paddler.calls import Answer, NoAnswer, Outcome
from paddler.terminal.agent import Agent
from paddler.terminal.events import STRANGE, Follower, follow
from paddler.terminal.fleet import Balancer, Fleet, Queue
from paddler.terminal.past import Point
from paddler.terminal.scene import Link
from paddler.web import HttpCaller

__all__ = ["WAITS", "Watch"]

#: Seconds before the next try; the last goes on.
WAITS = (1.0, 2.0, 4.0, 8.0)

#: Seconds between two looks at what has no stream. If nobody answers, nobody is there.
EVERY = 5.0
#: Seconds in which a question is answered, and in which something is done.
_ANSWERED, _DONE = 5.0, 10.0
#: A clock that is off by less is not off: an answer's date has whole seconds.
_CLOCK_SLACK = 2.0


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


class _Error(msgspec.Struct):
    message: str = ""


class _Errors(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


_read_snapshot = msgspec.json.Decoder(_Snapshot).decode
_read_changes = msgspec.json.Decoder(_Changes).decode
_read_past = msgspec.json.Decoder(_Past).decode
_read_queue = msgspec.json.Decoder(Queue).decode
_read_balancer = msgspec.json.Decoder(Balancer).decode
_read_errors = msgspec.json.Decoder(_Errors).decode


def problem_of(outcome: Outcome) -> str:
    """Why an answer is none that was hoped for, in a few words."""
    if isinstance(outcome, NoAnswer):
        return outcome.problem.removeprefix("DNS lookup failed: ").rstrip(".")
    try:
        said = _read_errors(outcome.body).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ""
    known = outcome.status in HTTPStatus._value2member_map_
    said = said or (HTTPStatus(outcome.status).phrase if known else "")
    return f"it answers {outcome.status} {said}".rstrip()


@attrs.define(eq=False)
class Watch:
    """What is known, and the connection that it comes by.

    :param clock: this machine's time, Unix seconds, and what is to be done later.
    :param caller: asks the management server.
    :param has_token: whether that is shown a token.
    :param changed: called after each change.
    :ivar fleet: what is known.
    :ivar link: how it is come by.
    """

    _clock: IReactorTime
    _caller: HttpCaller
    _has_token: bool
    _changed: Callable[[], None]
    fleet: Fleet = attrs.field(factory=Fleet, init=False)
    link: Link = attrs.field(factory=Link, init=False)
    _ahead: float = attrs.field(default=0.0, init=False)
    _heard_at: float = attrs.field(default=0.0, init=False)

    def now(self) -> float:
        """The balancer's time; it stands still while there is no connection."""
        here = self._clock.seconds() if self.link.live or not self._heard_at else self._heard_at
        return here + self._ahead

    def run(self) -> Deferred[None]:
        """Follow the balancer from now on.

        :return: fails when it is cancelled.
        """
        return Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        tries = 0
        while True:
            outcome = await self._followed()
            tries = 0 if self.link.live else tries
            wait = WAITS[min(tries, len(WAITS) - 1)]
            tries += 1
            self._lost(outcome, wait)
            await deferLater(self._clock, wait)

    async def steer(self, agent_id: str, deed: Literal["drain", "resume"]) -> str:
        """Drain or resume an agent.

        :return: what went wrong; empty if nothing did.
        """
        path = f"/api/v1/agents/{agent_id}/{deed}"
        outcome = await self._caller.call("POST", path, seconds=_DONE)
        good = isinstance(outcome, Answer) and outcome.status < 300
        return "" if good else problem_of(outcome)

    def _lost(self, outcome: Outcome, wait: float) -> None:
        now = self._clock.seconds()
        refused = isinstance(outcome, Answer) and outcome.status == 401
        ended = isinstance(outcome, Answer) and outcome.status == 200
        self.link = Link(
            ever=self.link.ever,
            since=now if self.link.live else self.link.since,
            heard_at=self._heard_at,
            retry_at=now + wait,
            problem="the balancer ended the stream" if ended else problem_of(outcome),
            refused="" if not refused else "wrong token" if self._has_token else "no token",
        )
        self._changed()

    async def _followed(self) -> Outcome:
        """All that is asked for at once; ends when one of it does, with what ended it."""
        asking = [
            Deferred.fromCoroutine(part)
            for part in (
                self._follow("/api/v1/agents/stream", self._agents),
                self._follow("/api/v1/buffered_requests/stream", self._queue),
                self._rest(),
            )
        ]
        try:
            outcome: Outcome
            outcome, _ = await DeferredList(
                asking, fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True
            )
            return outcome
        except FirstError as error:
            error.subFailure.raiseException()
        finally:
            for part in asking:
                part.cancel()

    async def _follow(self, path: str, heard: Callable[[str, bytes], None]) -> Outcome:
        follower = Follower(heard, self._alive, self._set_clock)
        return await follow(self._clock, self._caller, path, follower)

    async def _rest(self) -> Outcome:
        while True:
            for path, take in (
                ("/api/v1/history", self._past),
                ("/api/v1/balancer", self._balancer),
            ):
                outcome = await self._caller.call("GET", path, seconds=_ANSWERED)
                if not isinstance(outcome, Answer) or outcome.status != 200:
                    return outcome
                try:
                    take(outcome.body)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    return NoAnswer("garbled", STRANGE)
                self._alive()
            await deferLater(self._clock, EVERY)

    def _agents(self, event: str, data: bytes) -> None:
        if event == "snapshot":
            fleet = self.fleet.replaced(_read_snapshot(data).agents)
            self.link = Link(live=True, ever=True)
            self._take(fleet)
        elif event == "changed":
            changes = _read_changes(data)
            self._take(self.fleet.changed(changes.changed, changes.left))

    def _queue(self, event: str, data: bytes) -> None:
        self._take(attrs.evolve(self.fleet, queue=_read_queue(data), queue_at=self.now()))

    def _past(self, body: bytes) -> None:
        history = self.fleet.history.told(_read_past(body).points)
        self._take(attrs.evolve(self.fleet, history=history))

    def _balancer(self, body: bytes) -> None:
        known = _read_balancer(body)
        self._take(attrs.evolve(self.fleet, balancer=known, balancer_at=self.now()))

    def _take(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._changed()

    def _alive(self) -> None:
        self._heard_at = self._clock.seconds()

    def _set_clock(self, headers: Headers) -> None:
        try:
            date = parsedate_to_datetime((headers.getRawHeaders("date") or [""])[0])
        except (TypeError, ValueError):
            return
        ahead = date.timestamp() + 0.5 - self._clock.seconds()
        self._ahead = ahead if abs(ahead) > _CLOCK_SLACK else 0.0
