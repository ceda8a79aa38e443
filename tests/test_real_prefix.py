"""Chats with real llama-servers, balanced by what each has of them."""

from __future__ import annotations

import json
from typing import Any

from tests.llamas import RealLlama, fetch
from tests.test_real_balancer import FleetCase

__all__ = ["ChatsTests"]

CHAT = "/v1/chat/completions"


class ChatsTests(FleetCase):
    """Three servers with two slots each."""

    async def start_servers(self, interval: str = "200ms") -> list[RealLlama]:
        """They and their agents, which report so often."""
        llamas = [await self.llama(slots=2) for _ in range(3)]
        for number, llama in enumerate(llamas):
            await self.start_agent(llama, f"llama-{number}", f"--reporting-interval={interval}")
        await self.until_idle(6)
        return llamas

    async def turn(self, messages: list[dict[str, str]], stream: bool = False) -> dict[str, Any]:
        """One turn of a chat, answered; what the answer says of the prompt."""
        body = {"messages": messages, "max_tokens": 8, "stream": stream}
        code, answer = await fetch(self.public, CHAT, json.dumps(body).encode())
        self.assertEqual(code, 200, answer)
        text = answer
        if stream:
            events = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: {")]
            said = [json.loads(event) for event in events]
            content = "".join(
                choice["delta"].get("content") or "" for each in said for choice in each["choices"]
            )
            text = events[-1]
        else:
            content = json.loads(answer)["choices"][0]["message"]["content"]
        messages.append({"role": "assistant", "content": content})
        timings: dict[str, Any] = json.loads(text)["timings"]
        return timings

    async def decisions(self) -> list[dict[str, Any]]:
        """Why the last requests went where they went, the oldest first."""
        told = json.loads((await fetch(self.management, "/api/v1/decisions"))[1])
        return list(reversed(told["decisions"]))

    async def test_chats_stay(self) -> None:
        """Each turn but the first evaluates only what is new, streamed or not."""
        await self.start_servers()
        chats = [
            [{"role": "system", "content": f"the dog and the cat of number {n} " * 40}]
            for n in range(5)
        ]
        for turn in range(4):
            for number, chat in enumerate(chats):
                chat.append({"role": "user", "content": f"a house by the sea {turn}"})
                timings = await self.turn(chat, stream=number % 2 == 0)
                if turn:
                    self.assertLess(timings["prompt_n"], 80, (turn, number))
                    self.assertGreater(timings["cache_n"], 200, (turn, number))
        decisions = await self.decisions()
        self.assertEqual([each["why"] for each in decisions[5:]], ["prefix"] * 15)
        for number in range(5):
            agents = {each["agent"] for each in decisions[number::5]}
            self.assertEqual(len(agents), 1)
        metrics = (await fetch(self.management, "/metrics"))[1].decode()
        self.assertIn("paddler_prompt_tokens_total{", metrics)

    async def test_all_restart(self) -> None:
        """After all servers have restarted chats go on, and nobody waits for what is gone."""
        llamas = await self.start_servers()
        chat = [{"role": "system", "content": "the dog and the cat " * 100}]
        for word in ("one", "two"):
            chat.append({"role": "user", "content": word})
            await self.turn(chat)
        for llama in llamas:
            await llama.stop()
        await self.until_idle(0)
        for llama in llamas:
            again = RealLlama(llama.port)
            self.addCleanup(again.stop)
            await again.start(slots=2)
        await self.until_idle(6)
        chat.append({"role": "user", "content": "three"})
        timings = await self.turn(chat)
        self.assertLess(timings["cache_n"], 50)
        newest = (await self.decisions())[-1]
        self.assertEqual(newest["why"], "new")
        self.assertLess(newest["waited_seconds"], 0.5)
        chat.append({"role": "user", "content": "four"})
        self.assertGreater((await self.turn(chat))["cache_n"], 200)

    async def test_all_restart_unseen(self) -> None:
        """What restarts between two reports is found out from answers; nobody waits meanwhile."""
        llamas = await self.start_servers("60s")
        chats = [
            [{"role": "system", "content": f"the dog and the cat of number {n} " * 60}]
            for n in range(15)
        ]
        for chat in chats:
            chat.append({"role": "user", "content": "one"})
            await self.turn(chat)
        for llama in llamas:
            await llama.stop()
            again = RealLlama(llama.port)
            self.addCleanup(again.stop)
            await again.start(slots=2)
        for chat in chats:
            chat.append({"role": "user", "content": "two"})
            self.assertLess((await self.turn(chat))["cache_n"], 300)
        decisions = (await self.decisions())[15:]
        self.assertEqual(decisions[0]["why"], "prefix")
        # Some of each server tell of the others; those are new wherever they go.
        self.assertEqual(decisions[-1]["why"], "new")
        self.assertLess(max(each["waited_seconds"] for each in decisions), 0.5)
        for chat in chats:
            chat.append({"role": "user", "content": "three"})
            self.assertGreater((await self.turn(chat))["cache_n"], 300)
