"""Real llama-servers of several models behind one balancer, as an OpenAI client sees them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import openai
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from paddler.scheduling.routing import SETTLING
from tests.llamas import RealLlama, fetch, tiny_model
from tests.proxying import post, reactor
from tests.test_real_balancer import FleetCase

__all__ = ["OpenAITests", "RouterTests"]

_T = TypeVar("_T")

_CHAT: Any = [{"role": "user", "content": "the cat and the dog"}]


class OpenAIFleet(FleetCase):
    """A fleet, and OpenAI's client for it."""

    async def setUp(self) -> None:
        await super().setUp()
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.public}/v1", api_key="none", max_retries=0
        )
        self.addCleanup(self.client.close)

    def call(self, function: Callable[..., _T], *args: Any, **kw: Any) -> Deferred[_T]:
        """Call something of the client's, which blocks."""
        return deferToThread(function, *args, **kw)

    def chat(self, name: str) -> tuple[str | None, str, int]:
        """A chat: who answered, by which model, with how many tokens."""
        create = self.client.chat.completions.with_raw_response.create
        answer = create(model=name, messages=_CHAT, max_tokens=4)
        chat = answer.parse()
        tokens = 0 if chat.usage is None else chat.usage.completion_tokens
        return answer.headers.get("x-paddler-agent"), chat.model, tokens

    def streamed(self, name: str) -> tuple[str | None, int]:
        """Who streamed a chat, and how many pieces of text came."""
        create = self.client.chat.completions.with_raw_response.create
        answer = create(model=name, messages=_CHAT, max_tokens=4, stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in answer.parse() if chunk.choices]
        return answer.headers.get("x-paddler-agent"), sum(piece is not None for piece in pieces)


class OpenAITests(OpenAIFleet):
    """Two chat models, one with an alias, and one for embeddings, through `openai`."""

    async def setUp(self) -> None:
        await super().setUp()
        embeds = ("--alias", "embed,text-embedding", "--embeddings", "--pooling", "mean")
        self.llamas = {}
        for name, arguments in (
            ("small", ("--alias", "small,chat")),
            ("large", ("--alias", "large")),
            ("embeds", embeds),
        ):
            self.llamas[name] = await self.llama(*arguments)
            agent = await self.start_agent(self.llamas[name], name)
            if name == "large":
                self.large = agent
        await self.until_idle(6)
        await deferLater(reactor, SETTLING)

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
        for name, agent in (("small", "small"), ("chat", "small"), ("large", "large")):
            answered_by, _, tokens = await self.call(self.chat, name)
            self.assertEqual((answered_by, tokens), (agent, 4))
            self.assertEqual(await self.call(self.streamed, name), (agent, 4))

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

    async def test_restart(self) -> None:
        """When a balancer comes back, those who ask at once wait for who has their model."""
        await self.balancer.stopService()
        await self.start_balancer()
        names = {"small": "chat", "chat": "chat", "large": "large"}
        asked = list(names) * 8
        body = {"messages": _CHAT, "max_tokens": 2}
        answers = await gatherResults(
            [
                Deferred.fromCoroutine(self.ask("/v1/chat/completions", {**body, "model": name}))
                for name in asked
            ]
        )
        found = [(code, answer.get("model")) for code, answer in answers]
        self.assertEqual(found, [(200, names[name]) for name in asked])

    async def test_one_fleet_at_zero(self) -> None:
        """Twenty wait for a model whose server is gone, the other's are served; then it is back."""
        await self.large.stopService()
        body = {"messages": _CHAT, "max_tokens": 2}
        waiting = [
            Deferred.fromCoroutine(self.ask("/v1/chat/completions", {**body, "model": "large"}))
            for _ in range(20)
        ]
        for _ in range(10):
            self.assertEqual((await self.call(self.chat, "small"))[0], "small")
        load = json.loads((await fetch(self.management, "/api/v1/demand?model=large"))[1])
        self.assertEqual((load["requests_waiting"], load["slots_total"]), (20, 0))
        await self.start_agent(self.llamas["large"], "large")
        answers = await gatherResults(waiting)
        self.assertEqual({(code, answer["model"]) for code, answer in answers}, {(200, "large")})

    async def test_unknown(self) -> None:
        """A model that nobody has is the client's `NotFoundError`, with its reason."""
        asking = self.call(self.client.chat.completions.create, model="gpt-4", messages=_CHAT)
        error = await self.assertFailure(asking, openai.NotFoundError)
        self.assertEqual(error.type, "model_not_found")
        self.assertIn("there is 'chat', 'embed', 'large'", str(error))


class RouterTests(OpenAIFleet):
    """A router-mode llama-server beside an ordinary one."""

    async def setUp(self) -> None:
        await super().setUp()
        models = Path("router").absolute()
        models.mkdir(exist_ok=True)
        for name in ("alpha", "beta"):
            shutil.copy(tiny_model(), models / f"{name}.gguf")
        self.router = RealLlama()
        self.addCleanup(self.router.stop)
        await self.router.start(router=models)
        await self.start_agent(self.router, "router")
        await self.start_agent(await self.llama("--alias", "single"), "single")
        await self.until_idle(4)
        await deferLater(reactor, SETTLING)

    async def loaded(self) -> list[str]:
        """The models that the router has loaded."""
        _, body = await fetch(self.router.port, "/models")
        models = json.loads(body)["data"]
        return [model["id"] for model in models if model["status"]["value"] != "unloaded"]

    async def test_chats(self) -> None:
        """Each model is answered by who has it, and only what is asked for is loaded."""
        listed = await self.call(self.client.models.list)
        self.assertEqual([model.id for model in listed.data], ["alpha", "beta", "single"])
        self.assertEqual(await self.loaded(), [])
        for name, agent in (("single", "single"), ("alpha", "router"), ("alpha", "router")):
            self.assertEqual(await self.call(self.chat, name), (agent, name, 4))
            self.assertEqual(await self.call(self.streamed, name), (agent, 4))
        self.assertEqual(await self.loaded(), ["alpha"])
        # Several looks of its agent, which read alpha's slots.
        await deferLater(reactor, 4)
        self.assertEqual(await self.loaded(), ["alpha"])
        states = {agent["agent_name"]: agent for agent in await self.agents()}
        self.assertEqual((states["router"]["slots_total"], states["router"]["issues"]), (2, []))
        self.assertEqual(await self.call(self.chat, "beta"), ("router", "beta", 4))
        self.assertEqual(sorted(await self.loaded()), ["alpha", "beta"])

    async def test_names_matter(self) -> None:
        """Where there is a router, who names no model goes elsewhere, who knows none nowhere."""
        for _ in range(6):
            client = await self.connect()
            client.send(post("/completion", {"prompt": "a", "n_predict": 1}))
            self.assertIn(b"X-Paddler-Agent: single", await client.until(b"\r\n\r\n"))
        error = await self.assertFailure(self.call(self.chat, "gpt-4"), openai.NotFoundError)
        self.assertIn("there is 'alpha', 'beta', 'single'", str(error))
        self.assertEqual(await self.loaded(), [])

    async def test_many_at_once(self) -> None:
        """Many at a time for both of its models: all answered, none of them ever queued there."""
        names = ["alpha", "beta", "single"] * 8
        answers = await gatherResults([self.call(self.chat, name) for name in names])
        self.assertEqual([model for _, model, _ in answers], names)
        await self.until_idle(4)
