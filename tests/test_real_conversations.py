"""Conversations that go on without their client, on real llama-servers."""

from __future__ import annotations

from typing import Any

from tests.llamas import fetch
from tests.proxying import post
from tests.test_real_balancer import FleetCase

__all__ = ["RealConversationTests"]


class RealConversationTests(FleetCase):
    """Real llama-servers."""

    async def test_taken_up_again(self) -> None:
        """A chat goes on without its client, is taken up again by another one, and stopped."""
        for name in ("one", "two"):
            await self.start_agent(await self.llama("-c", "16384", slots=1), name)
        await self.until_idle(2)
        body: Any = {
            "messages": [{"role": "user", "content": "a"}],
            "max_tokens": 9000,
            "stream": True,
        }
        client = await self.connect()
        client.send(post("/v1/chat/completions", body, "X-Conversation-Id: c1"))
        head = await client.until(b'"content":')
        client.leave()
        agent = "one" if b"x-paddler-agent: one" in head.lower() else "two"
        # It goes on, and its slot is not given to others.
        code, answer = await self.ask("/completion", {"prompt": "a", "n_predict": 1})
        self.assertEqual(code, 200)
        again = await self.connect()
        again.send(b"GET /v1/stream?conv_id=c1&from=0 HTTP/1.1\r\nHost: h\r\n\r\n")
        head = await again.until(b'"content":')
        self.assertIn(f"x-paddler-agent: {agent}".encode(), head.lower())
        again.leave()
        for asked, found in ((["x", "c1"], ["c1"]), (["x"], [])):
            code, streams = await self.ask("/v1/streams/lookup", {"conversation_ids": asked})
            self.assertEqual((code, [each["conversation_id"] for each in streams]), (200, found))
        stop = await self.connect()
        stop.send(b"DELETE /v1/stream?conv_id=c1 HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(b"HTTP/1.1 204", await stop.until(b"\r\n\r\n"))
        await self.until_idle(2)
        code, _ = await fetch(self.public, "/v1/stream?conv_id=c1&from=0")
        self.assertEqual(code, 404)
