"""What a small request costs: a real balancer in a process of its own, and a server that answers
at once.

Clients ask again as soon as they are answered, each over one connection. Prints requests per
second and what each cost the balancer. Needs /proc, so Linux; all of it stays on the loopback.
The clients and the server are one process on another core; where that is the slower of the two,
the balancer could do more than is shown, so its CPU time for each is the figure to compare.

    python benchmarks/bench_requests.py [--clients 16] [--seconds 5] [--profile]
"""

from __future__ import annotations

import argparse
import os
import pstats
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure

from paddler.llamaserver import free_port
from paddler.values import Address, Report

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
#: Seconds for the balancer to come up.
STARTING = 20.0
WARMING_UP = 1.0
#: How many functions a profile shows.
SHOWN = 15

_BODY = b'{"prompt":"The capital of France is","n_predict":8,"temperature":0}'
_REQUEST = (
    b"POST /completion HTTP/1.1\r\nHost: llm.example\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY
_CONTENT = b'{"content":"Paris, and it has been so for a long time.","stop":true}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n" % len(_CONTENT)
) + _CONTENT


class FastServer(Protocol):
    """Answers as soon as a request is whole."""

    transport: Any
    _read = b""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self._read += data
        if self._read.endswith(_BODY):
            self._read = b""
            self.transport.write(_ANSWER)


@attrs.define(eq=False)
class Tally:
    """What has been answered since the last reset."""

    answered: int = 0
    wrong: int = 0
    lost: int = 0


class Client(Protocol):
    """Asks, and asks again when it is answered."""

    transport: Any
    _read = b""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._stopped = False

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.write(_REQUEST)

    def dataReceived(self, data: bytes) -> None:
        self._read += data
        if not self._read.endswith(b"}"):
            return
        self._tally.answered += 1
        self._tally.wrong += not self._read.startswith(b"HTTP/1.1 200 ")
        self._read = b""
        if not self._stopped:
            self.transport.write(_REQUEST)

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._tally.lost += not self._stopped


def cpu_seconds(pid: int) -> float:
    """The time that a process has spent on a core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(management: int, port: int, slots: int) -> None:
    """Tell the balancer of the server, as an agent would, once it is there."""
    told = Report("fast", Address("127.0.0.1", port), 3600.0, slots).to_json()
    url = f"http://127.0.0.1:{management}/api/v1/agent_status_update/fast"
    give_up = time.monotonic() + STARTING
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, told), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
        time.sleep(0.1)


async def _measure(
    reactor: Any, management: int, public: int, pid: int, clients: int, seconds: float
) -> int:
    serving = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1", backlog=1024)
    listening: Any = await serving.listen(Factory.forProtocol(FastServer))
    report(management, listening.getHost().port, clients)
    tally = Tally()
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", public)
    asking = [await connectProtocol(endpoint, Client(tally)) for _ in range(clients)]
    await deferLater(reactor, WARMING_UP, lambda: None)
    tally.answered = 0
    began, before, own = reactor.seconds(), cpu_seconds(pid), time.process_time()
    await deferLater(reactor, seconds, lambda: None)
    spent, lasted = cpu_seconds(pid) - before, reactor.seconds() - began
    own = time.process_time() - own
    answered = tally.answered
    for client in asking:
        client.stop()
    if not answered or tally.wrong or tally.lost:
        print(f"{answered} answers, {tally.wrong} of them bad; {tally.lost} connections lost")
        return 1
    print(
        f"{clients} clients: {answered / lasted:.0f} requests/s, "
        f"{spent / answered * 1e6:.0f} us of the balancer's CPU each "
        f"({spent / lasted:.0%} of a core, the clients and the server {own / lasted:.0%})"
    )
    return 0


def main() -> None:
    """Start a balancer, measure, stop it."""
    parser = argparse.ArgumentParser(description="What a small request costs the balancer.")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--profile", action="store_true", help="show what takes the time")
    given = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        sys.exit("bench_requests: needs /proc, which this system does not have")
    management, public = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        python = [sys.executable]
        if given.profile:
            python += ["-m", "cProfile", "-o", str(profile)]
        ports = ["--management-port", str(management), "--reverseproxy-port", str(public)]
        balancer = subprocess.Popen(
            [*python, "-m", "paddler", "balancer", *ports],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name[:8] != "PADDLER_"},
        )
        codes: list[int] = []

        def run(reactor: Any) -> Deferred[None]:
            measuring = _measure(
                reactor, management, public, balancer.pid, given.clients, given.seconds
            )
            return Deferred.fromCoroutine(measuring).addCallback(codes.append)

        try:
            react(run)
        except SystemExit as end:
            code = end.code or codes[0]
        finally:
            balancer.send_signal(signal.SIGTERM)
            try:
                balancer.wait(20)
            except subprocess.TimeoutExpired:
                balancer.kill()
                balancer.wait()
        if given.profile:
            pstats.Stats(str(profile)).strip_dirs().sort_stats("tottime").print_stats(SHOWN)
    sys.exit(code)


if __name__ == "__main__":
    main()
