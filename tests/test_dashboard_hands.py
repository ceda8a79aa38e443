"""The page in people's hands: keys, focus, fingers, and what a screen reader is told."""

from __future__ import annotations

from typing import Any

from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.interaction import POINTER_TOUCH
from selenium.webdriver.common.actions.pointer_input import PointerInput

from paddler.scheduling.views import AgentView
from tests.paging import PretendedCase
from tests.pretending import pretended_agent

__all__ = ["DrainTests", "FingerTests", "FocusTests"]

_ESCAPE, _TAB, _ENTER, _RIGHT = "\ue00c", "\ue004", "\ue007", "\ue014"


def troubled(number: int, issue: str, **more: Any) -> AgentView:
    """An agent that nothing is sent to."""
    return pretended_agent(number, "", issue, state="unreachable", slots_idle=0, **more)


class FocusTests(PretendedCase):
    """Where the focus is stays under the hand, whatever comes and goes."""

    async def focus(self) -> str:
        """The name of what has the focus."""
        script = "const e = document.activeElement; return e.ariaLabel || e.innerText || e.id"
        return str(await self.do(self.browser.run, script))

    async def test_map(self) -> None:
        """Squares before it come and go; the arrow keys go on from where they were."""
        self.there.tell(*[pretended_agent(n) for n in range(2, 7)])
        await self.open()
        await self.sees("tbody tr", "gpu-02")
        await self.press("#as-map")
        await self.until(
            "return document.querySelectorAll('.t[aria-label]').length === 5", "5 squares"
        )
        await self.do(self.browser.run, "document.querySelectorAll('.t')[2].focus()")
        self.assertEqual(await self.focus(), "gpu-04, Ready, 0 of 4 busy")
        self.there.tell(left=["id2"])
        await self.until("return document.querySelectorAll('.t').length === 4", "4 squares")
        self.assertEqual(await self.focus(), "gpu-04, Ready, 0 of 4 busy")
        self.there.tell(pretended_agent(1), pretended_agent(3, models=("a",)))
        await self.until("return document.querySelectorAll('.grp').length === 2", "2 groups")
        self.assertEqual(await self.focus(), "gpu-04, Ready, 0 of 4 busy")
        await self.type(".t:focus", _RIGHT)
        self.assertEqual(await self.focus(), "gpu-05, Ready, 0 of 4 busy")
        await self.do(self.browser.run, "document.querySelectorAll('.t')[0].focus()")
        stops = "return document.querySelectorAll('.t[tabindex=\"0\"]').length"
        self.assertEqual(await self.until(stops, "a tab stop"), 1)

    async def test_rows(self) -> None:
        """Rows are put in order anew around the one that is used; if it leaves, not to the top."""
        self.there.tell(*[pretended_agent(n) for n in range(1, 6)])
        await self.open()
        await self.sees("tbody tr:nth-child(5)", "gpu-05")
        await self.type("tbody tr:nth-child(4) .act", _TAB)
        self.assertEqual(await self.focus(), "Drain gpu-05")
        self.there.tell(left=["id1", "id3"])
        self.there.tell(troubled(4, "unreachable"))
        await self.sees("tbody tr:nth-child(2)", "gpu-04", "Unreachable")
        self.assertEqual(await self.focus(), "Drain gpu-05")
        await self.type("#find", "gpu")
        await self.sees("tbody tr:nth-child(1)", "gpu-04")
        await self.type("tbody tr:nth-child(2) .act", _TAB)
        self.assertEqual(await self.focus(), "Drain gpu-05")
        self.there.tell(left=["id5"])
        await self.until("return document.querySelectorAll('tbody tr').length === 2", "2 rows")
        at = await self.do(self.browser.run, "return document.activeElement.id")
        self.assertEqual(at, "agents")

    async def test_clicked(self) -> None:
        """A click leaves the focus in the table, and no hand: rows move again."""
        self.there.tell(*[pretended_agent(n) for n in range(1, 4)])
        await self.open()
        await self.sees("tbody tr:nth-child(3)", "gpu-03")
        await self.press("tbody .act")
        await self.press("#asknot")
        await self.press("#say")
        await self.do(self.browser.run, "document.querySelector('tbody .act').focus()")
        self.there.tell(troubled(3, "unreachable"))
        await self.sees("tbody tr:nth-child(1)", "gpu-03")
        self.assertEqual(await self.focus(), "Drain gpu-01")

    async def test_attention(self) -> None:
        """A button of one trouble stays in use while others come before it and go."""
        self.there.tell(pretended_agent(1), troubled(5, "no_slots"), troubled(6, "no_slots"))
        await self.open()
        await self.sees("#attention", "no slots (2 agents)", "gpu-05, gpu-06")
        for selector in (".issue .who span + span button", ".issue .cmd button"):
            await self.do(
                self.browser.run, "document.querySelector(arguments[0]).focus()", selector
            )
            before = await self.focus()
            others = [troubled(n, "unauthorized") for n in (2, 3, 4)]
            self.there.tell(*others)
            await self.sees("#attention .issue", "wants a key (3 agents)")
            self.assertEqual(await self.focus(), before)
            self.there.tell(troubled(5, "unauthorized"))
            await self.sees("#attention .issue", "wants a key (4 agents)", "and 1 more")
            self.there.tell(*[pretended_agent(n) for n in (2, 3, 4)], troubled(5, "no_slots"))
            await self.sees("#attention .issue", "no slots (2 agents)")
            self.assertEqual(await self.focus(), before)

    async def test_picking(self) -> None:
        """A name in a trouble shows its agent alone; Escape, wherever one is, shows all."""
        self.there.tell(troubled(1, "no_slots"), pretended_agent(2), pretended_agent(3))
        await self.open()
        await self.sees("#attention", "gpu-01")
        await self.press(".issue .who button")
        await self.until("return document.querySelectorAll('tbody tr').length === 1", "1 row")
        await self.type("body", _ESCAPE)
        await self.until("return document.querySelectorAll('tbody tr').length === 3", "3 rows")

    async def test_keys_alone(self) -> None:
        """From the top of the page an agent can be drained with keys alone."""
        self.there.tell(pretended_agent(1), pretended_agent(2))
        await self.open()
        await self.sees("tbody tr", "gpu-01")
        await self.type("body", _TAB)
        self.assertEqual(await self.focus(), "Skip to the agents")
        await self.type(".skip", _ENTER)
        await self.until("return document.activeElement.id === 'agents'", "the agents")
        found = []
        for _ in range(12):
            await self.type(":focus", _TAB)
            found.append(await self.focus())
            if found[-1] == "Drain gpu-02":
                break
        self.assertEqual(
            found,
            ["All 2", "Ready 2", "find", "Rows", "Map", "Drain gpu-01", "Drain gpu-02"],
        )
        await self.type(":focus", _ENTER)
        await self.sees("#ask", "Drain gpu-02?")
        await self.type(":focus", _TAB)
        await self.type(":focus", _ENTER)
        await self.sees("tbody", "gpu-02", "Drained")
        self.assertEqual(await self.focus(), "Resume gpu-02")
        self.assertIn("POST /api/v1/agents/id2/drain", self.there.asked)


class FingerTests(PretendedCase):
    """A screen that is touched."""

    async def tap(self, selector: str) -> None:
        """Touch something."""

        def touch() -> None:
            actions = ActionBuilder(
                self.browser.driver, mouse=PointerInput(POINTER_TOUCH, "finger")
            )
            pointer = actions.pointer_action
            pointer.move_to(self.browser.one(selector)).pointer_down().pointer_up()
            actions.perform()

        await self.do(touch)

    async def test_map(self) -> None:
        """A touched square is told of first; its button drains it."""
        self.there.tell(*[pretended_agent(n) for n in range(1, 5)])
        await self.open()
        await self.sees("tbody tr", "gpu-01")
        await self.tap("#as-map")
        await self.until("return document.querySelectorAll('.t').length === 4", "4 squares")
        await self.tap(".t:nth-child(3)")
        await self.sees(".inspect", "gpu-03", "0 of 4 busy", "Drain")
        opened = "return document.querySelector('#ask').open"
        self.assertFalse(await self.do(self.browser.run, opened))
        await self.tap(".inspect .act")
        await self.sees("#ask", "Drain gpu-03?")
        await self.tap("#asknot")


class DrainTests(PretendedCase):
    """What is said before an agent is drained."""

    allowed = ("502 (Bad Gateway)", "404 (Not Found)", "ERR_")

    async def asks(self, *words: str) -> str:
        """Ask to drain the first agent, and take it back."""
        await self.do(self.browser.run, "document.querySelector('[aria-label$=gpu-01]').click()")
        said = await self.sees("#ask", "Drain gpu-01?", *words)
        await self.press("#asknot")
        return said

    async def test_last(self) -> None:
        """The last agent that takes requests is known as such, whatever still runs on others."""
        draining = pretended_agent(
            2, state="draining", draining=True, in_flight=1, slots_processing=1, slots_idle=0
        )
        self.there.tell(pretended_agent(1), draining)
        await self.open()
        await self.sees("tbody", "gpu-01", "gpu-02")
        last = "This is the last agent taking requests. New ones will wait 60 s, then fail with 504"
        await self.asks("0 of 4 slots stay.", last)
        self.there.tell(pretended_agent(3, slots_total=8))
        await self.sees("tbody", "gpu-03")
        self.assertNotIn("last", await self.asks("8 of 12 slots stay."))
        self.there.tell(troubled(1, "unreachable"), left=["id3"])
        await self.sees("tbody", "gpu-01", "Unreachable")
        self.assertNotIn("last", await self.asks("0 of 0 slots stay."))

    async def test_refused(self) -> None:
        """A drain that is not done is told in the question, which stays."""
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("tbody", "gpu-01")
        await self.press("tbody .act")
        self.there.code = 404
        await self.press("#askgo")
        await self.sees("#askerror", "That did not work: 404 Not Found")

    async def test_lost(self) -> None:
        """A question that is open when the connection is lost closes; none opens while it is."""
        self.there.tell(pretended_agent(1))
        await self.open()
        await self.sees("tbody", "gpu-01")
        await self.press("tbody .act")
        self.there.code = 502
        self.there.drop()
        await self.sees("#say", "Connection lost")
        opened = "return [document.querySelector('#ask').open]"
        self.assertEqual(await self.until(opened, "the dialog"), [False])
        await self.do(self.browser.run, "document.querySelector('tbody .act').click()")
        self.assertEqual(await self.until(opened, "the dialog"), [False])
