"""What it costs to know prompts: `--balancing=prefix` over idle-slots, for one request.

Chats go on in front of llama-servers a quarter of whose slots are taken, so that nobody waits. All
that is done for a request is done, from its body to the end of its answer, but for the moving of
bytes to and fro; with each policy in turn. Apart from that, what an event of an answer costs each.
CPU time, the medians of several runs. Exit code 1 when a chat of 4 kB costs more than 30
microseconds more, or one of 100 kB more than 300.

    python benchmarks/bench_prompts.py [--json] [--rounds 25] [--profile 4000]
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import sys
import time
from collections import deque
from random import Random
from statistics import median
from typing import Any

import attrs
from twisted.internet.task import Clock

from benchmarks.events import frame
from paddler.balancer.admission import Admission
from paddler.balancer.bodies import MemoryBody
from paddler.balancer.exchanges import Exchanges, Ways
from paddler.headers import RequestHeaders
from paddler.interfaces import Head
from paddler.scheduling.policies import IdleSlots, Prefix
from paddler.scheduling.scheduler import Scheduler
from paddler.values import Address, Report

__all__ = ["main"]

#: Bytes of a chat, and the most microseconds that may be added; None: it is told and not judged.
SIZES: dict[int, float | None] = {100: None, 4_000: 30.0, 100_000: 300.0}
SERVERS = (3, 8, 16, 32)
SLOTS = 4
#: Turns of each chat, bytes that each adds, and events of an answer.
TURNS, ADDED, EVENTS = 4, 400, 16
#: Seconds from one request of a server to its next.
EVERY = 4.0
_WORDS = "the cat and the dog went to a house by the sea where it was warm".split()
_HEADERS = RequestHeaders(
    [(b"Host", b"llm"), (b"Content-Type", b"application/json"), (b"X-Request-Id", b"a-request")]
)
_HEAD = Head(200, b"OK", [(b"Content-Type", b"text/event-stream")], None, True, True)
_EVENT = frame(1, 0).partition(b"\r\n")[2][:-2]
_TIMINGS = {
    "cache_n": 800,
    "prompt_n": 100,
    "prompt_ms": 103.2,
    "prompt_per_token_ms": 1.032,
    "prompt_per_second": 968.7,
    "predicted_n": 16,
    "predicted_ms": 420.1,
    "predicted_per_token_ms": 26.3,
    "predicted_per_second": 38.1,
}
_LAST = {
    "choices": [{"finish_reason": "stop", "index": 0, "delta": {}}],
    "created": 1795490105,
    "id": "chatcmpl-5vWq",
    "model": "model.gguf",
    "object": "chat.completion.chunk",
    "timings": _TIMINGS,
}
#: As llama-server writes it, without blanks.
_END = b"data: " + json.dumps(_LAST, separators=(",", ":")).encode() + b"\n\ndata: [DONE]\n\n"


def chats(size: int, random: Random) -> list[bytes]:
    """Bodies of chats of about so many bytes, turn by turn, the chats mixed."""
    count = max(40, min(400, 2_000_000 // size))
    turns: list[list[bytes]] = [[] for _ in range(TURNS)]
    for number in range(count):
        messages = [_message("system", random.choice("abcd"), size // 4)]
        while len(json.dumps(messages)) < size - ADDED * TURNS // 2:
            messages.append(_message("user", str(number), min(600, size // 4), random))
        for turn in turns:
            turn.append(json.dumps({"model": "m", "stream": True, "messages": messages}).encode())
            if size >= 10 * ADDED:
                messages += [_message(who, "", ADDED // 2, random) for who in ("assistant", "user")]
    for turn in turns:
        random.shuffle(turn)
    return [body for turn in turns for body in turn]


def _message(role: str, first: str, size: int, random: Random = Random(1)) -> dict[str, str]:  # noqa: B008
    words = (first, *random.choices(_WORDS, k=max(1, size // 5)))
    return {"role": role, "content": " ".join(words)}


@attrs.define(eq=False)
class _Request:
    """A client's request, whose client takes all at no cost."""

    body: MemoryBody
    uri: bytes = b"/v1/chat/completions"
    its_id: bytes = b"a-request"
    headers: RequestHeaders = _HEADERS
    method: bytes = b"POST"
    secure: bool = False
    client_host: bytes = b"10.0.0.1"
    takes_frames: bool = True

    def let_go(self) -> None: ...
    def finish(self) -> None: ...
    def begin(self, head: Any, agent: bytes, framed: bool, flow: Any) -> None: ...
    def write(self, data: bytes) -> None: ...


@attrs.define(eq=False)
class _Hop:
    """Keeps who waits for answers."""

    running: deque[Any] = attrs.field(factory=deque)

    def send(self, *request: Any) -> _Hop:
        """See `IUpstreamHop`; whom to tell comes last."""
        self.running.append(request[-1])
        return self


@attrs.define(eq=False)
class Balancer:
    """All of a balancer but its sockets, in front of servers a quarter of whose slots are taken."""

    clock: Clock
    hop: _Hop
    exchanges: Exchanges
    bodies: list[bytes]
    #: Seconds from one request to the next.
    step: float
    place: int = 0

    @classmethod
    def of(cls, policy: IdleSlots | Prefix, servers: int, bodies: list[bytes]) -> Balancer:
        """One that has served each chat's first turn."""
        clock, hop, prompts = Clock(), _Hop(), isinstance(policy, Prefix)
        scheduler = Scheduler(policy, Random(1), 1000, 3)
        admission = Admission(clock, scheduler, 60.0)
        made = cls(
            clock,
            hop,
            Exchanges(clock, admission, hop, Ways(prompts=prompts)),
            bodies,
            EVERY / servers,
        )
        for number in range(servers):
            address = Address("10.0.0.1", 8000 + number)
            report = Report(f"gpu-{number}", address, 3600.0, SLOTS, models=("m",))
            admission.report(str(number), report)
        for _ in range(servers * SLOTS // 4):
            made.begin()
        made.run(len(bodies) // TURNS)
        return made

    def begin(self) -> None:
        """A request comes."""
        body = MemoryBody(self.bodies[self.place])
        self.place = (self.place + 1) % len(self.bodies)
        self.exchanges.new(_Request(body)).begin()

    def run(self, count: int) -> None:
        """So many requests end, and others come."""
        running, clock = self.hop.running, self.clock
        for _ in range(count):
            clock.rightNow += self.step
            attempt = running.popleft()
            attempt.head_received(_HEAD)
            for _ in range(EVENTS):
                attempt.data_received(_EVENT)
            attempt.data_received(_END)
            attempt.answer_ended(None)
            self.begin()

    def relay(self, count: int) -> None:
        """One answer has so many events."""
        attempt = self.hop.running[0]
        for _ in range(count):
            attempt.data_received(_EVENT)


def timed(what: Any, count: int) -> float:
    """Microseconds of CPU for one of so many."""
    gc.collect()
    began = time.process_time()
    what(count)
    return (time.process_time() - began) / count * 1e6


def added(size: int, servers: int, rounds: int) -> tuple[float, float]:
    """What a request costs with each policy."""
    bodies = chats(size, Random(1))
    both = [Balancer.of(policy, servers, bodies) for policy in (IdleSlots(), Prefix())]
    count = 300 if size < 50_000 else 100
    found: list[list[float]] = [[], []]
    for _ in range(rounds):
        for balancer, took in zip(both, found, strict=True):
            took.append(timed(balancer.run, count))
    return median(found[0]), median(found[1])


def relayed(rounds: int) -> tuple[float, float]:
    """What an event costs with each policy."""
    bodies = chats(4_000, Random(1))
    both = [Balancer.of(policy, 8, bodies) for policy in (IdleSlots(), Prefix())]
    for balancer in both:
        balancer.hop.running[0].head_received(_HEAD)
        balancer.relay(100)
    found: list[list[float]] = [[], []]
    for _ in range(rounds):
        for balancer, took in zip(both, found, strict=True):
            took.append(timed(balancer.relay, 5_000))
    return median(found[0]), median(found[1])


def profiled(size: int) -> None:
    """Print where the time of a request goes."""
    balancer = Balancer.of(Prefix(), 8, chats(size, Random(1)))
    profile = cProfile.Profile()
    profile.runcall(balancer.run, 3000)
    pstats.Stats(profile).sort_stats("tottime").print_stats(35)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What it costs to know prompts.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--profile", type=int, metavar="BYTES", help="only this, for such a chat")
    given = parser.parse_args()
    if given.profile:
        return profiled(given.profile)
    rows, good = [], True
    for size, limit in SIZES.items():
        for servers in SERVERS:
            idle, prefix = added(size, servers, given.rounds)
            rows.append({"bytes": size, "servers": servers, "idle": idle, "prefix": prefix})
            good = good and (limit is None or prefix - idle <= limit)
    idle, prefix = relayed(given.rounds)
    if given.json:
        print(json.dumps({"requests": rows, "event": {"idle": idle, "prefix": prefix}}))
    else:
        print("microseconds for one request  idle-slots    prefix     added")
        for row in rows:
            name = f"{row['bytes']:,} bytes, {row['servers']} servers"
            more = row["prefix"] - row["idle"]
            print(f"{name:28}{row['idle']:12.1f}{row['prefix']:10.1f}{more:10.1f}")
        print(f"{'an event of an answer':28}{idle:12.2f}{prefix:10.2f}{prefix - idle:10.2f}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
