"""Requests by their model, through the proxy to scripted servers."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from paddler.scheduling.routing import SETTLING
from paddler.values import Model
from tests.llamas import until
from tests.proxying import ProxyCase, TurnedClock, post

__all__ = ["ModelsTests"]

_GET = "GET {} HTTP/1.1\r\nHost: h\r\nOrigin: http://page\r\n\r\n"


class ModelsTests(ProxyCase):
    """A server with the model m, also called chat, and one with n."""

    buffer_size = 100
    clock: Clock

    def make_clock(self) -> Any:
        return TurnedClock()

    async def fleet(self) -> None:
        """Both are there, and all agents had the time to report."""
        details = (Model("m", ("chat",), meta={"n_ctx": 4096}),)
        self.m = await self.server(1, "m", models=("m", "chat"), model_details=details)
        self.n = await self.server(1, "n", models=("n",))
        self.clock.advance(SETTLING)

    async def asks(self, model: Any, path: str = "/v1/chat/completions") -> tuple[int, Any]:
        """Ask for a model; the status, and who answered or what was wrong."""
        body = {"messages": []} if model is None else {"messages": [], "model": model}
        code, headers, answer = await self.ask(post(path, body))
        return code, headers.get("x-paddler-agent") or json.loads(answer)["error"]

    async def test_to_its_model(self) -> None:
        """Each name goes to who serves it, whether or not it takes a slot."""
        await self.fleet()
        for path in ("/v1/chat/completions", "/v1/embeddings", "/tokenize"):
            for model, agent in (("m", "m"), ("chat", "m"), ("n", "n")):
                for _ in range(3):
                    self.assertEqual(await self.asks(model, path), (200, agent), path)
        agents = {(await self.asks(None))[1] for _ in range(30)}
        self.assertEqual(agents, {"m", "n"})

    async def test_not_found(self) -> None:
        """A name that nobody has ever served is refused, with those that are."""
        await self.fleet()
        for path in ("/v1/chat/completions", "/tokenize"):
            code, error = await self.asks("gpt-4", path)
            self.assertEqual((code, error["type"]), (404, "model_not_found"))
            message = "no server has the model 'gpt-4'; there is 'm', 'n'"
            self.assertEqual((error["message"], error["code"]), (message, 404))
        self.assertEqual((await self.ask(_GET.format("/props?model=x").encode()))[0], 404)

    async def test_refused_while_waiting(self) -> None:
        """One that came before any agent hears of it once all have reported."""
        client = await self.client()
        client.send(post("/completion", {"model": "x"}))
        await until(lambda: self.waiting() == 1)
        self.m = await self.server(1, "m", models=("m",))
        self.n = await self.server(1, "n", models=("n",))
        self.assertEqual(self.waiting(), 1)
        self.clock.advance(SETTLING)
        received = await client.until(b"model_not_found")
        self.assertTrue(received.startswith(b"HTTP/1.1 404 "))
        # The connection is as good as before.
        client.received = b""
        client.send(post("/completion", {"model": "n"}))
        self.assertIn(b"HTTP/1.1 200 ", await client.until(b"\r\n\r\n"))

    async def test_list(self) -> None:
        """One list of all, also while everything is busy, which a page of any origin may read."""
        await self.fleet()
        calls = [self.next_call(server) for server in (self.m, self.n)]
        asking = [Deferred.fromCoroutine(self.asks(model)) for model in ("m", "n")]
        running = [await call for call in calls]
        for path in ("/v1/models", "/models"):
            code, headers, body = await self.ask(_GET.format(path).encode())
            self.assertEqual((code, headers["content-type"]), (200, "application/json"))
            self.assertEqual(headers["access-control-allow-origin"], "http://page")
            data = json.loads(body)["data"]
            self.assertEqual([model["id"] for model in data], ["m", "n"])
            self.assertEqual((data[0]["aliases"], data[0]["meta"]), (["chat"], {"n_ctx": 4096}))
        for name, code in (("m", 200), ("chat", 200), ("x", 404)):
            answer = await self.ask(_GET.format(f"/v1/models/{name}").encode())
            self.assertEqual(answer[0], code)
        for call in running:
            call.answer(200, b"{}")
        self.assertEqual([await each for each in asking], [(200, "m"), (200, "n")])

    async def test_one_fleet_at_zero(self) -> None:
        """Fifty wait for a model whose servers are gone, the other's are served as if alone; then
        a server for the first joins, and all fifty are answered in order.
        """
        await self.fleet()
        await self.m.stop()
        self.admission.leave("m")
        order: list[int] = []

        async def wait_for_m(number: int) -> None:
            self.assertEqual(await self.asks("m"), (200, "late"))

        waiting = []
        for number in range(50):
            waiting.append(Deferred.fromCoroutine(wait_for_m(number)))
            waiting[-1].addCallback(lambda _, number=number: order.append(number))
            await until(lambda number=number: self.waiting() == number + 1)
        for _ in range(50):
            self.assertEqual(await self.asks("n"), (200, "n"))
            self.assertEqual(self.waiting(), 50)
        self.assertEqual(order, [])
        await self.server(1, "late", models=("m",))
        for each in waiting:
            await each
        self.assertEqual(order, list(range(50)))
