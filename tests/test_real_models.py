"""Real llama-servers of several models behind one balancer, as an OpenAI client sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import openai
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from paddler.scheduling.routing import SETTLING
from tests.proxying import reactor
from tests.test_real_balancer import FleetCase

__all__ = ["OpenAITests"]

_T = TypeVar("_T")

_CHAT: Any = [{"role": "user", "content": "the cat and the dog"}]


class OpenAITests(FleetCase):
    """Two chat models, one with an alias, and one for embeddings, through `openai`."""

    async def setUp(self) -> None:
        await super().setUp()
        embeds = ("--alias", "embed,text-embedding", "--embeddings", "--pooling", "mean")
        for name, arguments in (
            ("small", ("--alias", "small,chat")),
            ("large", ("--alias", "large")),
            ("embeds", embeds),
        ):
            await self.start_agent(await self.llama(*arguments), name)
        await self.until_idle(6)
        await deferLater(reactor, SETTLING)
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.public}/v1", api_key="none", max_retries=0
        )
        self.addCleanup(self.client.close)

    def call(self, function: Callable[..., _T], *args: Any, **kw: Any) -> Deferred[_T]:
        """Call something of the client's, which blocks."""
        return deferToThread(function, *args, **kw)

    async def test_models(self) -> None:
        """`models.list()` has each model once, `models.retrieve()` knows it by every name."""
        # llama-server takes the first of a server's names, by the alphabet, for its id.
        models = (await self.call(self.client.models.list)).data
        self.assertEqual([model.id for model in models], ["chat", "embed", "large"])
        self.assertEqual(
            {(model.object, model.owned_by) for model in models}, {("model", "llamacpp")}
        )
        self.assertTrue(all(model.created > 1e9 for model in models))
        for name, its_id in (("small", "chat"), ("text-embedding", "embed"), ("large", "large")):
            model = await self.call(self.client.models.retrieve, name)
            self.assertEqual(model.id, its_id)
        retrieving = self.call(self.client.models.retrieve, "gpt-4")
        await self.assertFailure(retrieving, openai.NotFoundError)

    async def test_chat(self) -> None:
        """Chats go to the server that has their model, streamed or not."""
        create = self.client.chat.completions.with_raw_response.create
        for name, agent in (("small", "small"), ("chat", "small"), ("large", "large")):
            answer = await self.call(create, model=name, messages=_CHAT, max_tokens=4)
            self.assertEqual(answer.headers["x-paddler-agent"], agent)
            chat = answer.parse()
            self.assertEqual(chat.usage and chat.usage.completion_tokens, 4)
            streamed = await self.call(self.streamed, name)
            self.assertEqual(streamed, (agent, 4))

    def streamed(self, name: str) -> tuple[str | None, int]:
        """Who streamed a chat, and how many pieces of text came."""
        create = self.client.chat.completions.with_raw_response.create
        answer = create(model=name, messages=_CHAT, max_tokens=4, stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in answer.parse() if chunk.choices]
        return answer.headers.get("x-paddler-agent"), sum(piece is not None for piece in pieces)

    async def test_embeddings(self) -> None:
        """Embeddings go to the one server that makes them."""
        create = self.client.embeddings.with_raw_response.create
        for name in ("embed", "text-embedding"):
            answer = await self.call(create, model=name, input=["a cat", "a dog"])
            self.assertEqual(answer.headers["x-paddler-agent"], "embeds")
            self.assertEqual(len(answer.parse().data), 2)

    async def test_many_at_once(self) -> None:
        """Sixty at a time, by every name: each is answered by a server that has its model."""
        create = self.client.chat.completions.with_raw_response.create
        names = {"small": "small", "chat": "small", "large": "large"}
        asked = list(names) * 20
        answers = await gatherResults(
            [self.call(create, model=name, messages=_CHAT, max_tokens=16) for name in asked]
        )
        agents = [answer.headers["x-paddler-agent"] for answer in answers]
        self.assertEqual(agents, [names[name] for name in asked])

    async def test_unknown(self) -> None:
        """A model that nobody has is the client's `NotFoundError`, with its reason."""
        asking = self.call(self.client.chat.completions.create, model="gpt-4", messages=_CHAT)
        error = await self.assertFailure(asking, openai.NotFoundError)
        self.assertEqual(error.type, "model_not_found")
        self.assertIn("there is 'chat', 'embed', 'large'", str(error))
