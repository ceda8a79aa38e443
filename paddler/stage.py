"""Paddler on one machine: llama-servers, an agent beside each, and a balancer, as processes.

The demo's stage. Every process is started by the command a user would give.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from paddler.asking import Asking, ChatFailed
from paddler.children import Child, Family
from paddler.llamaserver import LlamaServer, free_ports

__all__ = ["Scene", "Stage"]

_CONTEXT = 4096
#: Seconds in which Paddler's own processes must be ready; a model may load as long as it likes.
_READY_WITHIN = 30.0
_BALANCER = "the balancer"
_USUAL_PORTS = (8085, 8086)


@attrs.frozen
class Scene:
    """What is on the stage.

    :param program: the llama-server to run.
    :param model: the model file that each loads.
    :param servers: how many llama-servers.
    :param slots: how many slots each has.
    :param threads: how many threads each computes with; None leaves it to llama-server.
    """

    program: LlamaServer
    model: Path
    servers: int
    slots: int
    threads: int | None = None


class Stage:
    """The processes, from their start to their end.

    :param reactor: spawns them.
    :param asking: asks whether they are ready.
    :param failed: called with a text when one ends that was not told to.
    :ivar management: the port of the balancer's management server.
    :ivar reverseproxy: the port that clients talk to.
    :ivar llamas: the ports of the llama-servers.
    """

    def __init__(self, reactor: Any, asking: Asking, failed: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._asking = asking
        self._failed = failed
        self._family = Family(reactor, self._died)
        self._ending = False
        self.management, self.reverseproxy = 0, 0
        self.llamas: list[int] = []

    async def start(self, scene: Scene) -> None:
        """Start everything, and wait until the balancer knows of all slots.

        :raises ChatFailed: when Paddler's part is not ready in time.
        """
        self.management, self.reverseproxy, *self.llamas = free_ports(
            scene.servers + 2, _USUAL_PORTS
        )
        self._start_balancer()
        for number, port in enumerate(self.llamas, 1):
            self._start_llama(number, port, scene)
        for port in self.llamas:
            await self._until(port, lambda answer: True)
        for number, port in enumerate(self.llamas, 1):
            self._start_agent(number, port)
        total = scene.servers * scene.slots
        await self._within(
            self._until(self.reverseproxy, lambda answer: answer.get("slots_total") == total),
            f"the balancer did not learn of all {total} slots",
        )

    async def stop(self) -> None:
        """End all of it; nothing runs any more when this returns."""
        self._ending = True
        await self._family.stop()

    def balancers_log(self) -> str:
        """The last lines of the balancer's log."""
        return self._family.last_words(_BALANCER)

    def kill(self) -> None:
        """Kill all of it, right now and without waiting."""
        self._family.kill()

    def _died(self, child: Child) -> None:
        problem = f"{child.name} ended ({child.exit}); its last lines:{child.last_words}"
        if "libgomp" in child.last_words:
            problem += "\nllama-server needs the OpenMP library: apt install libgomp1"
        self._ending = True
        self._failed(problem)

    def _start_llama(self, number: int, port: int, scene: Scene) -> None:
        sizes = ["-np", str(scene.slots), "-c", str(scene.slots * _CONTEXT)]
        if scene.threads is not None:
            sizes += ["-t", str(scene.threads)]
        words = scene.program.command(scene.model, port, *sizes)
        self._family.start(f"llama-server {number}", words, scene.program.environment)

    def _start_balancer(self) -> None:
        self._start_paddler(
            _BALANCER,
            "balancer",
            {
                "management-port": self.management,
                "management-dashboard-enable": "true",
                "reverseproxy-port": self.reverseproxy,
            },
        )

    def _start_agent(self, number: int, port: int) -> None:
        self._start_paddler(
            f"agent {number}",
            "agent",
            {
                "local-llamacpp-port": port,
                "external-llamacpp-port": port,
                "management-port": self.management,
                "name": f"llama-{number}",
            },
        )

    def _start_paddler(self, name: str, command: str, options: Mapping[str, object]) -> None:
        words = [sys.executable, "-m", "paddler", command]
        for option, value in options.items():
            words += [f"--{option}", str(value)]
        # Options that are set for the user's own commands must not reach these.
        own = {name: value for name, value in os.environ.items() if name[:8] != "PADDLER_"}
        self._family.start(name, words, own)

    async def _until(self, port: int, fits: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the server on `port` is healthy and its answer fits."""
        while not self._ending:
            answer = await self._asking.health(port)
            if answer is not None and fits(answer):
                return
            await deferLater(self._reactor, 0.05)
        raise CancelledError

    async def _within(self, waiting: Coroutine[Deferred[Any], Any, None], otherwise: str) -> None:
        """Wait for something that takes no longer than Paddler's own processes may.

        :raises ChatFailed: with `otherwise` when it does.
        """

        def too_late(result: object, seconds: float) -> Failure:
            return Failure(ChatFailed(f"{otherwise} within {seconds:g} s"))

        task = Deferred.fromCoroutine(waiting)
        await task.addTimeout(_READY_WITHIN, self._reactor, onTimeoutCancel=too_late)
