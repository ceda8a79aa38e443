"""A balancer with a dashboard, and a real Chromium to look at it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from paddler.values import Address, Report
from tests.browsing import FAR_HOST, Browser, one_browser, wait_for
from tests.llamas import RealLlama, fetch
from tests.proxying import post
from tests.test_real_balancer import FleetCase

__all__ = ["STREAM", "PageCase"]

#: A long answer, so that there is time to look.
STREAM = {"prompt": "the cat", "n_predict": 3900, "ignore_eos": True, "stream": True}


class PageCase(FleetCase):
    """A balancer with a dashboard, and a browser to look at it with."""

    timeout = 90
    #: What the console may complain of: a server that is away is no fault of the page.
    allowed: tuple[str, ...] = ()
    options: tuple[str, ...] = ("--management-dashboard-enable=true",)

    async def setUp(self) -> None:
        self.browser: Browser = await deferToThread(one_browser)
        await super().setUp()

    async def start_balancer(self, *arguments: str) -> Any:
        """Start a balancer with a dashboard."""
        started = await super().start_balancer(*self.options, *arguments)
        # Before the balancer stops, which the page would complain of.
        self.addCleanup(self.leave)
        return started

    async def leave(self) -> None:
        """Go away from the page; nothing was wrong in it, and it asked nobody but us."""
        await self.do(self.browser.open, "about:blank")
        found = await self.do(self.browser.problems)
        found = [said for said in found if not any(word in said for word in self.allowed)]
        self.assertEqual(found, [])
        asked: set[str] = await self.do(self.browser.asked)
        own = ("http://127.0.0.1:", f"http://{FAR_HOST}:", "about:", "chrome:", "data:")
        self.assertEqual([url for url in asked if not url.startswith(own)], [])

    def do(self, what: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Have the browser do something; it blocks, so that is done in a thread."""
        return deferToThread(what, *arguments)

    async def open(self, path: str = "/dashboard", port: int | None = None) -> None:
        """Go to the page."""
        await self.do(self.browser.open, f"http://127.0.0.1:{port or self.management}{path}")

    async def sees(self, selector: str, *words: str, within: float = 8.0) -> str:
        """Wait until all these words stand in an element; what stands there."""

        def look() -> str:
            text = " ".join(self.browser.text(selector).split())
            seen.append(text)
            return text if all(word in text for word in words) else ""

        seen: list[str] = []
        try:
            text: str = await self.do(wait_for, look, f"{words} in {selector}", within)
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {seen[-1]!r}") from None
        return text

    async def until(self, script: str, what: str, within: float = 8.0) -> Any:
        """Wait until this script of the page returns something true."""
        return await self.do(wait_for, lambda: self.browser.run(script), what, within)

    async def press(self, selector: str) -> None:
        """Click at something."""
        await self.do(lambda: self.browser.one(selector).click())

    async def type(self, selector: str, text: str) -> None:
        """Type into something."""
        await self.do(lambda: self.browser.one(selector).send_keys(text))

    async def report(self, name: str, slots: int = 2, **more: Any) -> None:
        """An agent without a server reports once, for a long time."""
        number = len(name) + slots * 1000
        report = Report(name, Address("127.0.0.1", number), 600.0, slots, slots_busy=0, **more)
        path = f"/api/v1/agent_status_update/id{number}"
        code, said = await fetch(self.management, path, report.to_json())
        self.assertEqual(code, 200, said)

    async def one(self, name: str = "gpu-1") -> RealLlama:
        """A llama-server of two slots with its agent."""
        llama = await self.llama()
        await self.start_agent(llama, name)
        return llama

    async def stream(self) -> Any:
        """A streamed answer that has begun."""
        client = await self.connect()
        client.send(post("/completion", STREAM))
        await client.until(b"data: ")
        return client
