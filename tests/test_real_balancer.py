"""Balancer and agents as their users run them, in front of real llama-servers."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from paddler.agent.plugin import Options as AgentOptions
from paddler.agent.plugin import makeService as make_agent
from paddler.balancer.plugin import Options as BalancerOptions
from paddler.balancer.plugin import makeService as make_balancer
from tests.llamas import RealLlama, fetch, free_port, until
from tests.proxying import Client, post, reactor

CHAT = {"messages": [{"role": "user", "content": "the cat and the dog"}], "max_tokens": 8}


class FleetCase(TestCase):
    """A balancer, and agents with their llama-servers."""

    timeout = 60

    async def setUp(self) -> None:
        self.management, self.public = free_port(), free_port()
        await self.start_balancer()

    async def start_balancer(self, *arguments: str) -> Any:
        """Start a balancer on this test's ports."""
        options = BalancerOptions()
        ports = [f"--management-port={self.management}", f"--reverseproxy-port={self.public}"]
        options.parseOptions([*ports, "--shutdown-grace=2s", *arguments])
        self.balancer: Any = make_balancer(options, reactor)
        self.balancer.privilegedStartService()
        self.balancer.startService()
        self.addCleanup(self.stop, self.balancer)

    def stop(self, service: Any) -> Deferred[None]:
        """Stop a service unless it is stopped."""
        return service.stopService() if service.running else None

    async def start_agent(self, llama: RealLlama, name: str, *arguments: str) -> Any:
        """Start an agent for a llama-server."""
        options = AgentOptions()
        options.parseOptions(
            [
                f"--local-llamacpp-port={llama.port}",
                f"--management-port={self.management}",
                f"--name={name}",
                *arguments,
            ]
        )
        agent = make_agent(options, reactor)
        agent.startService()
        self.addCleanup(self.stop, agent)
        return agent

    async def llama(self, *arguments: str, **more: Any) -> RealLlama:
        """A real llama-server."""
        llama = RealLlama()
        self.addCleanup(llama.stop)
        await llama.start(*arguments, **more)
        return llama

    async def fleet(self, slots: int = 2) -> tuple[RealLlama, RealLlama]:
        """Two llama-servers with their agents, known to the balancer."""
        llamas = await self.llama(slots=slots), await self.llama(slots=slots)
        for number, llama in enumerate(llamas):
            await self.start_agent(llama, f"llama-{number}")
        await self.until_idle(2 * slots)
        return llamas

    async def until_idle(self, slots: int) -> None:
        """Wait until so many slots can be granted."""

        async def idle() -> bool:
            return (await self.health())["slots_idle"] == slots

        await until(idle, what=f"{slots} idle slots")

    async def health(self) -> dict[str, Any]:
        """What the balancer says of the fleet to its clients."""
        return json.loads((await fetch(self.public, "/health"))[1])

    async def agents(self) -> list[dict[str, Any]]:
        """What the balancer says of its agents."""
        return json.loads((await fetch(self.management, "/api/v1/agents"))[1])["agents"]

    async def ask(self, path: str, body: Any) -> tuple[int, Any]:
        """A JSON request through the balancer."""
        code, answer = await fetch(self.public, path, json.dumps(body).encode())
        return code, json.loads(answer)

    async def connect(self) -> Client:
        """A raw connection to the public side."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.public)
        client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        return client


class AnswersTests(FleetCase):
    """What a client of llama-server gets, it gets through the balancer."""

    async def test_plain(self) -> None:
        """A chat, a completion, a list of models and a page that needs no slot."""
        await self.fleet()
        code, chat = await self.ask("/v1/chat/completions", CHAT)
        self.assertEqual((code, chat["usage"]["completion_tokens"]), (200, 8))
        code, completion = await self.ask("/completion", {"prompt": "the cat", "n_predict": 5})
        self.assertEqual((code, completion["tokens_predicted"]), (200, 5))
        code, models = await fetch(self.public, "/v1/models")
        self.assertEqual((code, json.loads(models)["object"]), (200, "list"))
        code, tokens = await self.ask("/tokenize", {"content": "the cat"})
        self.assertEqual((code, len(tokens["tokens"]) > 0), (200, True))

    async def test_same_as_direct(self) -> None:
        """The answer is the same, byte for byte, as the server's own."""
        llama = await self.llama()
        await self.start_agent(llama, "one")
        await self.until_idle(2)
        body = json.dumps(
            {"prompt": "the cat", "n_predict": 20, "temperature": 0, "response_fields": ["content"]}
        ).encode()
        direct = await fetch(llama.port, "/completion", body)
        through = await fetch(self.public, "/completion", body)
        self.assertEqual(direct[0], 200)
        self.assertEqual(through, direct)
        wrong = await fetch(llama.port, "/nowhere", b"{}")
        self.assertEqual(await fetch(self.public, "/nowhere", b"{}"), wrong)

    async def test_streams(self) -> None:
        """A streamed chat: its events come one by one, in order, to the last."""
        await self.fleet()
        client = await self.connect()
        client.send(post("/v1/chat/completions", {**CHAT, "stream": True}))
        received = await client.until(b"data: [DONE]\n\n")
        head, _, rest = received.partition(b"\r\n\r\n")
        self.assertIn(b"text/event-stream", head)
        self.assertRegex(head.lower(), rb"x-paddler-agent: llama-[01]")
        events = [
            json.loads(line[6:])
            for line in rest.replace(b"\r\n", b"\n").split(b"\n")
            if line.startswith(b"data: {")
        ]
        self.assertEqual(events[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "length")
        # The connection is kept for the next request.
        client.received = b""
        client.send(post("/completion", {"prompt": "a", "n_predict": 2, "stream": True}))
        await client.until(b'"stop":true')

    async def test_embeddings(self) -> None:
        """Several inputs take several slots, and all come back."""
        llama = await self.llama("--embeddings", "--pooling", "mean")
        await self.start_agent(llama, "one")
        await self.until_idle(2)
        code, answer = await self.ask("/v1/embeddings", {"input": ["a cat", "a dog", "a sea"]})
        self.assertEqual((code, len(answer["data"])), (200, 3))


class SlotsTests(FleetCase):
    """No llama-server ever has more to do than it has slots."""

    async def test_forty_at_once(self) -> None:
        """40 requests on 2 x 2 slots: all 200, and no server ever had one deferred."""
        llamas = await self.fleet()
        deferred: list[float] = []
        busiest: list[float] = []

        async def look() -> None:
            for llama in llamas:
                metrics = await llama.metrics()
                deferred.append(metrics["requests_deferred"])
                busiest.append(metrics["requests_processing"])

        looking = LoopingCall(look)
        looked = looking.start(0.02)
        body = {"prompt": "the cat", "n_predict": 100}
        answers = await gatherResults(
            [Deferred.fromCoroutine(self.ask("/completion", body)) for _ in range(40)]
        )
        looking.stop()
        await looked
        self.assertEqual(Counter(code for code, _ in answers), {200: 40})
        self.assertEqual({answer["tokens_predicted"] for _, answer in answers}, {100})
        self.assertGreater(len(deferred), 10)
        self.assertEqual(max(deferred), 0)
        self.assertEqual(max(busiest), 2)
        await self.until_idle(4)

    async def test_servers_come_and_go(self) -> None:
        """A server is added and one is removed under load: every request is answered."""
        llama, other = await self.llama(), await self.llama()
        agent = await self.start_agent(llama, "first")
        await self.until_idle(2)
        body = {"prompt": "the cat", "n_predict": 200}
        asking = [Deferred.fromCoroutine(self.ask("/completion", body)) for _ in range(60)]
        await deferLater(reactor, 0.2)
        await self.start_agent(other, "second")
        await until(self.balancer_knows("second"))
        await agent.stopService()
        self.assertEqual([each["agent_name"] for each in await self.agents()], ["second"])
        answers = await gatherResults(asking)
        self.assertEqual(Counter(code for code, _ in answers), {200: 60})

    def balancer_knows(self, name: str) -> Any:
        """Whether an agent of that name is there."""

        async def known() -> bool:
            return name in [each["agent_name"] for each in await self.agents()]

        return known

    async def test_waiting_for_the_first_agent(self) -> None:
        """With no server at all requests wait; an agent's first report serves them at once."""
        body = {"prompt": "the cat", "n_predict": 2}
        asking = [Deferred.fromCoroutine(self.ask("/completion", body)) for _ in range(2)]
        llama = await self.llama()
        self.assertEqual((await self.health())["requests_waiting"], 2)
        await self.start_agent(llama, "late")
        reported = await until(self.balancer_knows("late"), every=0.005)
        self.assertTrue(reported)
        since = reactor.seconds()
        answers = await gatherResults(asking)
        self.assertEqual([code for code, _ in answers], [200, 200])
        self.assertLess(reactor.seconds() - since, 5)

    async def test_stopped_server(self) -> None:
        """A server that is killed is left out at its agent's next look, and taken in again."""
        llama, _ = await self.fleet()
        await llama.stop()
        await self.until_idle(2)
        states = {each["agent_name"]: each["state"] for each in await self.agents()}
        self.assertEqual(states, {"llama-0": "unreachable", "llama-1": "ready"})
        answers = [await self.ask("/completion", {"prompt": "a", "n_predict": 1}) for _ in range(8)]
        self.assertEqual({code for code, _ in answers}, {200})
        await llama.start()
        await self.until_idle(4)

    async def test_client_leaves(self) -> None:
        """A client that leaves a stream frees its slot in llama-server too."""
        llama = await self.llama(slots=1)
        await self.start_agent(llama, "one")
        await self.until_idle(1)
        client = await self.connect()
        client.send(post("/completion", {"prompt": "a", "n_predict": 3000, "stream": True}))
        await client.until(b"data: ")
        client.leave()
        code, _ = await self.ask("/completion", {"prompt": "a", "n_predict": 1})
        self.assertEqual(code, 200)
        self.assertEqual((await llama.metrics())["requests_processing"], 0)


class OddServersTests(FleetCase):
    """Servers that say less, or want more, than others."""

    async def agent(self) -> dict[str, Any]:
        """The only agent."""
        (agent,) = await self.agents()
        return agent

    def issues(self, agent: dict[str, Any]) -> list[str]:
        """Its issues' words."""
        return [each["issue"] for each in agent["issues"]]

    async def test_slots_disabled(self) -> None:
        """Without /slots the balancer's own count serves."""
        llama = await self.llama("--no-slots")
        await self.start_agent(llama, "one")
        await self.until_idle(2)
        self.assertEqual(self.issues(await self.agent()), ["slots_disabled"])
        body = {"prompt": "the cat", "n_predict": 50}
        answers = await gatherResults(
            [Deferred.fromCoroutine(self.ask("/completion", body)) for _ in range(6)]
        )
        self.assertEqual({code for code, _ in answers}, {200})
        self.assertEqual((await llama.metrics())["requests_deferred"], 0)

    async def test_api_key(self) -> None:
        """With its key an agent sees the slots; clients bring theirs."""
        llama = await self.llama("--api-key", "sesame")
        await self.start_agent(llama, "one", "--local-llamacpp-api-key=sesame")
        await self.until_idle(2)
        self.assertEqual(self.issues(await self.agent()), [])
        body = json.dumps({"prompt": "a", "n_predict": 1}).encode()
        self.assertEqual((await fetch(self.public, "/completion", body))[0], 401)
        key = {"Authorization": "Bearer sesame"}
        self.assertEqual((await fetch(self.public, "/completion", body, key))[0], 200)

    async def test_wrong_key(self) -> None:
        """A wrong key is an issue that everybody can see."""
        llama = await self.llama("--api-key", "sesame")
        await self.start_agent(llama, "one", "--local-llamacpp-api-key=wrong")

        async def shown() -> bool:
            agents = await self.agents()
            return bool(agents) and self.issues(agents[0]) == ["unauthorized"]

        await until(shown)

    async def test_sleeping_server(self) -> None:
        """A server that sleeps is left asleep, and woken by a request."""
        llama = await self.llama("--sleep-idle-seconds", "1")
        await self.start_agent(llama, "one")

        async def sleeps() -> bool:
            agents = await self.agents()
            return bool(agents) and agents[0]["state"] == "sleeping"

        await until(sleeps, within=15, what="sleep")
        code, _ = await self.ask("/completion", {"prompt": "a", "n_predict": 1})
        self.assertEqual(code, 200)

    async def test_server_that_starts_late(self) -> None:
        """An agent may be there before its server; a request that waits is served."""
        llama = RealLlama()
        self.addCleanup(llama.stop)
        await self.start_agent(llama, "one")

        async def unreachable() -> bool:
            agents = await self.agents()
            return bool(agents) and agents[0]["state"] == "unreachable"

        await until(unreachable)
        asking = Deferred.fromCoroutine(self.ask("/completion", {"prompt": "a", "n_predict": 1}))
        await llama.start(wait=False)
        self.assertEqual((await asking)[0], 200)

    async def test_foreign_work(self) -> None:
        """Slots that others keep busy are not given away."""
        llama = await self.llama()
        await self.start_agent(llama, "one")
        await self.until_idle(2)
        direct = fetch(llama.port, "/completion", b'{"prompt":"a","n_predict":4000}')

        async def seen() -> bool:
            return (await self.agent())["foreign_busy"] == 1

        await until(seen, within=6, what="the foreign request")
        self.assertEqual((await self.health())["slots_idle"], 1)
        direct.addErrback(lambda _: None)
        direct.cancel()


class RestartTests(FleetCase):
    """The balancer comes back."""

    async def test_agents_register_again(self) -> None:
        """After a restart agents are back by themselves, within two intervals and a bit."""
        await self.fleet()
        await self.balancer.stopService()
        await deferLater(reactor, 1.5)
        await self.start_balancer()
        since = reactor.seconds()
        await self.until_idle(4)
        self.assertLess(reactor.seconds() - since, 4)
