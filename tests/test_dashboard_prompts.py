"""What the page shows of prompts, and why requests went where they went."""

from __future__ import annotations

import json
import time
from typing import Any

from selenium.webdriver import ActionChains
from twisted.internet.task import deferLater

from paddler.scheduling.views import PromptsView
from tests.llamas import fetch
from tests.paging import PageCase
from tests.pretending import pretended_agent
from tests.proxying import reactor
from tests.test_dashboard_looks import COVERED, STICKS_OUT, LooksCase

__all__ = ["IdleTests", "PromptsTests", "WhyTests"]

#: Which of these are seen.
_SEEN = """
return ['.six', '.pr', '.sp', '#as-why', '.why', '.tile:nth-child(6)'].filter(
  selector => document.querySelector(selector)?.checkVisibility());
"""


#: Has a page be before a pointer that rests on things, which a headless browser has not.
_POINTER = """
const real = matchMedia;
window.matchMedia = what => (what === '(hover: hover)' ? { matches: true } : real(what));
"""


def decision(number: int, **given: Any) -> dict[str, Any]:
    """Why a request went where it went, as the API tells it."""
    return {
        "at": time.time() - number,
        "request_id": f"r{number}",
        "model": "tiny",
        "agent": "gpu-01",
        "why": "prefix",
        "reason": "Nobody had more of its prompt. It cost 1.0 s there, and 2.0 s at the next best.",
        "waited_seconds": 0.0,
        "prompt_tokens": 1000,
        "cached_tokens": 970,
        "most_cached_tokens": 970,
        "cost_seconds": 1.0,
        "next_agent": "gpu-02",
        "next_cost_seconds": 2.0,
        **given,
    }


class PromptsTests(PageCase):
    """A real balancer that goes by prompts, before a real llama-server."""

    options = ("--management-dashboard-enable=true", "--balancing=prefix")

    async def chat(self, *turns: str) -> None:
        """Have a chat answered."""
        messages = [{"role": "user", "content": turn} for turn in turns]
        body = {"messages": messages, "max_tokens": 8, "id_slot": -1}
        path = "/v1/chat/completions"
        code, _ = await fetch(self.public, path, json.dumps(body).encode())
        self.assertEqual(code, 200)

    async def test_unknown(self) -> None:
        """Before any answer nothing is known, and that is what it says."""
        await self.report("gpu-1")
        await self.open()
        row = await self.sees("tbody tr", "gpu-1", "unknown")
        self.assertNotIn("%", row)
        cells = await self.do(self.browser.texts, "tbody .pr")
        self.assertEqual(cells, ["unknown", "unknown"])
        await self.sees(".tile:nth-child(6)", "Cached", "unknown", "no prompt in 15 min")
        await self.press("#as-map")
        await self.do(self.browser.run, "document.querySelector('.t').focus()")
        told = "Cached: unknown of prompt tokens. Prompts: unknown. Answers: unknown."
        await self.sees(".inspect", told)
        await self.press("#as-why")
        await self.sees("#list", "No request has come yet.")

    async def test_known(self) -> None:
        """What was cached, how fast it was, and why, as the API has it."""
        await self.one()
        await self.open()
        await self.sees("tbody tr", "gpu-1", "unknown")
        await self.chat("the cat sat on the mat " * 90)
        await self.chat("the cat sat on the mat " * 90, "and then")
        (agent,) = await self.agents()
        prompts = agent["prompts"]
        self.assertGreater(prompts["cached"], 300)
        share = f"{100 * prompts['cached'] / prompts['tokens']:.0f} %"
        await self.sees("tbody tr", share)
        _, speeds = await self.do(self.browser.texts, "tbody .pr")

        def shown(speed: float) -> str:
            return f"{speed:.1f}" if speed < 9.95 else f"{speed:,.0f}"

        told = prompts["tokens_per_second"], prompts["answer_tokens_per_second"]
        self.assertEqual(speeds, " / ".join(map(shown, told)))
        await self.sees(".tile:nth-child(6)", "Cached", share, "of prompts", within=12)
        await self.press("#as-why")
        await self.sees(".why tbody tr:nth-child(1)", "gpu-1", "Nobody had more of its prompt.")
        await self.sees(".why tbody tr:nth-child(2)", "0 %", "no other server could take it")
        await self.sees("#listed", "Last requests")
        await self.press("#as-rows")
        await self.sees("tbody tr", "gpu-1", "Ready")
        await self.sees("#listed", "Agents")


class IdleTests(PageCase):
    """A balancer that looks at no prompts."""

    options = ("--management-dashboard-enable=true", "--balancing=idle-slots")

    async def test_nothing(self) -> None:
        """Nothing of all this is there, at any width, and nobody asks for decisions."""
        await self.report("gpu-1")
        for width in (1440, 390):
            await self.do(self.browser.resize, width, 900)
            self.addCleanup(self.do, self.browser.resize, 1440, 920)
            await self.open()
            await self.sees("tbody tr", "gpu-1", "Ready")
            self.assertEqual(await self.do(self.browser.run, _SEEN), [])
            self.assertEqual(len(await self.do(self.browser.texts, ".tile:not([hidden])")), 5)
            asked = await self.do(self.browser.asked)
            self.assertEqual([url for url in asked if "decisions" in url], [])


class WhyTests(LooksCase):
    """Made-up decisions."""

    allowed = ("ERR_", "502 (Bad Gateway)")

    @property
    def asked(self) -> int:
        """How often decisions were asked for."""
        return self.there.asked.count("GET /api/v1/decisions")

    async def point(self, selector: str) -> None:
        """Rest the pointer on something."""
        one = self.browser.one
        await self.do(
            lambda: ActionChains(self.browser.driver).move_to_element(one(selector)).perform()
        )

    async def look(self, *decisions: dict[str, Any], words: str = "gpu-01") -> None:
        """Open the page and look at them."""
        self.there.decisions = list(decisions)
        for number in (1, 2):
            prompts = PromptsView(1000, 500, 812.3, 24.1)
            self.there.tell(pretended_agent(number, prompts=prompts))
        await self.open()
        await self.sees("tbody tr", "50 %")
        # On a phone a finger would have to find it first.
        await self.do(self.browser.run, "document.querySelector('#as-why').click()")
        await self.sees(".why", words)

    async def test_only_while_looked_at(self) -> None:
        """They are asked for at once, again while the view is open, and else never."""
        self.there.tell(pretended_agent(1, prompts=PromptsView(0, 0, None, None)))
        await self.open()
        await self.sees("tbody tr", "unknown")
        await deferLater(reactor, 2.5)
        self.assertEqual(self.asked, 0)
        await self.press("#as-why")
        await self.sees("#list", "No request has come yet.")
        self.there.decisions = [decision(1)]
        await self.sees(".why", "gpu-01", "97 %", "gpu-02", "Nobody had more of its prompt.")
        await self.press("#as-rows")
        await self.sees("tbody tr", "Ready")
        before = self.asked
        await deferLater(reactor, 4.5)
        self.assertLessEqual(self.asked, before + 1)

    async def test_filter(self) -> None:
        """The filter finds agents, models and requests; what is unknown is said to be."""
        await self.look(
            decision(1),
            decision(2, agent="gpu-02", model=None, next_agent=None, prompt_tokens=0),
        )
        await self.sees(".why tbody tr:nth-child(2)", "gpu-02", "unknown")
        await self.type("body", "/")
        await self.type("#find", "gpu-02")
        await self.until("return document.querySelectorAll('.why tbody tr').length === 1", "one")
        await self.do(self.browser.run, "document.querySelector('#find').value = ''")
        await self.type("#find", "nobody")
        await self.sees("#list", "No request matches. Clear the filter to see all.")
        await self.type("#find", "\ue00c")
        await self.until("return document.querySelectorAll('.why tbody tr').length === 2", "both")

    async def test_newest_first(self) -> None:
        """A new one comes on top; what is pointed at stays where it is meanwhile."""
        await self.before_pages(_POINTER)
        await self.look(decision(5), words="Nobody")
        first = "return document.querySelector('.why tbody tr .when').title"
        self.there.decisions.insert(0, decision(4))
        await self.until(f"{first} === 'request r4'", "the new one")
        await self.point(".why tbody .reason")
        self.there.decisions.insert(0, decision(3))
        asked = self.asked
        await deferLater(reactor, 4.5)
        self.assertGreater(self.asked, asked)
        self.assertEqual(await self.do(self.browser.run, first), "request r4")
        await self.point("#say")
        await self.until(f"{first} === 'request r3'", "the newest")

    async def test_hostile(self) -> None:
        """Names of any length and kind stay text, and nothing sticks out at any width."""
        names = ("<img src=x onerror=document.title='owned'>", "\u202egnp.reversed", "W" * 128)
        await self.look(
            *(decision(n, agent=name, model=name, next_agent=name) for n, name in enumerate(names)),
            words="<img src=x",
        )
        self.assertEqual(await self.do(self.browser.run, "return document.images.length"), 0)
        for width in (1440, 1000, 720, 390, 320):
            await self.resize(width)
            await self.look(*self.there.decisions, words="<img src=x")
            for script in (STICKS_OUT, COVERED):
                self.assertEqual(await self.do(self.browser.run, script), [], width)
        style = "return getComputedStyle(document.querySelector('.why .name')).unicodeBidi"
        self.assertEqual(await self.do(self.browser.run, style), "isolate")

    async def test_restarted(self) -> None:
        """A balancer that is lost and comes back without prompts to go by shows its agents."""
        await self.look(decision(1))
        self.there.code = 502
        self.there.drop()
        await self.sees("#say", "Connection lost")
        await self.sees(".why", "gpu-01")
        self.there.code = 200
        self.there.agents = {"id1": pretended_agent(1)}
        await self.sees("tbody tr", "gpu-01", "Ready")
        self.assertEqual(await self.do(self.browser.run, _SEEN), [])

    async def test_silent(self) -> None:
        """Where the question is never answered, nobody is there; the view stays what it was."""
        await self.look(decision(1))
        self.there.mute.add(b"decisions")
        await self.sees("#say", "Connection lost", within=12)
        self.there.mute.clear()
        self.there.decisions = [decision(0, agent="gpu-02")]
        await self.sees(".why tbody", "gpu-02", within=12)
        await self.sees("#live", "Live")

    async def test_hidden(self) -> None:
        """A hidden page asks for none."""
        await self.before_pages(
            "window.hide = hidden => {"
            "Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange')); };"
        )
        await self.look(decision(1))
        await self.do(self.browser.run, "hide(true)")
        await deferLater(reactor, 0.5)
        before = self.asked
        await deferLater(reactor, 3)
        self.assertEqual(self.asked, before)
        self.there.decisions = [decision(0, agent="gpu-02")]
        await self.do(self.browser.run, "hide(false)")
        await self.sees(".why tbody", "gpu-02")

    async def test_for_readers(self) -> None:
        """It is a table with heads at any width, and each button has a name of its own."""
        for width in (1440, 390):
            await self.resize(width)
            await self.look(decision(1), decision(2, prompt_tokens=0))
            tree = await self.tree()
            self.assertEqual([role for role, _ in tree].count("row"), 3 if width > 390 else 2)
            self.assertIn(("cell", "gpu-01"), tree)
            buttons = [name for role, name in tree if role == "button"]
            self.assertEqual(sorted(set(buttons)), sorted(buttons))
            self.assertIn("Why", buttons)

    async def test_colours(self) -> None:
        """With a system's colours alone it is seen which view is shown."""
        await self.emulate(forced_colors="active")
        await self.look(decision(1))
        style = "return getComputedStyle(document.querySelector('#as-%s')).backgroundColor"
        rows, why = [await self.do(self.browser.run, style % view) for view in ("rows", "why")]
        self.assertNotEqual(rows, why)
