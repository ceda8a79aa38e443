"""How others balance, in front of simulated servers, each as a small function.

Those that look at prompts know which chat a request belongs to and believe of each cache what
they sent there, the least recently used out first; ours has to find that out by itself.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from random import Random

import attrs

from benchmarks.simulated.running import Send
from benchmarks.simulated.servers import Request
from benchmarks.simulated.traffic import Traffic

__all__ = ["OTHERS", "Other"]

#: How much more than the mean a server may have with bounded loads.
BOUNDED = 1.25


@attrs.define(eq=False)
class Belief:
    """What is believed to be in one cache."""

    room: int
    tokens: int = 0
    shared: bool = False
    _chats: OrderedDict[int, int] = attrs.field(factory=OrderedDict)

    def of(self, request: Request) -> int:
        """Tokens of a request's prompt."""
        return self._chats.get(request.chat) or (request.system if self.shared else 0)

    def put(self, chat: int, tokens: int) -> None:
        """A chat is there."""
        self.tokens += tokens - self._chats.pop(chat, 0)
        self._chats[chat] = tokens
        while self.tokens > self.room and len(self._chats) > 1:
            self.tokens -= self._chats.popitem(last=False)[1]


@attrs.define(eq=False)
class Known:
    """What was known of a request when it came: for each server, tokens there, seconds left."""

    there: list[int]
    seconds: list[float]


@attrs.define(eq=False)
class Other:
    """A balancer that sends by a function.

    :param choose: sends those in `queue` that may go.
    """

    traffic: Traffic
    send_to: Send
    random: Random
    choose: Callable[[Other], None]
    queue: deque[Request] = attrs.field(factory=deque)
    turn: int = 0
    busy: list[int] = attrs.field(init=False)
    hold: list[float] = attrs.field(init=False)
    lines: list[deque[Request]] = attrs.field(init=False)
    _beliefs: list[Belief] = attrs.field(init=False)
    _known: dict[Request, Known] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        fleet = self.traffic.fleet
        self.busy = [0] * fleet.servers
        self.hold = [1 + 100 / (fleet.decode * fleet.pace(n)) for n in self.servers]
        self.lines = [deque() for _ in self.servers]
        self._beliefs = [Belief(fleet.room) for _ in self.servers]

    @property
    def servers(self) -> range:
        """Their numbers."""
        return range(self.traffic.fleet.servers)

    @property
    def slots(self) -> int:
        """Of each."""
        return self.traffic.fleet.slots

    def known(self, request: Request) -> Known:
        """What was known of a request when it came."""
        return self._known[request]

    def send(self, request: Request, server: int) -> None:
        """Send one."""
        self.busy[server] += 1
        belief = self._beliefs[server]
        belief.shared = bool(self.traffic.group)
        belief.put(request.chat, request.prompt)
        self.send_to(request, server)

    def free(self) -> list[int]:
        """Servers with a free slot."""
        return [n for n in self.servers if self.busy[n] < self.slots]

    def arrived(self, request: Request, now: float) -> None:
        """See `Balancer`."""
        fleet = self.traffic.fleet
        there = [min(belief.of(request), request.before) for belief in self._beliefs]
        left = (max(1, request.prompt - tokens) for tokens in there)
        seconds = [n / (fleet.prefill * fleet.pace(s)) for s, n in enumerate(left)]
        self._known[request] = Known(there, seconds)
        self.queue.append(request)
        self.choose(self)

    def answers(self, request: Request, now: float) -> None:
        """See `Balancer`."""

    def ended(self, request: Request, now: float) -> None:
        """See `Balancer`."""
        server = request.server
        del self._known[request]
        self.busy[server] -= 1
        self._beliefs[server].put(request.chat, request.prompt + request.answer)
        self.hold[server] += 0.05 * (now - request.sent_at - self.hold[server])
        self.choose(self)

    def next_event(self) -> float | None:
        """See `Balancer`."""
        return None

    def time_passed(self, now: float) -> None:
        """See `Balancer`."""


def _hash(number: int) -> int:
    for _ in range(2):
        number = (number ^ (number >> 16)) * 0x45D9F3B & 0xFFFFFFFF
    return number ^ (number >> 16)


def _home(request: Request) -> int:
    return _hash(request.chat * 31 + 7)


def round_robin(b: Other) -> None:
    """To each in turn, whatever it has to do; the servers queue."""
    while b.queue:
        b.turn += 1
        b.send(b.queue.popleft(), b.turn % len(b.servers))


def haproxy(b: Other) -> None:
    """HAProxy's leastconn with as many connections as slots: one queue, most free slots."""
    while b.queue and (free := b.free()):
        server = min(free, key=lambda n: (b.busy[n], (n - b.turn) % len(b.servers)))
        b.send(b.queue.popleft(), server)
        b.turn += 1


def hashed(b: Other) -> None:
    """Each chat to a server of its own; the servers queue."""
    while b.queue:
        request = b.queue.popleft()
        b.send(request, _home(request) % len(b.servers))


def bounded(b: Other) -> None:
    """Consistent hashing with bounded loads; the servers queue."""
    while b.queue:
        request = b.queue.popleft()
        most = -(-BOUNDED * (sum(b.busy) + 1) / len(b.servers) // 1)
        order = sorted(b.servers, key=lambda n: _hash(_home(request) + n * 7919))
        b.send(request, next((n for n in order if b.busy[n] + 1 <= most), order[0]))


def longest_prefix(b: Other) -> None:
    """Of those with a free slot the one that has most of the prompt; one queue."""
    while b.queue and (free := b.free()):
        request = b.queue.popleft()
        there = b.known(request).there
        b.send(request, min(free, key=lambda n: (-there[n], b.busy[n], b.random.random())))


def expected_time(weight: float) -> Callable[[Other], None]:
    """The least of wait and weighted prompt; a line for each, from which others steal."""

    def choose(b: Other) -> None:
        def wait(n: int) -> float:
            full = b.busy[n] >= b.slots
            return (len(b.lines[n]) + 1) * b.hold[n] / b.slots if full else 0.0

        while b.queue:
            request = b.queue.popleft()
            left = b.known(request).seconds
            server = min(
                b.servers, key=lambda n: (wait(n) + weight * left[n], b.busy[n], b.random.random())
            )
            if b.busy[server] < b.slots:
                b.send(request, server)
            else:
                b.lines[server].append(request)
        for n in b.servers:
            while b.lines[n] and b.busy[n] < b.slots:
                b.send(b.lines[n].popleft(), n)
        for n in b.free():
            while b.busy[n] < b.slots and (best := _to_steal(b, n, weight)):
                _, line, place = best
                request = b.lines[line][place]
                del b.lines[line][place]
                b.send(request, n)

    return choose


def _to_steal(b: Other, server: int, weight: float) -> tuple[float, int, int] | None:
    """Whom a free server helps most: by how much, and where that one stands."""
    best: tuple[float, int, int] | None = None
    for line in b.servers:
        for place, request in enumerate(b.lines[line]):
            if place > 41:
                break
            left = b.known(request).seconds
            gain = (place + 1) * b.hold[line] / b.slots + weight * (left[line] - left[server])
            if gain > 0 and (best is None or gain > best[0]):
                best = gain, line, place
    return best


#: By the names that the table gives them.
OTHERS: dict[str, Callable[[Other], None]] = {
    "round robin": round_robin,
    "HAProxy leastconn, maxconn = slots": haproxy,
    "hash of the chat": hashed,
    "bounded-load consistent hash": bounded,
    "free server with the longest prefix": longest_prefix,
    "expected time, weight 1, stealing": expected_time(1.0),
    "expected time, weight 3, stealing": expected_time(3.0),
    "expected time, weight 5, stealing": expected_time(5.0),
}
