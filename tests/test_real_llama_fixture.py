"""The fixtures themselves: a real llama-server starts, answers, stops and starts again."""

from __future__ import annotations

import json
import os
import signal

from twisted.internet.error import ConnectError
from twisted.trial.unittest import TestCase

from tests.llamas import RealLlama, fetch

__all__ = ["RealLlamaTests"]


class RealLlamaTests(TestCase):
    """`RealLlama` on a real process."""

    timeout = 60

    async def test_serves(self) -> None:
        """A started server is healthy, has its slots, and completes text."""
        llama = RealLlama()
        self.addCleanup(llama.stop)
        await llama.start(slots=3)
        status, body = await fetch(llama.port, "/slots")
        self.assertEqual((status, len(json.loads(body))), (200, 3))
        ask = json.dumps({"prompt": "the house", "n_predict": 5}).encode()
        status, body = await fetch(llama.port, "/completion", ask)
        self.assertEqual((status, json.loads(body)["tokens_predicted"]), (200, 5))
        self.assertEqual((await llama.metrics())["requests_deferred"], 0)

    async def test_stops(self) -> None:
        """A stopped server is gone, refuses, and can be started again on its port."""
        llama = RealLlama()
        self.addCleanup(llama.stop)
        await llama.start()
        pid = llama.pid
        await llama.stop()
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)
        await self.assertFailure(fetch(llama.port, "/health"), ConnectError)
        await llama.start()
        self.assertNotEqual(llama.pid, pid)

    async def test_signals(self) -> None:
        """A signal reaches the server: SIGTERM ends an idle one, a stopped one is still killed."""
        llama = RealLlama()
        self.addCleanup(llama.stop)
        await llama.start()
        llama.signal(signal.SIGTERM)
        await llama.ended()
        await llama.stop()
        await llama.start()
        llama.signal(signal.SIGSTOP)
        pid = llama.pid
        await llama.stop()
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    async def test_refused_option(self) -> None:
        """A server that ends at once fails the test with what it said."""
        llama = RealLlama()
        self.addCleanup(llama.stop)
        error = await self.assertFailure(llama.start("--no-such-option"), AssertionError)
        self.assertIn("no-such-option", str(error))
