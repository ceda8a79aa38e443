"""What reports cost: a real balancer in a process of its own, and many agents that report.

Prints the balancer's share of one core and how long reports took. Exit code 1 when the
share is half a core or more. Needs /proc, so Linux; all of it stays on the loopback.

    python benchmarks/bench_reports.py [--agents 500] [--seconds 10]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure

from paddler.llamaserver import free_port
from paddler.values import Address, Report, agent_id_for

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
#: Seconds for the balancer to come up, and for all agents to have joined.
STARTING = 20.0
JOINING = 2.0
#: The share of a core that the balancer must stay below at 500 agents.
LIMIT = 0.5


def cpu_seconds(pid: int) -> float:
    """The time that a process has spent on a core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@attrs.define(eq=False)
class Tally:
    """What has been answered since the last reset."""

    took: list[float] = attrs.field(factory=list)
    wrong: int = 0
    lost: int = 0


class FakeAgent(Protocol):
    """Reports once a second over one connection, and reads just enough of the answers."""

    transport: Any

    def __init__(self, clock: Any, number: int, tally: Tally) -> None:
        self._clock = clock
        self._number = number
        self._tally = tally
        self._received = b""
        self._sent_at: float | None = None
        self._stopped = False
        self._requests = [self._request(busy) for busy in range(5)]

    def _request(self, busy: int) -> bytes:
        number = self._number
        report = Report(
            agent_name=f"gpu-{number}",
            external=Address(f"10.1.{number // 250}.{number % 250 + 1}", 8088),
            interval_s=1.0,
            slots_total=4,
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

    def connectionMade(self) -> None:
        # As agents do that were started at different times.
        self._timer = self._clock.callLater(random.random(), self._report)

    def _report(self) -> None:
        self._timer = self._clock.callLater(1.0, self._report)
        # One that is late is not asked again on top of it.
        if self._sent_at is None:
            self._sent_at = self._clock.seconds()
            self.transport.write(random.choice(self._requests))

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or not body.endswith(b"}"):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self._tally.wrong += 1
        self._tally.took.append(self._clock.seconds() - (self._sent_at or 0.0))
        self._received, self._sent_at = b"", None

    def stop(self) -> None:
        """Report no more."""
        self._stopped = True
        self._timer.cancel()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._stopped:
            self._tally.lost += 1
            self._timer.cancel()


async def _connect(reactor: Any, port: int, agent: FakeAgent) -> None:
    """Connect; the balancer may still be starting."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    give_up = reactor.seconds() + STARTING
    while True:
        try:
            await connectProtocol(endpoint, agent)
            return
        except ConnectError:
            if reactor.seconds() > give_up:
                raise
        await deferLater(reactor, 0.1, lambda: None)


async def _measure(reactor: Any, port: int, pid: int, agents: int, seconds: float) -> int:
    tally = Tally()
    fakes = [FakeAgent(reactor, number, tally) for number in range(agents)]
    for fake in fakes:
        await _connect(reactor, port, fake)
    await deferLater(reactor, JOINING, lambda: None)
    tally.took.clear()
    began, before = reactor.seconds(), cpu_seconds(pid)
    await deferLater(reactor, seconds, lambda: None)
    spent, lasted = cpu_seconds(pid) - before, reactor.seconds() - began
    for fake in fakes:
        fake.stop()
    took = sorted(tally.took)
    if not took or tally.wrong or tally.lost:
        print(f"{len(took)} answers, {tally.wrong} of them bad; {tally.lost} connections lost")
        return 1
    share = spent / lasted
    print(
        f"{agents} agents: {len(took) / lasted:.0f} reports/s, {share:.1%} of one core, "
        f"{spent / len(took) * 1e6:.0f} us of CPU each; "
        f"answered in {took[len(took) // 2] * 1e3:.1f} ms (median), "
        f"{took[int(len(took) * 0.99)] * 1e3:.1f} ms (99 in 100)"
    )
    return int(share >= LIMIT)


def main() -> None:
    """Start a balancer, measure, stop it."""
    parser = argparse.ArgumentParser(description="What reports cost the balancer.")
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        sys.exit("bench_reports: needs /proc, which this system does not have")
    port = free_port()
    words = ["--management-port", str(port), "--reverseproxy-port", "0"]
    balancer = subprocess.Popen(
        [sys.executable, "-m", "paddler", "balancer", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name[:8] != "PADDLER_"},
    )
    codes: list[int] = []

    def run(reactor: Any) -> Deferred[None]:
        measuring = _measure(reactor, port, balancer.pid, given.agents, given.seconds)
        return Deferred.fromCoroutine(measuring).addCallback(codes.append)

    try:
        react(run)
    except SystemExit as end:
        sys.exit(end.code or codes[0])
    finally:
        balancer.terminate()
        try:
            balancer.wait(10)
        except subprocess.TimeoutExpired:
            balancer.kill()
            balancer.wait()


if __name__ == "__main__":
    main()
