"""Prompts that are too long for a server's context: another that has a larger one answers them."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.answers import error_answer
from paddler.balancer.faults import context_exceeded
from paddler.balancer.tallies import Tallies
from paddler.testing import Call, ScriptedServer
from tests.llamas import until
from tests.proxying import ProxyCase, post

__all__ = ["ContextTests", "WantedTests"]


def too_long(tokens: int, n_ctx: int) -> bytes:
    """What llama-server says of a prompt that is too long."""
    message = (
        f"request ({tokens} tokens) exceeds the available context size ({n_ctx} tokens), "
        "try increasing it"
    )
    error = {
        "code": 400,
        "message": message,
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": n_ctx,
    }
    return json.dumps({"error": error}).encode()


class WantedTests(SynchronousTestCase):
    """What an error says of the context that is wanted."""

    def test_wanted(self) -> None:
        """One more than the prompt has, and more than there was."""
        for tokens, n_ctx, wanted in ((3000, 2048, 3001), (2048, 2048, 2049), (1, 2048, 2049)):
            error = context_exceeded(400, too_long(tokens, n_ctx))
            assert error is not None
            self.assertEqual((error.tokens, error.n_ctx, error.wanted), (tokens, n_ctx, wanted))
            self.assertEqual(error_answer(error)[0], 400)
            self.assertEqual(
                json.loads(error_answer(error)[2]), json.loads(too_long(tokens, n_ctx))
            )

    def test_others(self) -> None:
        """All other errors are what they are."""
        whole = too_long(3000, 2048)
        self.assertIsNone(context_exceeded(500, whole))
        for text in (b"", b"{}", whole[:-1], whole.replace(b"3000,", b'"3000",'), b"\xff" + whole):
            self.assertIsNone(context_exceeded(400, text), text)
        self.assertIsNone(context_exceeded(400, whole.replace(b'"exceed', b'"not_exceed')))

    def test_nonsense(self) -> None:
        """Numbers that no context has, and what is nested without end, say nothing."""
        for tokens, n_ctx in ((-4, 2048), (3000, -1), (2**70, 2048), (3000, 2**70)):
            self.assertIsNone(context_exceeded(400, too_long(tokens, n_ctx)))
        nested = b'{"a":"exceed_context_size_error","b":' + b"[" * 8000
        self.assertIsNone(context_exceeded(400, nested))


class ContextTests(ProxyCase):
    """Scripted servers."""

    def setUp(self) -> Any:
        self.ledger = self.tallies = Tallies(dict)
        return super().setUp()

    def refuse(self, server: ScriptedServer, tokens: int, n_ctx: int) -> None:
        """A server finds every prompt too long."""
        server.on_request = lambda call: call.answer(400, too_long(tokens, n_ctx))

    async def test_larger(self) -> None:
        """Another with a larger context answers, as if nothing had happened."""
        small = await self.server(4, "small", n_ctx=2048)
        self.refuse(small, 3000, 2048)
        large = await self.server(1, "large", n_ctx=4096)
        for _ in range(3):
            code, headers, _ = await self.ask(post("/v1/chat/completions", {"messages": []}))
            self.assertEqual((code, headers["x-paddler-agent"]), (200, "large"))
        self.assertEqual((len(small.calls), len(large.calls)), (3, 3))
        self.assertEqual(self.tallies.retries["context"], 3)
        self.assertEqual({each["error"] for each in self.views()}, {None})

    def views(self) -> list[dict[str, Any]]:
        """The agents."""
        return [{"error": view.error} for view in self.admission.agents()]

    async def test_none_larger(self) -> None:
        """Where none is larger the client gets the server's own words."""
        small = await self.server(4, "small", n_ctx=2048, models=("m",))
        self.refuse(small, 5000, 2048)
        await self.server(1, "large", n_ctx=4096, models=("other",))
        code, headers, body = await self.ask(post("/completion", {"prompt": "x", "model": "m"}))
        self.assertEqual((code, body), (400, too_long(5000, 2048)))
        self.assertEqual(headers["x-paddler-agent"], "small")
        self.assertEqual(len(small.calls), 1)

    async def test_too_long_for_all(self) -> None:
        """Where larger ones are too small too, the client is told of the largest, at once."""
        small = await self.server(4, "small", n_ctx=2048)
        large = await self.server(1, "large", n_ctx=4096)
        self.refuse(small, 5000, 2048)
        code, _, body = await self.ask(post("/completion", {"prompt": "x"}))
        self.assertEqual((code, json.loads(body)), (400, json.loads(too_long(5000, 4096))))
        self.assertEqual((len(small.calls), len(large.calls)), (1, 0))

    async def test_waits_for_the_larger(self) -> None:
        """It waits in its old place for the larger one, and is not sent to the small one again."""
        small = await self.server(4, "small", n_ctx=2048)
        large = await self.server(1, "large", n_ctx=4096)
        coming = self.next_call(small)
        first = await self.client()
        first.send(post("/completion", {"prompt": "long"}))
        call: Call = await coming
        busy = self.next_call(large)
        self.join(small, 1, "small", n_ctx=2048)
        second = await self.client()
        second.send(post("/completion", {"prompt": "other"}))
        running: Call = await busy
        third = await self.client()
        third.send(post("/completion", {"prompt": "third"}))
        await until(lambda: self.waiting() == 1)
        call.answer(400, too_long(3000, 2048))
        # The third gets the small one's slot; the first is before it for the large one's.
        self.assertIn(b"X-Paddler-Agent: small", await third.until(b"\r\n\r\n"))
        self.assertEqual(self.waiting(), 1)
        running.answer(200, b"{}")
        self.assertIn(b"X-Paddler-Agent: large", await first.until(b"\r\n\r\n"))
        self.assertEqual((len(small.calls), len(large.calls)), (2, 2))

    async def test_three_sizes(self) -> None:
        """It goes on until it fits, and each says how long it is."""
        sizes = (1024, 2048, 4096, 8192)
        servers = [await self.server(9 - n, str(size), n_ctx=size) for n, size in enumerate(sizes)]
        for server, size in zip(servers[:2], sizes, strict=False):
            self.refuse(server, 2500, size)
        code, headers, _ = await self.ask(post("/completion", {"prompt": "x"}))
        self.assertEqual((code, headers["x-paddler-agent"]), (200, "4096"))
        self.assertEqual([len(server.calls) for server in servers], [1, 0, 1, 0])

    async def test_one_that_reports_more_than_it_has(self) -> None:
        """One that is smaller than its agent says is not asked for ever."""
        for n_ctx in (100_000, None):
            liar = await self.server(1, "liar", n_ctx=n_ctx)
            self.refuse(liar, 3000, 2048)
            code, _, body = await self.ask(post("/completion", {"prompt": "x"}))
            self.assertEqual((code, body), (400, too_long(3000, 2048)))
            self.assertEqual(len(liar.calls), 1)

    async def test_another_error(self) -> None:
        """Other errors of the request's own pass as they are."""
        server = await self.server(1, "one", n_ctx=2048)
        await self.server(1, "large", n_ctx=4096)
        self.admission.drain("large", True)
        wrong = b'{"error":{"code":400,"message":"no","type":"invalid_request_error"}}'
        server.on_request = lambda call: call.answer(400, wrong)
        self.assertEqual((await self.ask(post("/completion", {})))[::2], (400, wrong))
        large = b'{"error":"' + b"x" * 20_000 + b'"}'
        server.on_request = lambda call: call.answer(400, large)
        self.assertEqual((await self.ask(post("/completion", {})))[::2], (400, large))

    async def test_stopped_meanwhile(self) -> None:
        """A stop ends one that waits for a larger context."""
        small = await self.server(2, "small", n_ctx=2048)
        large = await self.server(1, "large", n_ctx=4096)
        self.refuse(small, 3000, 2048)
        busy = self.next_call(large)
        client = await self.client()
        client.send(post("/completion", {"prompt": "x"}))
        running = await busy
        waiting = await self.client()
        waiting.send(post("/completion", {"prompt": "x"}))
        await until(lambda: self.waiting() == 1)
        self.admission.stop()
        self.assertIn(b"HTTP/1.1 503", await waiting.until(b"shutting_down"))
        running.answer(200, b"{}")
        await client.until(b"\r\n\r\n")
