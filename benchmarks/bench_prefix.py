"""What it is worth to send a chat where it was: real llama-servers, and chats of several turns.

The same chats go through Paddler with `--balancing=prefix`, through HAProxy (leastconn, as many
requests a server as it has slots), and pinned by hand: each chat to one server, in turns, with
no balancer between. With several rounds they take turns, so that what else the machine does
meets all of them; the servers start anew each time. Printed are the tokens of prompts that
were evaluated, and the time to the first token. Exit code 1 when Paddler has more than 1.1 times
the tokens of pinned chats, or a longer mean time than they, or more than half of HAProxy's; and
when HAProxy's is not over a second, for then there was too little to do to tell.

How many turns come is told by how fast the servers are: as many as keep them busy behind
HAProxy, which has much to evaluate anew, and not where chats stay. The servers keep what they
have in eight bits, for with sixteen this CPU makes tokens so slowly beside evaluating them
that an answer takes as long as a whole prompt; on GPUs it does not. `--cache f16` has it so.

    python benchmarks/bench_prefix.py [--load 2.5] [--rounds 1] [--rate 1.5] [--json]

Needs llama-server (`pip install paddler[demo]`) and, for its part, haproxy. Some five minutes
where the cores are free for it; all of it stays on the loopback.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import attrs

from paddler.children import tied_to_parent
from paddler.facts import facts_in
from paddler.llamaserver import NO_LLAMA_SERVER, find_llama_server, free_port, free_ports
from paddler.tinymodel import Shape, write_tiny_model

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
SERVERS, SLOTS = 3, 2
TURNS = 5
SYSTEMS = (200, 400, 800)
#: Tokens of an answer, from and to.
ANSWERS = (20, 60)
WORDS = "the of and to in is it you that he was for on are with as his they be at one".split()
#: Chats at least, for each has one request at a time: of fewer none would have to wait for slots.
FEWEST = 18
#: Seconds: for all of a round's turns to begin.
LASTS = 30.0
#: Seconds: for all of it to come up, for one answer, and the mean of a pause between two turns.
STARTING, ANSWERING, THINKING = 30.0, 120.0, 3.0
#: What Paddler may have at most: of the tokens and the time of pinned chats, and of HAProxy's
#: time; and the seconds that this must have.
TOKENS, PINNED, HAPROXY, ENOUGH = 1.1, 1.0, 0.5, 1.0

_HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout queue 300s
frontend chats
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    balance leastconn
    option http-server-close
"""


@attrs.frozen
class Turn:
    """What is said, how many tokens are answered, and the pause before it."""

    text: str
    answer: int
    pause: float


@attrs.frozen
class Chat:
    """One chat."""

    starts: float
    system: str
    turns: tuple[Turn, ...]


@attrs.define(eq=False)
class Tally:
    """What became of the requests of one way."""

    waits: list[float] = attrs.field(factory=list)
    evaluated: int = 0
    prompts: int = 0
    wrong: list[str] = attrs.field(factory=list)

    @property
    def mean(self) -> float:
        """Seconds to the first token."""
        return sum(self.waits) / max(1, len(self.waits))

    def __str__(self) -> str:
        waits, share = sorted(self.waits), self.evaluated / max(1, self.prompts)
        return (
            f"{self.evaluated:7} of {self.prompts} tokens evaluated ({share:.0%}); first token "
            f"after {self.mean:.2f} s on the mean, {waits[len(waits) // 2]:.2f} s in half of "
            f"{len(waits)}, {waits[int(len(waits) * 0.95)]:.2f} s in 95 of 100"
        )


def chats_of(count: int, rate: float, seed: int) -> list[Chat]:
    """Chats; so many begin in a second that their turns come at the rate."""
    random, starts, chats = Random(seed), 0.0, []
    for _ in range(count):
        starts += random.expovariate(rate / TURNS)
        turns = tuple(
            Turn(_words(random, random.randint(10, 30)), random.randint(*ANSWERS), pause)
            for pause in (random.expovariate(1 / THINKING) for _ in range(TURNS))
        )
        chats.append(Chat(starts, _words(random, random.choice(SYSTEMS)), turns))
    return chats


def _words(random: Random, count: int) -> str:
    return " ".join(random.choices(WORDS, k=count))


def talk(chat: Chat, port: int, began: float, tally: Tally) -> None:
    """Have one chat."""
    messages = [{"role": "system", "content": chat.system}]
    time.sleep(max(0.0, began + chat.starts - time.monotonic()))
    for number, turn in enumerate(chat.turns):
        if number:
            time.sleep(turn.pause)
        messages.append({"role": "user", "content": turn.text})
        asked = {"messages": messages, "max_tokens": turn.answer, "stream": True, "seed": number}
        answer = ask(port, asked, tally)
        if answer is None:
            return
        messages.append({"role": "assistant", "content": answer})


def ask(port: int, asked: dict[str, Any], tally: Tally) -> str | None:
    """One turn: the text of its answer; None: there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWERING)
    said, tail, first = [], b"", 0.0
    at = time.monotonic()
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
        response = connection.getresponse()
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            first = first or time.monotonic()
            tail = tail[-4096:] + line
            for choice in json.loads(line[6:])["choices"]:
                said.append(choice["delta"].get("content") or "")
    except (OSError, http.client.HTTPException) as error:
        tally.wrong.append(str(error))
        return None
    finally:
        connection.close()
    facts = facts_in(tail)
    if response.status != 200 or facts is None or facts.evaluated is None:
        tally.wrong.append(f"status {response.status}, {len(said)} tokens")
        return None
    tally.waits.append(first - at)
    tally.evaluated += facts.evaluated
    tally.prompts += facts.evaluated + facts.cached
    return "".join(said)


@contextmanager
def running(*command: str, env: dict[str, str] | None = None) -> Iterator[None]:
    """A program that runs meanwhile."""
    process = subprocess.Popen(
        [*tied_to_parent(), *command],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, path: str, what: str) -> None:
    """Wait until something is there and says what it should."""
    give_up = time.monotonic() + STARTING
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", path)
            if what in connection.getresponse().read().decode():
                return
        except OSError:
            pass
        finally:
            connection.close()
        if time.monotonic() > give_up:
            sys.exit(f"bench_prefix: nothing good at port {port} within {STARTING:g} s")
        time.sleep(0.05)


def start_servers(stack: ExitStack, model: Path, cache: str) -> list[int]:
    """New llama-servers, and their ports.

    :param cache: the type of what they keep.
    """
    llama = find_llama_server()
    if llama is None:
        sys.exit(f"bench_prefix: {NO_LLAMA_SERVER}")
    ports = free_ports(SERVERS)
    for port in ports:
        words = ("-np", str(SLOTS), "-c", str(8192 * SLOTS), "-t", "1", "-fa", "on")
        command = llama.command(model, port, *words, "-ctk", cache, "-ctv", cache)
        stack.enter_context(running(*command, env=dict(llama.environment)))
    for port in ports:
        wait_for(port, "/health", "ok")
    return ports


def start_paddler(stack: ExitStack, servers: list[int], balancing: str) -> int:
    """A balancer and its agents; where clients come."""
    management, public = free_ports(2)
    env = {name: value for name, value in os.environ.items() if name[:8] != "PADDLER_"}
    paddler = (sys.executable, "-m", "paddler")
    ports = ("--management-port", str(management), "--reverseproxy-port", str(public))
    more = ("--balancing", balancing, "--request-buffer-timeout", "120s")
    stack.enter_context(running(*paddler, "balancer", *ports, *more, env=env))
    for server in servers:
        words = ("--local-llamacpp-port", str(server), "--management-port", str(management))
        stack.enter_context(running(*paddler, "agent", *words, env=env))
    wait_for(public, "/health", f'"slots_idle":{SERVERS * SLOTS}')
    return public


def start_haproxy(stack: ExitStack, servers: list[int], folder: Path) -> int:
    """HAProxy; where clients come."""
    port, config = free_port(), folder / "haproxy.cfg"
    lines = [f"    server s{server} 127.0.0.1:{server} maxconn {SLOTS}" for server in servers]
    config.write_text(_HAPROXY.format(port=port) + "\n".join(lines) + "\n")
    stack.enter_context(running("haproxy", "-f", str(config)))
    wait_for(port, "/health", "ok")
    return port


def turns_a_second(model: Path, cache: str) -> float:
    """Turns that the servers answer in a second while each is the first of its chat."""
    tally, chats = Tally(), chats_of(SERVERS * SLOTS * 2, 1.0, 0)
    with ExitStack() as stack:
        ports = start_servers(stack, model, cache)
        began = time.monotonic()
        first = (attrs.evolve(chat, starts=0.0, turns=chat.turns[:1]) for chat in chats)
        together(first, ports, began, tally)
        return len(chats) / (time.monotonic() - began)


def together(chats: Iterable[Chat], ports: list[int], began: float, tally: Tally) -> None:
    """Have all chats."""
    talking = [
        threading.Thread(target=talk, args=(chat, ports[n % len(ports)], began, tally))
        for n, chat in enumerate(chats)
    ]
    for thread in talking:
        thread.start()
    for thread in talking:
        thread.join()


def measure(way: str, chats: list[Chat], model: Path, cache: str, tally: Tally) -> None:
    """All chats, by one way."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = servers = start_servers(stack, model, cache)
        if way == "haproxy":
            ports = [start_haproxy(stack, servers, folder)]
        elif way != "pinned":
            ports = [start_paddler(stack, servers, way)]
        together(chats, ports, time.monotonic(), tally)


def main() -> None:
    """Measure each way and compare."""
    parser = argparse.ArgumentParser(description="What it is worth to send a chat where it was.")
    parser.add_argument("--load", type=float, default=2.5, help="of what they could do at worst")
    parser.add_argument("--rate", type=float, help="turns that begin in a second")
    parser.add_argument("--chats", type=int, help="of each round")
    parser.add_argument("--cache", default="q8_0", help="of llama-servers: q8_0, f16")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", default="haproxy,pinned,prefix")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    ways = [way for way in given.ways.split(",") if way != "haproxy" or shutil.which("haproxy")]
    tallies = {way: Tally() for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny.gguf"
        write_tiny_model(model, shape=Shape(layers=8, width=256, heads=8, inner=512))
        rate = given.rate or given.load * turns_a_second(model, given.cache)
        count = given.chats or max(FEWEST, round(LASTS * rate / TURNS))
        if not given.json:
            print(f"{count} chats, {rate:.2f} turns a second", flush=True)
        for number in range(given.rounds):
            chats = chats_of(count, rate, number + 1)
            # Each comes first in turn.
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                measure(way, chats, model, given.cache, tallies[way])
                if wrong := tallies[way].wrong:
                    sys.exit(f"bench_prefix: {way}: {len(wrong)} went wrong: {wrong[0]}")
    if given.json:
        print(json.dumps({w: {**attrs.asdict(t), "mean": t.mean} for w, t in tallies.items()}))
    else:
        for way, tally in tallies.items():
            print(f"{way:8} {tally}")
    missed = list(_missed(tallies))
    for each in missed:
        print(f"bench_prefix: {each}", file=sys.stderr)
    sys.exit(bool(missed))


def _missed(tallies: dict[str, Tally]) -> Iterator[str]:
    """What is not as it should be, in words."""
    ours, pinned, haproxy = (tallies.get(way) for way in ("prefix", "pinned", "haproxy"))
    if ours is None:
        return
    if pinned is not None:
        if ours.evaluated > TOKENS * pinned.evaluated:
            yield f"{ours.evaluated / pinned.evaluated:.2f} times the tokens of pinned chats"
        if ours.mean > PINNED * pinned.mean:
            yield f"{ours.mean / pinned.mean:.2f} times the time of pinned chats"
    if haproxy is not None:
        if haproxy.mean <= ENOUGH:
            yield f"HAProxy's {haproxy.mean:.2f} s are too few to tell: give a higher --rate"
        if ours.mean > HAPROXY * haproxy.mean:
            yield f"{ours.mean / haproxy.mean:.2f} times the time of HAProxy"


if __name__ == "__main__":
    main()
