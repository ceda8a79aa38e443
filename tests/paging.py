"""A balancer with a dashboard, and a real Chromium to look at it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from paddler.values import Address, Report
from tests.browsing import FAR_HOST, Browser, one_browser, wait_for
from tests.llamas import RealLlama, fetch
from tests.pretending import Pretended
from tests.proxying import post, reactor
from tests.test_real_balancer import FleetCase

__all__ = ["STREAM", "BrowserCase", "PageCase", "PretendedCase", "close"]

#: A long answer, so that there is time to look.
STREAM = {"prompt": "the cat", "n_predict": 3900, "ignore_eos": True, "stream": True}


async def close(listening: Any, served: WrappingFactory) -> None:
    """End a server, and what connections the browser keeps to it."""
    await listening.stopListening()
    for connection in tuple(served.protocols):
        connection.transport.abortConnection()
    # Connections are lost in the reactor's next turn.
    await deferLater(reactor, 0)


class BrowserCase(TestCase):
    """A browser that looks at the page of a management server."""

    timeout = 90
    #: What the console may complain of: a server that is away is no fault of the page.
    allowed: tuple[str, ...] = ()
    browser: Browser
    management: int

    async def get_browser(self) -> None:
        """Have one."""
        self.browser = await deferToThread(one_browser)

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

    async def before_pages(self, script: str) -> None:
        """Run this in each page of this test before its own scripts."""
        self.addCleanup(self.do, await self.do(self.browser.before_pages, script))

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
        """Click at something, as soon as nothing is in front of it."""
        await self.do(wait_for, lambda: self.browser.click(selector), f"a click at {selector}")

    async def type(self, selector: str, text: str) -> None:
        """Type into something."""
        await self.do(lambda: self.browser.one(selector).send_keys(text))


class PageCase(BrowserCase, FleetCase):
    """A balancer with a dashboard, and a browser to look at it with."""

    options: tuple[str, ...] = ("--management-dashboard-enable=true",)

    async def setUp(self) -> None:
        await self.get_browser()
        await super().setUp()

    async def start_balancer(self, *arguments: str) -> Any:
        """Start a balancer with a dashboard."""
        started = await super().start_balancer(*self.options, *arguments)
        # Before the balancer stops, which the page would complain of.
        self.addCleanup(self.leave)
        return started

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


class PretendedCase(BrowserCase):
    """A page before a management server that says what a test tells it to."""

    async def setUp(self) -> None:
        await self.get_browser()
        self.there = Pretended()
        served = WrappingFactory(Site(self.there))
        listening = reactor.listenTCP(0, served, interface="127.0.0.1")
        self.management = listening.getHost().port
        self.addCleanup(close, listening, served)
        self.addCleanup(self.leave)
