"""Prompts that are too long for a real llama-server's context."""

from __future__ import annotations

from tests.proxying import post
from tests.test_real_balancer import FleetCase

__all__ = ["RealContextTests"]


class RealContextTests(FleetCase):
    """Real llama-servers with contexts of several sizes."""

    async def test_real(self) -> None:
        """Prompts go where they fit, streamed or not; what fits none gets llama-server's 400."""
        for name, size in (("small", 256), ("large", 2048)):
            llama = await self.llama("-c", str(2 * size))
            await self.start_agent(llama, name)
        await self.until_idle(4)
        contexts = {view.agent_name: view for view in self.balancer.admission.agents()}
        self.assertEqual(set(contexts), {"small", "large"})
        for times in (30, 120):
            for stream in (False, True):
                body = {"prompt": "the cat and the dog " * times, "n_predict": 2}
                for _ in range(4):
                    client = await self.connect()
                    client.send(post("/completion", {**body, "stream": stream}))
                    received = await client.until(b"\r\n\r\n")
                    self.assertIn(b"HTTP/1.1 200 ", received)
                    self.assertIn(b"x-paddler-agent: large", received.lower())
                    await client.until(b"tokens_predicted")
        code, answer = await self.ask("/completion", {"prompt": "the cat " * 3000, "n_predict": 2})
        error = answer["error"]
        self.assertEqual((code, error["type"]), (400, "exceed_context_size_error"))
        self.assertEqual(error["n_ctx"], 2048)
        self.assertGreater(error["n_prompt_tokens"], 3000)
        await self.until_idle(4)
