"""`paddler demo`: all of Paddler on this machine, in front of real llama-servers.

It starts the same commands as a user would, has one chat answered through them, and stays
until Ctrl-C. All that it started ends with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from paddler.asking import Asking, ChatFailed
from paddler.children import Child, Family
from paddler.coercions import boolean, text, whole
from paddler.foreground import on_signals
from paddler.llamaserver import NO_LLAMA_SERVER, LlamaServer, find_llama_server, free_ports
from paddler.options import Option, PaddlerOptions
from paddler.tinymodel import MODEL_TOOLS_MISSING, write_tiny_model

__all__ = ["DemoSettings", "Options", "run_demo"]

log = Logger()

_PROMPT = "Tell me a story of the house by the sea."
_TOKENS = 48
_CONTEXT = 4096
#: Seconds in which Paddler's own processes must be ready; a model may load as long as it likes.
_READY_WITHIN = 30.0


@attrs.frozen
class DemoSettings:
    """What the demo shows.

    :param program: the llama-server to run.
    :param servers: how many of it.
    :param slots: how many slots each has.
    :param model: a model file; None makes a tiny one.
    :param once: stop after the chat.
    """

    program: LlamaServer
    servers: int = 2
    slots: int = 2
    model: Path | None = None
    once: bool = False


def _file(raw: str) -> Path:
    path = Path(text(raw)).expanduser().absolute()
    if not path.is_file():
        raise ValueError("a file that is there")
    return path


def _program(raw: str) -> Path:
    path = _file(raw)
    if not os.access(path, os.X_OK):
        raise ValueError("a program that can be run")
    return path


class Options(PaddlerOptions):
    """The options of `paddler demo`."""

    synopsis = "Usage: paddler demo [options]"
    table = (
        Option("servers", whole(1, 64), 2, "How many llama-servers to start."),
        Option("slots", whole(1, 256), 2, "Slots of each."),
        Option("model", _file, None, "A GGUF model.", shown="a tiny one that talks nonsense"),
        Option(
            "llama-server",
            _program,
            None,
            "The llama-server program.",
            shown="the one paddler[demo] brings, else the one on PATH",
        ),
        Option("once", boolean, False, "Stop after the chat; exit code 0 if it succeeded."),
    )

    def settings(self) -> DemoSettings:
        """What was asked for; ends the process when there is no llama-server."""
        program = find_llama_server(self["llama-server"])
        if program is None:
            sys.exit(NO_LLAMA_SERVER)
        return DemoSettings(
            program=program,
            servers=self["servers"],
            slots=self["slots"],
            model=self["model"],
            once=self["once"],
        )


def _own_environment() -> dict[str, str]:
    """This process' environment without what would set options of Paddler's commands."""
    return {name: value for name, value in os.environ.items() if name[:8] != "PADDLER_"}


class Demo:
    """One run of the demo.

    :param settings: what to show.
    :param reactor: where it happens.
    :param out: where it is told.
    """

    def __init__(self, settings: DemoSettings, reactor: Any, out: TextIO) -> None:
        self._settings = settings
        self._reactor = reactor
        self._out = out
        self._family = Family(reactor, self._child_died)
        self._asking = Asking(reactor)
        self._running: Deferred[None] | None = None
        self._problem = ""
        self._answered = False

    async def run(self) -> int:
        """Show everything; returns the exit code once all that was started has ended."""
        folder = Path(tempfile.mkdtemp(prefix="paddler-demo-"))
        try:
            self._running = Deferred.fromCoroutine(self._show(folder))
            await self._running
        except CancelledError:
            pass
        except (ChatFailed, ModuleNotFoundError) as error:
            missing = isinstance(error, ModuleNotFoundError)
            self._problem = self._problem or (MODEL_TOOLS_MISSING if missing else str(error))
        finally:
            await self._family.stop()
            shutil.rmtree(folder, ignore_errors=True)
        if self._problem:
            print(f"paddler demo: {self._problem}", file=sys.stderr)
        return 0 if self._answered and not self._problem else 1

    def stop(self) -> None:
        """End it, wherever it is."""
        if self._running is not None and not self._running.called:
            self._say("\nStopping.")
            self._running.cancel()

    def kill(self) -> None:
        """End the processes it started without another word."""
        self._family.kill()

    def _child_died(self, child: Child) -> None:
        last = "".join(f"\n    {line}" for line in child.lines)
        self._problem = f"{child.name} ended ({child.exit}); its last lines:{last}"
        if "libgomp" in last:
            self._problem += "\nllama-server needs the OpenMP library: apt install libgomp1"
        if self._running is not None:
            self._running.cancel()

    def _say(self, line: str = "") -> None:
        print(line, file=self._out, flush=True)

    async def _show(self, folder: Path) -> None:
        settings = self._settings
        total = settings.servers * settings.slots
        management, proxy, *ports = free_ports(settings.servers + 2, (8085, 8086))
        self._start_balancer(management, proxy)
        self._start_servers(self._model_in(folder), ports)
        for port in ports:
            await self._until(port, lambda answer: True)
        for number, port in enumerate(ports, 1):
            self._start_agent(number, port, management)
        await self._within(
            self._until(proxy, lambda answer: answer.get("slots_total") == total),
            f"the balancer did not learn of all {total} slots",
        )
        self._say(f"{settings.servers} llama-servers with {settings.slots} slots each are ready.")
        await self._chat(proxy)
        if not settings.once:
            self._tell_addresses(proxy, management, ports)
            await Deferred()

    def _model_in(self, folder: Path) -> Path:
        if self._settings.model is not None:
            self._say(f"Loading {self._settings.model.name} ...")
            return self._settings.model
        path = folder / "tiny.gguf"
        write_tiny_model(path)
        return path

    def _start_servers(self, model: Path, ports: Sequence[int]) -> None:
        program, slots = self._settings.program, self._settings.slots
        sizes = ["-np", str(slots), "-c", str(slots * _CONTEXT)]
        if self._settings.model is None:
            sizes += ["-t", "1"]  # more would only disturb each other on a model so small
        for number, port in enumerate(ports, 1):
            words = program.command(model, port, *sizes)
            self._family.start(f"llama-server {number}", words, program.environment)

    def _start_balancer(self, management: int, proxy: int) -> None:
        options = {"management-port": management, "reverseproxy-port": proxy}
        self._start_paddler("balancer", "the balancer", options)

    def _start_agent(self, number: int, port: int, management: int) -> None:
        options = {
            "local-llamacpp-port": port,
            "external-llamacpp-port": port,
            "management-port": management,
            "name": f"llama-{number}",
        }
        self._start_paddler("agent", f"agent {number}", options)

    def _start_paddler(self, command: str, name: str, options: Mapping[str, object]) -> None:
        words = [sys.executable, "-m", "paddler", command]
        for option, value in options.items():
            words += [f"--{option}", str(value)]
        self._family.start(name, words, _own_environment())

    async def _until(self, port: int, fits: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the server on `port` is healthy and its answer fits."""
        while True:
            answer = await self._asking.health(port)
            if answer is not None and fits(answer):
                return
            await deferLater(self._reactor, 0.05)

    async def _within(self, waiting: Coroutine[Deferred[Any], Any, None], otherwise: str) -> None:
        """Wait for something that takes no longer than Paddler's own processes may.

        :raises ChatFailed: with `otherwise` when it does.
        """

        def too_late(result: object, seconds: float) -> Failure:
            return Failure(ChatFailed(f"{otherwise} within {seconds:g} s"))

        task = Deferred.fromCoroutine(waiting)
        await task.addTimeout(_READY_WITHIN, self._reactor, onTimeoutCancel=too_late)

    async def _chat(self, proxy: int) -> None:
        self._say(f"\nOne chat through the balancer:\n\n  you:   {_PROMPT}")
        print("  model:", end="", file=self._out, flush=True)

        def token(piece: str) -> None:
            print(piece, end="", file=self._out, flush=True)

        try:
            agent = await self._asking.chat(proxy, _PROMPT, _TOKENS, token)
        finally:
            self._say()
        self._answered = True
        nonsense = "" if self._settings.model else " (a model of random weights: it means nothing)"
        self._say(f"\nAnswered by agent {agent}{nonsense}.")

    def _tell_addresses(self, proxy: int, management: int, ports: Sequence[int]) -> None:
        public, internal = f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{management}"
        body = '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":20}'
        self._say(
            f"\nllama-server's page, through the balancer   {public}/"
            f"\nfree slots                                  {public}/health"
            f"\nwhat the balancer knows of the agents       {internal}/api/v1/agents"
        )
        for number, port in enumerate(ports, 1):
            self._say(f"agent llama-{number}'s llama-server              http://127.0.0.1:{port}/")
        self._say(
            f"\nAnother chat:\n  curl -i {public}/v1/chat/completions -d '{body}'"
            "\n\nCtrl-C stops all of it."
        )


def run_demo(settings: DemoSettings, reactor: Any) -> int:
    """Run the demo on a reactor that does not run yet.

    :returns: the exit code: 0 if the chat succeeded and nothing died.
    """
    demo = Demo(settings, reactor, sys.stdout)
    codes = [1]

    ended: Deferred[None] = Deferred()

    def stop() -> None:
        try:
            reactor.stop()
        except ReactorNotRunning:
            pass  # it is stopping already

    def finish(result: object) -> None:
        ended.callback(None)
        stop()

    def begin() -> None:
        running = Deferred.fromCoroutine(demo.run())
        running.addCallback(codes.append)
        running.addErrback(lambda failure: log.failure("the demo failed", failure))
        running.addBoth(finish)

    def end() -> Deferred[None]:
        demo.stop()
        return ended

    reactor.callWhenRunning(begin)
    # Whatever stops the reactor, it waits for the processes that the demo started.
    reactor.addSystemEventTrigger("before", "shutdown", end)
    on_signals(reactor, stop, demo.kill, before_running=True)
    reactor.run()
    return codes[-1]
