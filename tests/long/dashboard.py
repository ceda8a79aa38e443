"""The dashboard's frames with a thousand agents, its memory, and its pictures."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from random import Random

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.browsing import one_browser, wait_for
from tests.commands import ROOT
from tests.dashboard_pictures import PICTURES, showing, take
from tests.paging import PretendedCase
from tests.pretending import pretended_agent
from tests.proxying import reactor

__all__ = ["FramesTests", "MemoryTests", "PicturesTests"]

#: Times each frame of the page: its scripts, and the styles and layout that follow from them.
_TIMING = """
window.frames_ = [];
const ask = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = frame => ask(at => {
  const begun = performance.now();
  frame(at);
  document.body.getBoundingClientRect();
  window.frames_.push(performance.now() - begun);
});
"""
#: Milliseconds from a frame to the next.
FRAME = 1000 / 60
#: Most bytes of a picture in the repository.
_LARGEST = 320_000


class FramesTests(SynchronousTestCase):
    """A thousand agents, nearly all of which change each second."""

    def measure(self, view: str) -> list[float]:
        """Milliseconds of each frame in ten seconds, shortest first."""
        browser = one_browser()
        browser.resize(1440, 1340)
        with showing("thousand", "--live") as address:
            browser.open(address)
            browser.run(_TIMING)
            wait_for(lambda: browser.text("#foot"), "the fleet")
            browser.one(f"#as-{view}").click()
            # The first frames make what the others only patch.
            time.sleep(3)
            browser.run("window.frames_.length = 0")
            time.sleep(10)
            frames: list[float] = browser.run("return window.frames_")
            browser.open("about:blank")
        return sorted(frames)

    def check(self, view: str) -> None:
        """Nineteen of twenty frames are made in time for the next, scripts, styles and layout."""
        tries = []
        for _ in range(3):
            frames = self.measure(view)
            self.assertGreater(len(frames), 20)
            tries.append(frames[int(len(frames) * 0.95)])
            if tries[-1] < FRAME:
                return
        # A machine with something else to do makes frames long; not three times over.
        self.fail(f"{view}: 95 of 100 frames took up to {tries} ms")

    def test_map(self) -> None:
        """The map."""
        self.check("map")

    def test_rows(self) -> None:
        """Two hundred rows."""
        self.check("rows")


class MemoryTests(PretendedCase):
    """Agents that come, go, are renamed and change, ten thousand times."""

    timeout = 180

    async def changes(self, times: int, random: Random) -> None:
        """So many things happen, some at once."""
        for turn in range(times):
            number, what = random.randrange(150), random.random()
            if what < 0.15 and f"id{number}" in self.there.agents:
                self.there.tell(left=[f"id{number}"])
            elif what < 0.3:
                issues = ["unauthorized"] if what < 0.2 else []
                self.there.tell(pretended_agent(number, f"name-{random.random()}", *issues))
            else:
                self.there.tell(pretended_agent(number, in_flight=random.randrange(5)))
            if not turn % 5:
                await deferLater(reactor, 0.002)

    def held(self) -> tuple[float, float]:
        """Megabytes of the page's heap, and its nodes, without what nobody needs any more."""
        cdp = self.browser.driver.execute_cdp_cmd
        cdp("Performance.enable", {})
        cdp("HeapProfiler.collectGarbage", {})
        found = {m["name"]: m["value"] for m in cdp("Performance.getMetrics", {})["metrics"]}
        return found["JSHeapUsedSize"] / 1e6, found["Nodes"]

    async def test_memory(self) -> None:
        """The page holds no more after them than before."""
        random = Random(1)
        await self.open()
        await self.sees("#live", "Live")
        for view in ("map", "rows"):
            await self.changes(1000, random)
            await self.press(f"#as-{view}")
        before, nodes_before = await self.do(self.held)
        await self.changes(10_000, random)
        last = pretended_agent(1, "the-last")
        self.there.tell(last)
        await self.sees("tbody", "the-last")
        after, nodes_after = await self.do(self.held)
        self.assertLess(after, before + 0.5)
        self.assertLess(nodes_after, 1.3 * nodes_before)


class PicturesTests(SynchronousTestCase):
    """The pictures that the README shows."""

    def test_pictures(self) -> None:
        """Each can be taken, of the right size, and the repository has it, not too large."""
        folder = Path(self.mktemp())
        folder.mkdir()
        browser = one_browser()
        for picture in PICTURES:
            taken = take(browser, picture, folder)
            kept = ROOT / "docs" / "dashboard" / taken.name
            scale = 2 if picture.phone else 1
            for path in (taken, kept):
                data = path.read_bytes()
                size = struct.unpack(">II", data[16:24])
                self.assertEqual(size, (picture.width * scale, picture.height * scale), path)
                self.assertTrue(20_000 < len(data) < _LARGEST, (path, len(data)))
        browser.resize(1440, 920)
        browser.colours("light")
