"""`paddler demo`: all of Paddler on this machine, in front of real llama-servers.

It sets a stage, has one chat answered on it, and stays until Ctrl-C. All that it started
ends with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from paddler.asking import Asking, ChatFailed
from paddler.coercions import boolean, shaped, text, whole
from paddler.foreground import on_signals
from paddler.llamaserver import NO_LLAMA_SERVER, LlamaServer, find_llama_server
from paddler.options import Option, PaddlerOptions
from paddler.stage import Scene, Stage
from paddler.tinymodel import MODEL_TOOLS_MISSING, write_tiny_model
from paddler.usage_text import Section

__all__ = ["DemoSettings", "Options", "run_demo"]

log = Logger()

_PROMPT = "Tell me a story of the house by the sea."
_TOKENS = 48


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


@shaped("FILE")
def _file(raw: str) -> Path:
    path = Path(text(raw)).expanduser().absolute()
    if not path.is_file():
        raise ValueError("a file that is there")
    return path


@shaped("FILE")
def _program(raw: str) -> Path:
    path = _file(raw)
    if not os.access(path, os.X_OK):
        raise ValueError("a program that can be run")
    return path


class Options(PaddlerOptions):
    """The options of `paddler demo`."""

    command = "paddler demo"
    purpose = (
        "Start real llama-servers, an agent for each and a balancer, all on this machine; have one "
        "chat answered through them, and stay until Ctrl-C."
    )
    table = (
        Option("servers", whole(1, 64), 2, "How many llama-servers.", heading="What to start"),
        Option("slots", whole(1, 256), 2, "Slots of each."),
        Option("model", _file, None, "A GGUF model.", shown="a tiny one that talks nonsense"),
        Option(
            "llama-server",
            _program,
            None,
            "The llama-server program.",
            shown="the one of paddler[demo], else the one on PATH",
        ),
        Option("once", boolean, False, "Stop after the chat.", heading="When to stop"),
    )
    sections = (
        Section(
            "Exit status", (("0", "the chat was answered"), ("1", "it was not; a line says why"))
        ),
        Section("Example", (("", "paddler demo --servers 3 --slots 4 --model model.gguf"),)),
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


class Demo:
    """One run of the demo.

    :param settings: what to show.
    :param reactor: where it happens.
    :param out: where it is told.
    """

    def __init__(self, settings: DemoSettings, reactor: Any, out: TextIO) -> None:
        self._settings = settings
        self._out = out
        self._asking = Asking(reactor)
        self._stage = Stage(reactor, self._asking, self._fail)
        self._running: Deferred[None] | None = None
        self._problem = ""
        self._answered = False
        self._ending = False

    async def run(self) -> int:
        """Show everything; returns the exit code once all that was started has ended."""
        folder = Path(tempfile.mkdtemp(prefix="paddler-demo-"))
        try:
            self._running = Deferred.fromCoroutine(self._show(folder))
            await self._running
        except Exception as error:
            # Whoever ends it cancels what it is at, and that fails in many ways: none matters.
            if not self._ending:
                if not isinstance(error, ChatFailed):
                    raise
                log_lines = self._stage.balancers_log()
                told = f"; the balancer's last lines:{log_lines}" if log_lines else ""
                self._problem = f"{error}{told}"
        finally:
            await self._stage.stop()
            shutil.rmtree(folder, ignore_errors=True)
        if self._problem:
            print(f"paddler demo: {self._problem}", file=sys.stderr)
        return 0 if self._answered and not self._problem else 1

    def stop(self) -> None:
        """End it, wherever it is."""
        if self._running is not None and not self._running.called:
            self._say("\nStopping.")
            self._end()

    def kill(self) -> None:
        """End the processes it started without another word."""
        self._stage.kill()

    def _fail(self, problem: str) -> None:
        self._problem = problem
        self._end()

    def _end(self) -> None:
        self._ending = True
        if self._running is not None:
            self._running.cancel()

    def _say(self, line: str = "", end: str = "\n") -> None:
        print(line, end=end, file=self._out, flush=True)

    async def _show(self, folder: Path) -> None:
        settings = self._settings
        await self._stage.start(
            Scene(
                program=settings.program,
                model=settings.model or self._tiny_model(folder),
                servers=settings.servers,
                slots=settings.slots,
                # More would only be in each other's way on a model so small.
                threads=None if settings.model else 1,
            )
        )
        servers = f"{settings.servers} llama-server" + "s" * (settings.servers > 1)
        slots = f"{settings.slots} slot" + "s" * (settings.slots > 1)
        self._say(f"Ready: {servers} with {slots} each, an agent for each, and a balancer.")
        await self._chat()
        if not settings.once:
            self._tell_addresses()
            await Deferred()

    def _tiny_model(self, folder: Path) -> Path:
        path = folder / "tiny.gguf"
        try:
            write_tiny_model(path)
        except ModuleNotFoundError:
            raise ChatFailed(MODEL_TOOLS_MISSING) from None
        return path

    async def _chat(self) -> None:
        self._say(f"\nOne chat through the balancer:\n\n  you:   {_PROMPT}")
        self._say("  model:", end="")
        try:
            agent = await self._asking.chat(
                self._stage.reverseproxy, _PROMPT, _TOKENS, lambda piece: self._say(piece, end="")
            )
        finally:
            self._say()
        self._answered = True
        self._say(f"\nAnswered by agent {agent}.")
        if self._settings.model is None:
            self._say("(A model of random weights: the words mean nothing.)")

    def _tell_addresses(self) -> None:
        public = f"http://127.0.0.1:{self._stage.reverseproxy}"
        management = f"http://127.0.0.1:{self._stage.management}"
        rows = [
            ("chat in the browser, balanced", f"{public}/"),
            ("free slots", f"{public}/health"),
            ("what happens, as a page", f"{management}/dashboard"),
            ("what the agents report", f"{management}/api/v1/agents"),
        ]
        for number, port in enumerate(self._stage.llamas, 1):
            rows.append((f"the llama-server of llama-{number}", f"http://127.0.0.1:{port}/"))
        body = '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":20}'
        self._say()
        for what, address in rows:
            self._say(f"  {what:<31} {address}")
        self._say(f"\nAnother chat:\n\n  curl -i {public}/v1/chat/completions -d '{body}'")
        self._say("\nCtrl-C stops all of it.")


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
