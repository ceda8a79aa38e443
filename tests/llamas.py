"""Real llama-servers for tests on real sockets.

    class ChatTests(TestCase):
        async def test_chat(self) -> None:
            llama = RealLlama()
            self.addCleanup(llama.stop)
            await llama.start()                      # healthy from here on
            status, body = await fetch(llama.port, "/slots")
            self.assertEqual((await llama.metrics())["requests_deferred"], 0)

Without a llama-server on the machine `start` skips the test; `.ci/run` fails on that.
"""

from __future__ import annotations

import os
import signal
import unittest
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from paddler.children import tied_to_parent
from paddler.llamaserver import NO_LLAMA_SERVER, find_llama_server, free_port
from paddler.tinymodel import write_tiny_model
from tests.processes import ChildProcess, Watched

__all__ = ["RealLlama", "fetch", "free_port", "tiny_model", "until", "wait_until_healthy"]

reactor = cast(Any, _reactor)

#: Seconds a server may take until it is healthy; one that is alone on the machine needs 0.1.
STARTUP = 20.0


def tiny_model(**arguments: Any) -> Path:
    """A model for tests, made once for a run in trial's temporary folder.

    :param arguments: as `write_tiny_model` takes them, for one that is not the usual.
    """
    telling = "-".join(f"{name}={value}" for name, value in sorted(arguments.items()))
    path = Path(f"tiny{telling and '-'}{telling}.gguf").absolute()
    if not path.exists():
        write_tiny_model(path, **arguments)
    return path


class _Reading(Protocol):
    """Sends one request and gathers everything until the connection is gone."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = b""
        self.ended: Deferred[bytes] = Deferred(lambda _: self.transport.abortConnection())  # type: ignore[union-attr]

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.ended.called:
            self.ended.callback(self.received)


async def _fetch(
    port: int, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.0", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    request = "\r\n".join([*lines, "", ""]).encode() + (body or b"")
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=5)
    reading = await connectProtocol(endpoint, _Reading(request))
    head, _, rest = (await reading.ended).partition(b"\r\n\r\n")
    words = head.split(None, 2)
    return (int(words[1]) if len(words) > 1 else 0), rest


def fetch(
    port: int, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Deferred[tuple[int, bytes]]:
    """Ask a server on the loopback, in HTTP/1.0; the connection is gone when this fires.

    :param body: JSON to POST; None makes it a GET.
    :returns: the status (0: it closed without an answer) and the body, not decoded.
    """
    return Deferred.fromCoroutine(_fetch(port, path, body, headers or {}))


async def until(check: Any, *, within: float = 5.0, every: float = 0.02, what: str = "it") -> Any:
    """Call `check` (a function or a coroutine function) until it answers something true.

    :returns: that answer.
    :raises AssertionError: when it does not within `within` seconds.
    """
    deadline = reactor.seconds() + within
    while True:
        answer = check()
        if hasattr(answer, "__await__"):
            answer = await answer
        if answer:
            return answer
        if reactor.seconds() > deadline:
            raise AssertionError(f"{what} did not happen within {within:g} s")
        await deferLater(reactor, every)


async def wait_until_healthy(port: int, *, path: str = "/health", within: float = STARTUP) -> None:
    """Wait until a server answers 200.

    :raises AssertionError: when it does not in time.
    """

    async def healthy() -> bool:
        try:
            return (await fetch(port, path))[0] == 200
        except ConnectError:
            return False

    await until(healthy, within=within, what=f"200 on port {port}")


class RealLlama(ChildProcess):
    """One real llama-server on a tiny model, always on the same port.

    :ivar port: where it listens, known from the beginning.
    """

    def __init__(self, port: int | None = None) -> None:
        super().__init__()
        self.port = port or free_port()

    def start(
        self,
        *arguments: str,
        slots: int = 2,
        model: Path | None = None,
        router: Path | None = None,
        wait: bool = True,
    ) -> Deferred[None]:
        """Start it with `-np SLOTS -c 4096*SLOTS -t 1 --metrics` and what is given beside that.

        :param arguments: more of llama-server's own options; they win over the usual ones.
        :param model: another model file than the tiny one.
        :param router: a folder of models: it starts a llama-server for each that is asked for.
        :param wait: fire when it is healthy, else as soon as the process is there.
        :raises unittest.SkipTest: when this machine has no llama-server.
        """
        return Deferred.fromCoroutine(self._start(arguments, slots, model, router, wait))

    async def _start(
        self,
        arguments: tuple[str, ...],
        slots: int,
        model: Path | None,
        router: Path | None,
        wait: bool,
    ) -> None:
        assert self._watched is None, "it runs already"
        program = find_llama_server()
        if program is None:
            raise unittest.SkipTest(NO_LLAMA_SERVER)
        usual = ("-np", str(slots), "-c", str(4096 * slots), "-t", "1", "--metrics")
        command = program.command(model or tiny_model(), self.port, *usual, *arguments)
        if router is not None:
            place = command.index("-m")
            command[place : place + 2] = ["--models-dir", str(router)]
        words = tied_to_parent() + command
        self._watched = Watched()
        self._process = reactor.spawnProcess(
            self._watched, words[0], words, env=dict(program.environment)
        )
        if wait:
            try:
                await self._healthy()
            except AssertionError as error:
                said = b"".join(self._watched.output).decode(errors="replace")
                await self.stop()
                raise AssertionError(f"llama-server: {error}\n{said[-2000:]}") from None
            self._record()

    def _record(self) -> None:
        """Leave a trace for `.ci/run`, which wants to know that real servers were there."""
        record = os.environ.get("PADDLER_TEST_RECORD")
        if record:
            with open(record, "a", encoding="utf-8") as file:
                file.write(f"llama-server {self.pid} on port {self.port}\n")

    async def _healthy(self) -> None:
        watched = self._watched

        async def ready() -> bool:
            if watched is None or watched.ended.called:
                raise AssertionError("it ended before it was healthy")
            try:
                return (await fetch(self.port, "/health"))[0] == 200
            except ConnectError:
                return False

        await until(ready, within=STARTUP, what="a healthy start")

    async def _stop(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()
        self._watched = self._process = None

    def stop(self) -> Deferred[None]:
        """Kill it and wait until it is gone; may be called at any time, and again."""
        return Deferred.fromCoroutine(self._stop())

    async def _metrics(self) -> dict[str, float]:
        _, text = await fetch(self.port, "/metrics")
        pairs = (line.split() for line in text.decode().splitlines() if line[:1] not in ("#", ""))
        return {pair[0].removeprefix("llamacpp:"): float(pair[1]) for pair in pairs}

    def metrics(self) -> Deferred[dict[str, float]]:
        """Its own counts, by their names without `llamacpp:` (`requests_deferred`, ...)."""
        return Deferred.fromCoroutine(self._metrics())
