"""How the page looks, measured: nothing sticks out, all of it can be read, by whomever."""

from __future__ import annotations

from typing import Any

from tests.dashboard_scenes import scene
from tests.paging import PretendedCase
from tests.pretending import pretended_agent

__all__ = ["COVERED", "STICKS_OUT", "ColoursTests", "LooksCase", "ReaderTests", "RoomTests"]

#: What may be moved sideways in a box of its own.
_SCROLLED = ".rows, .chips, .cmd code"
STICKS_OUT = f"""
const out = [...document.querySelectorAll('header *, main *, footer *, dialog *')].filter(e => {{
  const box = e.getBoundingClientRect();
  return e.checkVisibility() && !e.matches('.vh, .vh *, .skip') && !e.closest('{_SCROLLED}')
    && (box.right > innerWidth + 1 || box.left < -1);
}});
const page = document.documentElement;
const wide = page.scrollWidth > innerWidth ? [`the page is ${{page.scrollWidth}} wide`] : [];
return [...wide, ...out.map(e => `${{e.tagName}}.${{e.className}} ${{e.innerText}}`.slice(0, 90))];
"""
#: Each button and how far it is covered by something else, where it is seen.
COVERED = """
return [...document.querySelectorAll('main button')].filter(b => {
  if (!b.checkVisibility({ visibilityProperty: true })) return false;
  b.scrollIntoView({ block: 'center', inline: 'center' });
  const box = b.getBoundingClientRect();
  const at = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return at && !b.contains(at);
}).map(b => `${b.className} ${b.innerText}`);
"""
#: Shows what to do about everything, on a phone.
_OPEN_ALL = """
for (const b of document.querySelectorAll('.more-do')) if (b.checkVisibility()) b.click();
"""
#: The least contrast of any text, and of which. Opacity makes text and what is behind it paler.
_CONTRAST = """
const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
const colour = text => {
  const [r, g, b, a = 1] = numbers(text);
  return { c: [r, g, b].map(v => (text.startsWith('color(') ? 255 * v : v)), a };
};
const mix = (top, under, a) => top.map((v, n) => v * a + under[n] * (1 - a));
const linear = v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = c => {
  const [r, g, b] = c.map(v => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => {
  const [bright, dim] = [light(a), light(b)].sort((x, y) => y - x);
  return (bright + 0.05) / (dim + 0.05);
};
const contrast = node => {
  const pale = [];
  let under = [255, 255, 255];
  const all = [];
  for (let e = node; e; e = e.parentElement) all.unshift(e);
  for (const e of all) {
    const style = getComputedStyle(e);
    if (Number(style.opacity) < 1) pale.unshift([Number(style.opacity), under]);
    const { c, a } = colour(style.backgroundColor);
    under = mix(c, under, a);
  }
  let text = colour(getComputedStyle(node).color).c;
  for (const [a, behind] of pale) {
    text = mix(text, behind, a);
    under = mix(under, behind, a);
  }
  return ratio(text, under);
};
const says = n => n.nodeType === Node.TEXT_NODE && n.data.trim();
const found = [...document.querySelectorAll('body *')].filter(e => (
  [...e.childNodes].some(says) && e.checkVisibility({ visibilityProperty: true })
  && !e.closest('.vh, noscript')
)).map(e => [contrast(e), `${e.tagName}.${e.className} ${e.innerText}`.slice(0, 60)]);
return found.sort((a, b) => a[0] - b[0])[0];
"""
#: How a cell of each kind is drawn.
_DRAWN = """
return [...'opfliu'].map(k => {
  const { backgroundImage, backgroundColor, borderTopStyle } = getComputedStyle(
    document.querySelector(`.legend .c.${k}`));
  return [backgroundImage, backgroundColor, borderTopStyle].join();
});
"""

HOSTILE = (
    pretended_agent(1, "<b>bold</b>&amp;"),
    pretended_agent(2, "\u202egnp.reversed"),
    pretended_agent(3, "W" * 128),
    pretended_agent(4, "\U0001f9e0\u200d \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd"),
    pretended_agent(5, "a\u0301\u0300" * 42),
    pretended_agent(6, "zero", "no_slots", state="unreachable", slots_total=0, slots_idle=0),
    pretended_agent(7, "hundred", slots_total=100, in_flight=37, promised=4, client_left=2),
    pretended_agent(8, "sixtyfour", slots_total=64, in_flight=60, foreign_busy=4, state="full"),
    pretended_agent(9, "none", models=()),
    pretended_agent(10, "model", models=("m" * 300,)),
    pretended_agent(11, "host", external_llamacpp_addr="h" * 250 + ":8088"),
    pretended_agent(12, "W" * 126 + "#2", "unauthorized", state="unreachable", slots_idle=0),
    pretended_agent(13, "v6", external_llamacpp_addr="[fe80::1234:5678:9abc:def0:1:2]:65535"),
    pretended_agent(14, "many", slots_total=10_000, in_flight=1234),
)


class LooksCase(PretendedCase):
    """A page of any size and colours."""

    async def emulate(self, **features: str) -> None:
        """Have a system of these colours, until the test ends."""

        def set_to(found: dict[str, str]) -> None:
            features = [{"name": k.replace("_", "-"), "value": v} for k, v in found.items()]
            command = "Emulation.setEmulatedMedia"
            self.browser.driver.execute_cdp_cmd(command, {"features": features})

        await self.do(set_to, features)
        self.addCleanup(self.do, set_to, {"prefers-color-scheme": "light"})

    async def resize(self, width: int, height: int = 900) -> None:
        """Have a window of this size, until the test ends."""
        await self.do(self.browser.resize, width, height)
        self.addCleanup(self.do, self.browser.resize, 1440, 920)

    async def in_trouble(self) -> None:
        """Open the page before a fleet that has some of everything."""
        fleet = scene("trouble", self.there.born)
        self.there.tell(*fleet.agents)
        self.there.queue.update(requests_waiting=37, oldest_wait_seconds=41.0)
        await self.open()
        await self.sees("#attention", "wants a key")
        await self.sees("tbody tr:last-child", "gpu-12")
        await self.sees("#foot", "paddler")

    async def show(self, view: str) -> None:
        """Have the agents as rows or as a map, and wait until all are drawn."""
        # On a phone there is no button to press.
        await self.do(self.browser.run, f"document.querySelector('#as-{view}').click()")
        parts = "tbody .cells" if view == "rows" else ".t"
        await self.until(
            f"const parts = [...document.querySelectorAll('{parts}')];"
            "return parts.length && parts.every(part => part.ariaLabel)",
            view,
        )

    async def tree(self) -> list[tuple[str, str]]:
        """Roles and names, in the order of the page."""
        found = await self.do(
            self.browser.driver.execute_cdp_cmd, "Accessibility.getFullAXTree", {}
        )

        def value(node: dict[str, Any], key: str) -> str:
            return str(node.get(key, {}).get("value", ""))

        return [(value(n, "role"), value(n, "name")) for n in found["nodes"] if not n["ignored"]]


class RoomTests(LooksCase):
    """Nothing sticks out of the window, whatever agents are called; so too at twice the zoom."""

    allowed = ("502 (Bad Gateway)", "ERR_")

    async def check(self, what: str, *more: str) -> None:
        """All is inside."""
        for script in (STICKS_OUT, *more):
            found = await self.do(self.browser.run, script)
            self.assertEqual(found, [], what)

    async def test_names(self) -> None:
        """Names, hosts and models of any length, and any number of slots."""
        self.there.tell(*HOSTILE)
        for width in (1440, 1000, 720, 390, 320):
            await self.resize(width)
            await self.open()
            await self.sees("tbody", "zero", "hundred")
            await self.check(f"rows, {width}", COVERED)
            for view in ("map", "rows"):
                await self.show(view)
                await self.check(f"{view}, {width}", COVERED)
            await self.do(self.browser.run, "document.querySelector('tbody .act').click()")
            await self.sees("#ask", "Drain W")
            await self.check(f"the dialog, {width}")
            await self.press("#asknot")

    async def test_scenes(self) -> None:
        """A fleet in trouble, on a phone with what to do opened; one that is lost; and none."""
        for width in (1440, 720, 320):
            await self.resize(width)
            self.there.code = 200
            await self.in_trouble()
            await self.do(self.browser.run, _OPEN_ALL)
            await self.check(f"trouble, {width}", COVERED)
            self.there.code = 502
            self.there.drop()
            await self.sees("#say", "Connection lost")
            await self.check(f"lost, {width}")
            self.there.code = 200
            self.there.agents.clear()
            await self.open()
            await self.sees("#empty", "Add the first agent")
            await self.check(f"empty, {width}", COVERED)


class ColoursTests(LooksCase):
    """Light, dark, and a system's own few colours."""

    allowed = ("502 (Bad Gateway)", "ERR_")

    async def test_contrast(self) -> None:
        """All text has a contrast of 4.5 and more, also where it is greyed because it is old."""
        for scheme in ("light", "dark"):
            await self.emulate(prefers_color_scheme=scheme)
            self.there.code = 200
            await self.in_trouble()
            least, what = await self.do(self.browser.run, _CONTRAST)
            self.assertGreaterEqual(least, 4.5, (scheme, what))
            self.there.code = 502
            self.there.drop()
            await self.sees("#say", "Connection lost")
            least, what = await self.do(self.browser.run, _CONTRAST)
            self.assertGreaterEqual(least, 4.5, (scheme, "lost", what))

    async def test_forced_colours(self) -> None:
        """With a system's colours alone the cells still differ, and what is pressed is seen."""
        await self.emulate(forced_colors="active")
        await self.in_trouble()
        drawn = await self.do(self.browser.run, _DRAWN)
        self.assertEqual(len(set(drawn)), 6, drawn)
        await self.show("map")
        style = "return getComputedStyle(document.querySelector(arguments[0])).%s"
        colours = [
            await self.do(self.browser.run, style % "backgroundColor", view)
            for view in ("#as-rows", "#as-map")
        ]
        self.assertNotEqual(*colours)
        square = style % "backgroundImage"
        drawn = await self.do(self.browser.run, square, ".t:not(.trouble)")
        self.assertIn("gradient", drawn)

    async def test_reduced_motion(self) -> None:
        """Who asks for little motion gets none."""
        running = "return document.getAnimations().length"
        await self.emulate(prefers_reduced_motion="reduce")
        await self.open()
        await self.sees("#empty", "Listening for agents")
        self.assertEqual(await self.do(self.browser.run, running), 0)
        await self.emulate(prefers_reduced_motion="no-preference")
        self.assertEqual(await self.do(self.browser.run, running), 1)


class ReaderTests(LooksCase):
    """What a screen reader is told: Chromium's own tree."""

    async def check_named(self, tree: list[tuple[str, str]]) -> None:
        """Whatever can be used, and every picture, has a name; buttons can be told apart."""
        for role, name in tree:
            if role in ("button", "link", "searchbox", "image", "region", "heading", "dialog"):
                self.assertTrue(name, role)
        buttons = [name for role, name in tree if role == "button" and name != "What to do"]
        self.assertEqual(sorted(set(buttons)), sorted(buttons))

    async def test_page(self) -> None:
        """The verdict, the slots, charts, troubles with their commands, and the table."""
        none = {"slots_total": 0, "slots_idle": 0, "state": "unreachable"}
        self.there.tell(pretended_agent(99, "gpu-00", "unauthorized", **none))
        await self.in_trouble()
        tree = await self.tree()
        await self.check_named(tree)
        for said in (
            ("heading", "5 agents need attention. 37 requests waiting, the oldest for 41 s."),
            ("image", "22 answering, 2 promised, 1 foreign, 2 client left, 0 idle, 25 out"),
            ("heading", "llama-server wants a key (2 agents)"),
            ("button", "Copy: --local-llamacpp-api-key-file FILE"),
            ("columnheader", "Drain or resume"),
            ("image", "4 slots: 3 answering"),
            ("image", "No slots known"),
            ("button", "Drain gpu-03"),
            ("button", "Resume gpu-08"),
        ):
            self.assertIn(said, tree)
        spoken = await self.do(self.browser.text, "#spoken")
        self.assertTrue(spoken.startswith("5 agents need attention."), spoken)

    async def test_phone(self) -> None:
        """Where it looks like cards, it is a table still."""
        await self.resize(390, 844)
        await self.in_trouble()
        tree = await self.tree()
        await self.check_named(tree)
        roles = [role for role, _ in tree]
        self.assertEqual((roles.count("table"), roles.count("row")), (1, 12))
        self.assertIn(("cell", "Key refused for 2 min"), tree)

    async def test_map_and_dialog(self) -> None:
        """Squares say whose they are, and how busy; the question is read with its answers."""
        await self.in_trouble()
        await self.show("map")
        tree = await self.tree()
        await self.check_named(tree)
        self.assertIn(("button", "gpu-05, Unreachable, 4 slots"), tree)
        self.assertIn(("button", "gpu-01, Full, 4 of 4 busy"), tree)
        await self.press('[aria-label^="gpu-01"]')
        await self.sees("#ask", "Drain gpu-01?")
        tree = await self.tree()
        self.assertIn(("dialog", "Drain gpu-01?"), tree)
        # All else is out of reach meanwhile.
        self.assertEqual([n for role, n in tree if role == "button"], ["Keep serving", "Drain"])
        await self.press("#asknot")
