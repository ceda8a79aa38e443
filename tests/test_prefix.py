"""Chats through the proxy to scripted servers, balanced by what each has of them."""

from __future__ import annotations

import json
from functools import partial
from os.path import commonprefix
from typing import Any

from twisted.internet.task import deferLater

from paddler.balancer.accounts import Finished, Ledger
from paddler.balancer.exchanges import Ways
from paddler.balancer.metrics import MetricsText
from paddler.balancer.readings import decisions_json
from paddler.balancer.tallies import Tallies
from paddler.facts import Facts
from paddler.scheduling.policies import Prefix
from paddler.scheduling.toll import Toll
from paddler.scheduling.trust import Fault
from paddler.scheduling.views import PromptsView
from paddler.testing import Call
from tests.llamas import until
from tests.proxying import ProxyCase, post, reactor

__all__ = ["PrefixTests"]

CHAT = "/v1/chat/completions"


class _Told:
    """Keeps what ended."""

    def __init__(self) -> None:
        self.ended: list[Finished] = []
        #: It makes a mistake.
        self.fails = False

    def finished(self, request: Finished) -> None:
        """See `Ledger`."""
        self.ended.append(request)
        if self.fails:
            raise ZeroDivisionError

    def retried(self, reason: Fault) -> None:
        """See `Ledger`."""


def said(evaluated: int, cached: int) -> dict[str, Any]:
    """What an answer says of its prompt."""
    timings = {"cache_n": cached, "prompt_n": evaluated, "prompt_per_second": 900.0}
    return {"timings": {**timings, "predicted_n": 5, "predicted_per_second": 30.0}}


class PrefixTests(ProxyCase):
    """Three servers with two slots each."""

    ways = Ways(prompts=True)
    policy = Prefix()

    async def setUp(self) -> None:
        told = _Told()
        self.ledger: Ledger = told
        self.told = told
        self.ended = told.ended
        await super().setUp()
        for name in "abc":
            server = await self.server(2, name)
            server.on_request = partial(self.answer, [])

    def answer(self, seen: list[bytes], call: Call) -> None:
        """As a server would that keeps all it has seen."""
        cached = max((len(commonprefix([call.body, other])) for other in seen), default=0) // 4
        seen.append(call.body)
        evaluated = len(call.body) // 4 - cached
        call.answer(200, json.dumps({"choices": [], **said(evaluated, cached)}).encode())

    @property
    def toll(self) -> Toll:
        """What grants."""
        granting = self.scheduler._granting
        assert isinstance(granting, Toll)
        return granting

    async def turn(self, messages: list[str], path: str = CHAT, *headers: str) -> str:
        """Have a turn of a chat; who answered."""
        body = {"messages": [{"role": "user", "content": text} for text in messages]}
        code, answered, _ = await self.ask(post(path, body, *headers))
        self.assertEqual(code, 200)
        return answered["x-paddler-agent"]

    async def test_chats_stay(self) -> None:
        """Each chat goes on where it began, and they began everywhere."""
        chats = [[f"chat {n} " * 100] for n in range(12)]
        began = [await self.turn(chat) for chat in chats]
        for turn in range(3):
            for chat, where in zip(chats, began, strict=True):
                chat += [f"answer {turn} " * 20, f"question {turn} " * 20]
                self.assertEqual(await self.turn(chat), where)
        self.assertEqual(set(began), set("abc"))

    async def test_session(self) -> None:
        """A header that names a session is enough."""
        header = "X-Session-Id: mine"
        where = {await self.turn([f"{n} other text " * 40], CHAT, header) for n in range(8)}
        self.assertEqual(len(where), 1)

    async def test_facts(self) -> None:
        """What answers say is told on, and the speed of each server is learnt."""
        where = await self.turn(["some words " * 100])
        self.assertEqual(await self.turn(["some words " * 100, "more"]), where)
        facts = self.ended[-1].facts
        assert facts is not None
        self.assertGreater(facts.cached, 250)
        self.assertEqual(facts.answered, 5)
        self.assertEqual(self.ended[-1].agent, where)
        upstream = next(u for u in self.scheduler._fleet.upstreams if u.name == where)
        self.assertEqual(self.toll.paces.of(upstream).speed, 900.0)

    async def test_stream(self) -> None:
        """A stream's last event is read, and its first says that the prompt is evaluated."""
        server = await self.server(9, "d")
        came = self.next_call(server)
        client = await self.client()
        body = {"messages": [{"content": "some words " * 100}], "stream": True}
        client.send(post(CHAT, body, "X-Session-Id: x"))
        call = await came
        upstream = next(u for u in self.scheduler._fleet.upstreams if u.name == "d")
        self.assertEqual(self.toll.paces.of(upstream).unanswered, 1)
        call.start_stream()
        call.chunk(b"data: {}\n\n")
        await until(lambda: not self.toll.paces.of(upstream).unanswered)
        for _ in range(300):
            call.chunk(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
        event = json.dumps({"choices": [], **said(70, 30)}).encode()
        call.chunk(b"data: " + event[:40])
        await deferLater(reactor, 0)
        call.chunk(event[40:] + b"\n\n")
        call.chunk(b"data: [DONE]\n\n")
        call.chunk(b"")
        await until(lambda: self.ended)
        self.assertEqual(self.ended[-1].facts, Facts(30, 70, 5, 900.0, 30.0))

    async def test_while_a_prompt_is_evaluated(self) -> None:
        """What a server says meanwhile does not pass for the first token."""
        server = await self.server(9, "d")
        upstream = next(u for u in self.scheduler._fleet.upstreams if u.name == "d")
        pace = self.toll.paces.of(upstream)
        progress = b'data: {"choices":[],"prompt_progress":{"total":9}}\n\n'
        begun = progress[:30]
        for n, first in enumerate((b": ping\n\n", b":", progress, progress * 3, begun)):
            came = self.next_call(server)
            client = await self.client()
            body = {"messages": [{"content": f"{n} words " * 100}], "stream": True}
            client.send(post(CHAT, body))
            call = await came
            call.start_stream()
            call.chunk(first)
            await client.until(first)
            self.assertEqual(pace.unanswered, 1, first)
            self.assertGreater(pace.pending, 0.0)
            call.chunk(b"\n\ndata: {}\n\n")
            await until(lambda: not pace.unanswered)
            call.chunk(b"")
            await until(lambda n=n: len(self.ended) > n)
        self.assertGreater(self.toll.heads.kept(upstream)[0], 800)

    async def test_own_mistakes(self) -> None:
        """What goes wrong in what is learnt, or noted, of a request keeps nothing of it here."""
        toll: Any = self.toll
        for mistake in ("learnt", "noted"):
            if mistake == "learnt":
                toll.served = lambda *args: 1 / 0
            else:
                del toll.served
                self.told.fails = True
            await self.turn(["some words " * 100])
            await until(lambda: not self.proxy._under_way, what=mistake)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.admission.fleet().slots_processing, 0)

    async def test_error(self) -> None:
        """An error says nothing of any prompt."""

        def wrong(call: Call) -> None:
            call.answer(400, json.dumps(said(1, 2)).encode())

        server = await self.server(9, "d")
        server.on_request = wrong
        code, _, _ = await self.ask(post(CHAT, {"messages": [{"content": "words " * 99}]}))
        self.assertEqual((code, self.ended[-1].facts), (400, None))

    async def test_decisions(self) -> None:
        """Why each went where it went is told, the newest first, and no more than the last."""
        chat = ["some words " * 100]
        await self.turn(chat, CHAT, "X-Request-Id: first")
        await self.turn([*chat, "more"], CHAT, "X-Request-Id: second")
        await self.ask(post("/v1/embeddings", {"input": "x"}))
        told = json.loads(decisions_json(self.admission))["decisions"]
        self.assertEqual(
            [(each["request_id"], each["why"]) for each in told],
            [(told[0]["request_id"], "idle"), ("second", "prefix"), ("first", "new")],
        )
        self.assertEqual(told[1]["agent"], told[2]["agent"])
        self.assertGreater(told[1]["cached_tokens"], 200)

    async def test_metrics(self) -> None:
        """What was cached is counted, and how fast each server is; of others nothing is known."""
        tallies = Tallies(self.admission.states)
        self.proxy.ledger = tallies
        chat = ["some words " * 100]
        where = await self.turn(chat)
        await self.turn([*chat, "more"])
        cached, evaluated = tallies.prompts[where][::-1]
        text = (await MetricsText(reactor, self.admission, tallies).get()).decode()
        for line in (
            f'paddler_prompt_tokens_total{{agent="{where}",source="cached"}} {float(cached)}',
            f'paddler_prompt_tokens_total{{agent="{where}",source="evaluated"}} {float(evaluated)}',
            f'paddler_prompt_tokens_per_second{{agent="{where}"}} 900.0',
            f'paddler_answer_tokens_per_second{{agent="{where}"}} 30.0',
        ):
            self.assertIn(line + "\n", text)
        self.assertGreater(cached, 200)
        views = {view.agent_name: view.prompts for view in self.admission.agents()}
        self.assertEqual(views.pop(where), PromptsView(cached + evaluated, cached, 900.0, 30.0))
        self.assertEqual(list(views.values()), [PromptsView(0, 0, None, None)] * 2)
