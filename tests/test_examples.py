"""The examples, run as their heads say."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import TestCase

from tests.commands import ROOT, environment
from tests.llamas import RealLlama, fetch, free_port, reactor, until

__all__ = ["TwoServersTests"]


class _Script(ProcessProtocol):
    def __init__(self) -> None:
        self.output = b""
        self.ended: Deferred[int] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.output += data

    errReceived = outReceived

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(reason.value.exitCode)


class TwoServersTests(TestCase):
    """`examples/two-servers.sh`."""

    timeout = 60

    async def test_runs(self) -> None:
        """In front of two servers it learns of all slots, answers a chat, and stops clean."""
        llamas = [RealLlama(), RealLlama()]
        for llama in llamas:
            self.addCleanup(llama.stop)
            await llama.start()
        management, public = free_port(), free_port()
        # Where `paddler` is not installed it is run from the sources.
        commands = Path(self.mktemp())
        commands.mkdir()
        paddler = commands.absolute() / "paddler"
        paddler.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m paddler "$@"\n')
        paddler.chmod(0o755)
        script = _Script()
        process = reactor.spawnProcess(
            script,
            "sh",
            ["sh", str(ROOT / "examples/two-servers.sh"), *(str(llama.port) for llama in llamas)],
            env=environment(
                {
                    "PATH": f"{paddler.parent}:{os.environ['PATH']}",
                    "PADDLER_MANAGEMENT_PORT": str(management),
                    "PADDLER_REVERSEPROXY_PORT": str(public),
                }
            ),
        )

        async def four_slots() -> bool:
            self.assertFalse(script.ended.called, script.output.decode())
            try:
                answer = msgspec.json.decode((await fetch(public, "/health"))[1])
            except ConnectError:
                return False
            return bool(answer["slots_total"] == 4)

        try:
            try:
                await until(four_slots, within=20)
            except AssertionError as error:
                raise AssertionError(f"{error}: {script.output.decode()}") from None
            ask = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
            status, _ = await fetch(public, "/v1/chat/completions", msgspec.json.encode(ask))
            self.assertEqual(status, 200)
        finally:
            process.signalProcess(signal.SIGTERM)
            code = await script.ended
        self.assertEqual(code, 0, script.output.decode())
        self.assertNotIn(b"Traceback", script.output)
