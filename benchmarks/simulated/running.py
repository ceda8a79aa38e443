"""One run: chats of a kind at a load, through one balancer, to simulated servers."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, Protocol

import attrs

from benchmarks.simulated.servers import Request, Server
from benchmarks.simulated.traffic import TRAFFICS, draw

__all__ = ["Balancer", "Result", "Worse", "run"]

#: The share of a run that warms up.
WARM = 0.15

Send = Callable[[Request, int], None]


@attrs.frozen
class Worse:
    """What may be worse than it should.

    :param loses: the share of prompts that servers lose unnoticed.
    :param late: seconds until the balancer hears of what happened.
    """

    loses: float = 0.0
    late: float = 0.0


class Balancer(Protocol):
    """Chooses servers; it calls what it was made with to send a request to one."""

    def arrived(self, request: Request, now: float) -> None:
        """A request has come."""

    def answers(self, request: Request, now: float) -> None:
        """Its first token has come."""

    def ended(self, request: Request, now: float) -> None:
        """Its last has."""

    def next_event(self) -> float | None:
        """When it wants to be told that time has passed."""

    def time_passed(self, now: float) -> None:
        """That it has."""


@attrs.frozen
class Result:
    """Of one run, or of several.

    :param mean: seconds to the first token; likewise the others.
    :param evaluated: the share of the prompts' tokens that servers evaluated.
    :param grows: requests still waited longer and longer.
    """

    mean: float
    p99: float
    longest: float
    evaluated: float
    grows: bool

    @classmethod
    def of(cls, waits: list[float], evaluated: float) -> Result:
        """From the seconds to the first token, in the order in which those came."""
        half, sorted_ = len(waits) // 2, sorted(waits)
        early, late = sum(waits[:half]) / max(1, half), sum(waits[half:]) / (len(waits) - half)
        return cls(
            sum(waits) / len(waits),
            sorted_[int(len(waits) * 0.99)],
            sorted_[-1],
            evaluated,
            late > 1.6 * early and late > 8,
        )


def run(
    make: Callable[[Any, Send, Random], Balancer],
    traffic_name: str,
    load: float,
    seed: int,
    chats: int = 1500,
    worse: Worse = Worse(),
) -> Result:
    """Simulate one run.

    :param make: makes the balancer.
    """
    traffic = TRAFFICS[traffic_name]
    drawn, lasts = draw(traffic, load, seed, chats)
    fleet, noise = traffic.fleet, Random(seed + 2000)
    servers = [
        Server(fleet, fleet.pace(n), bool(traffic.group), worse.loses, noise)
        for n in range(fleet.servers)
    ]
    agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
    numbers = count()
    before = [chat.system for chat in drawn]
    measured = (WARM * lasts, lasts)
    waits: list[float] = []
    tokens = [0, 0]
    now = 0.0
    woken_at: float | None = None

    def at(when: float, what: Callable[..., None], *more: Any) -> None:
        heapq.heappush(agenda, (when, next(numbers), what, more))

    def counts(request: Request) -> bool:
        return measured[0] <= request.arrived_at <= measured[1]

    def send(request: Request, server: int) -> None:
        request.server, request.sent_at = server, now
        servers[server].take(request, now)
        plan(server)

    def plan(server: int) -> None:
        servers[server].version += 1
        change = servers[server].next_change()
        if change is not None:
            at(change, changed, server, servers[server].version)

    def changed(number: int, version: int) -> None:
        server = servers[number]
        if server.version != version:
            return
        server.advance(now)
        for request in server.first_tokens():
            if counts(request):
                waits.append(now - request.arrived_at)
                tokens[0] += request.prompt - request.cached
                tokens[1] += request.prompt
            tell(balancer.answers, request)
        ended = server.ended()
        plan(number)
        for request in ended:
            before[request.chat] = request.prompt + request.answer
            turns = drawn[request.chat].turns
            if request.turn + 1 < len(turns):
                at(now + turns[request.turn + 1].think, arrive, request.chat, request.turn + 1)
            tell(balancer.ended, request)

    def tell(what: Callable[[Request, float], None], request: Request) -> None:
        if worse.late:
            at(now + worse.late, lambda: what(request, now))
        else:
            what(request, now)

    def arrive(chat: int, turn: int) -> None:
        said, system = drawn[chat].turns[turn], drawn[chat].system
        prompt = before[chat] + said.ask
        request = Request(chat, turn, now, system, before[chat], prompt, said.answer)
        balancer.arrived(request, now)

    def wake() -> None:
        nonlocal woken_at
        woken_at = None
        balancer.time_passed(now)

    balancer = make(traffic, send, Random(seed + 1000))
    for number, chat in enumerate(drawn):
        at(chat.starts, arrive, number, 0)
    while agenda:
        now, _, what, more = heapq.heappop(agenda)
        what(*more)
        due = balancer.next_event()
        if due is not None and (woken_at is None or due < woken_at):
            woken_at = max(now, due)
            at(woken_at, wake)
    return Result.of(waits, tokens[0] / tokens[1])
