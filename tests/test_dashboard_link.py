"""The page's connection, when it is as bad as connections get."""

from __future__ import annotations

import re
import time

import msgspec
from twisted.internet.task import deferLater

from tests.paging import PretendedCase
from tests.pretending import pretended_agent
from tests.proxying import reactor

__all__ = ["LinkTests", "TabsTests"]

#: Has a page wait ten times shorter.
_FASTER = (
    "const late = setTimeout; window.setTimeout = (f, ms, ...more) => late(f, ms / 10, ...more);"
)
#: Has a page be hidden when the test says so: a headless browser shows all of them.
_HIDING = """
window.hide = hidden => {
  Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
};
"""


class LinkTests(PretendedCase):
    """One page."""

    allowed = ("502 (Bad Gateway)", "401 (Unauthorized)", "ERR_", "net::")

    async def test_silent_stream(self) -> None:
        """A stream that is open and says nothing is given up, although questions are answered."""
        await self.before_pages(_FASTER)
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("tbody tr", "gpu-01", "Ready")
        self.there.mute.add(b"stream")
        self.there.tell(pretended_agent(1, "", "unreachable", state="unreachable"))
        await self.sees("#say", "Connection lost")
        self.there.mute.clear()
        await self.sees("tbody tr", "gpu-01", "Unreachable")
        await self.sees("#live", "Live")

    async def test_comments(self) -> None:
        """A quiet fleet is no silence: a comment now and then keeps the connection."""
        await self.before_pages(_FASTER)
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("tbody tr", "gpu-01")
        for _ in range(8):
            await deferLater(reactor, 0.5)
            self.there.write(b":\n\n")
        self.assertEqual(self.there.asked.count("GET /api/v1/agents/stream"), 1)
        await self.sees("#live", "Live")

    async def test_silent_balancer(self) -> None:
        """A balancer that takes questions and never answers is lost within some seconds."""
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("tbody tr", "gpu-01")
        self.there.mute.update((b"buffered_requests", b"balancer", b"stream"))
        await self.sees("#say", "Connection lost")

    async def test_how_things_stood(self) -> None:
        """What is shown of a lost fleet is as old as the last word, also when nothing changed."""
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("tbody tr", "gpu-01")
        await deferLater(reactor, 2.5)
        quiet = time.strftime("%H:%M:%S", time.localtime(time.time() - 1.5))
        self.there.code = 502
        self.there.drop()
        told = await self.sees("#saymore", "Below is how things stood at")
        stood = re.findall(r"at (\d\d:\d\d:\d\d)\.", told)
        self.assertEqual([at for at in stood if at >= quiet], stood, (told, quiet))
        self.assertEqual(len(stood), 1)

    async def test_another_answers(self) -> None:
        """Where something else answers, a web server without its balancer, that is told."""
        self.there.code = 502
        await self.open()
        await self.sees("#say", "No connection, trying again in")
        health = f"curl http://127.0.0.1:{self.management}/health"
        await self.sees("#saymore", "Its address answers with 502 Bad Gateway;", health)

    async def test_split_anywhere(self) -> None:
        """Events come in pieces, with any line ends, letters cut in two among them."""
        await self.open()
        await self.sees("#live", "Live")
        agent = pretended_agent(1, "\u00fcber-\U0001f9e0")
        data = msgspec.json.encode({"changed": [agent], "left": []})
        for byte in b"event: changed\r\ndata: " + data + b"\r\n\r\n:\r\n\r\n":
            self.there.write(bytes((byte,)))
            await deferLater(reactor, 0)
        await self.sees("tbody tr", "\u00fcber-\U0001f9e0", "Ready")
        await self.sees("#live", "Live")

    async def test_other_clocks(self) -> None:
        """Times are the balancer's, however wrong this clock is, and also once one is set."""

        def hold(ahead: float) -> None:
            self.there.ahead, until = ahead, time.time() + ahead + 40
            state = {"state": "quarantined", "quarantined_until": until}
            self.there.tell(pretended_agent(1, "", "quarantined", **state))

        for ahead in (3600.0, -86400.0):
            hold(ahead)
            await self.open()
            told = await self.sees("tbody tr", "Quarantined", "back in")
            left = int(re.findall(r"back in (\d+) s", told)[0])
            self.assertTrue(30 < left <= 41, told)
        hold(7200.0)
        row = "document.querySelector('tbody').innerText"
        await self.until(f"return /back in (3\\d|40) s/.test({row})", "the new time")

    async def test_another_version(self) -> None:
        """A balancer of another version has another page: it is loaded, once."""
        await self.before_pages(_FASTER)
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("#foot", "paddler 1.0.0")
        await self.do(self.browser.run, "window.old = true")
        self.there.balancer["version"] = "1.1.0"
        await self.until("return !window.old", "another page")
        await self.sees("#foot", "paddler 1.1.0")
        await self.sees("tbody tr", "gpu-01")
        for version in ("1.0.0", "1.1.0"):
            self.there.balancer["version"] = version
            await self.sees("#foot", f"paddler {version}")
        await self.do(self.browser.run, "window.old = true")
        self.there.balancer["version"] = "1.0.0"
        await self.sees("#foot", "paddler 1.0.0")
        self.assertTrue(await self.do(self.browser.run, "return window.old"))
        await self.do(self.browser.run, "sessionStorage.clear()")

    async def test_token_changes(self) -> None:
        """A token that is taken no more is asked for anew; what was known is hidden till then."""
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("tbody tr", "gpu-01")
        await self.press("tbody .act")
        await self.until("return document.querySelector('#ask').open", "a dialog")
        self.there.code = 401
        self.there.drop()
        await self.sees("#say", "This balancer asks for its token.", within=15)
        shown = "['#ask', '#list'].map(s => document.querySelector(s).checkVisibility())"
        self.assertEqual(await self.until(f"return {shown}", "what is shown"), [False, False])
        focus = await self.until("return document.activeElement.id", "focus")
        self.assertEqual(focus, "tokenin")
        self.there.code = 200
        await self.type("#tokenin", "another\ue007")
        await self.sees("tbody tr", "gpu-01", "Ready")
        value = await self.do(self.browser.run, "return document.querySelector('#tokenin').value")
        self.assertEqual(value, "")
        await self.do(self.browser.run, "sessionStorage.clear()")


class TabsTests(PretendedCase):
    """Several pages, and hidden ones."""

    async def test_many_tabs(self) -> None:
        """Five pages of one browser do not take each other's connections away."""
        self.there.tell(pretended_agent(1))
        await self.open()

        def look() -> list[str]:
            driver = self.browser.driver
            first, found = driver.current_window_handle, []
            for _ in range(4):
                driver.switch_to.new_window("tab")
                driver.get(f"http://127.0.0.1:{self.management}/dashboard")
            # Long enough for a question that had to wait for a connection to be given up.
            time.sleep(7)
            for handle in driver.window_handles:
                driver.switch_to.window(handle)
                found.append(self.browser.text("#live"))
                if handle != first:
                    driver.close()
            driver.switch_to.window(first)
            return found

        self.assertEqual(await self.do(look), ["Live"] * 5)

    async def test_hidden(self) -> None:
        """A hidden page follows no stream and draws nothing; its title stays true."""
        await self.before_pages(_FASTER + _HIDING)
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("tbody tr", "0 / 4")
        self.assertEqual(len(self.there.watching[b"agents"]), 1)
        await self.do(self.browser.run, "hide(true)")
        busy = pretended_agent(1, in_flight=3, slots_processing=3)
        self.there.tell(busy)
        await self.until("return document.title === '3/4 busy \u2013 paddler'", "the title")
        self.assertEqual(self.there.watching[b"agents"], [])
        self.assertIn("0 / 4", await self.do(self.browser.text, "tbody tr"))
        await self.do(self.browser.run, "hide(false)")
        await self.sees("tbody tr", "3 / 4")
        await self.sees("#live", "Live")
        self.assertEqual(len(self.there.watching[b"agents"]), 1)
