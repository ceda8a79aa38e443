"""`paddler.terminal.app`: the application in Textual's own test terminal, with made-up data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import attrs
from textual.events import Paste
from textual.pilot import Pilot
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.app import Dashboard
from paddler.terminal.client import Watch
from paddler.terminal.fleet import Fleet
from paddler.terminal.scene import Choices, Link
from paddler.values import Address
from paddler.web import HttpCaller
from tests.terminal_scenes import NOW, agent, fleet_of, picture, scene, troubled_fleet

__all__ = ["DoingTests", "KeyTests", "SizeTests"]

_ADDRESS = Address("llm.example.internal", 8085)


@attrs.define(eq=False)
class _Still(Watch):
    """A watch that asks nobody."""

    steered: list[tuple[str, str]] = attrs.field(factory=list, init=False)
    running: Deferred[None] = attrs.field(factory=Deferred, init=False)
    problem: str = attrs.field(default="", init=False)

    def run(self) -> Deferred[None]:
        """Do nothing."""
        self.running = Deferred()
        return self.running

    async def steer(self, agent_id: str, deed: str) -> str:
        """Only note it."""
        self.steered.append((agent_id, deed))
        return self.problem


class _Terminal:
    """The application on a terminal of some size."""

    def __init__(self, fleet: Fleet, *, ascii_only: bool = False) -> None:
        self.watches: list[_Still] = []
        self.fleet = fleet
        clock = self.clock = Clock()
        clock.advance(NOW)
        caller = HttpCaller.to(MemoryReactorClock(), _ADDRESS)

        def watch(changed: Callable[[], None]) -> Watch:
            still = _Still(clock, caller, False, changed)
            still.fleet, still.link = fleet, Link(live=True, ever=True)
            self.watches.append(still)
            return still

        self.app = Dashboard(_ADDRESS, Choices(ascii=ascii_only), watch, clock.seconds)

    @property
    def watch(self) -> _Still:
        """What it watches with."""
        return self.watches[0]

    @asynccontextmanager
    async def shown(self, width: int, height: int) -> Any:
        """Run it."""
        async with self.app.run_test(size=(width, height)) as pilot:
            await pilot.pause()
            yield pilot

    def lines(self) -> list[str]:
        """What the terminal shows, as Textual composed it."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]


def _run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def until(seen: Callable[[], Any]) -> None:
    """Wait until something is true; the test's time is its limit."""
    while not seen():
        await asyncio.sleep(0.01)


class SizeTests(SynchronousTestCase):
    """What was drawn is what Textual shows."""

    def test_drawn_sizes(self) -> None:
        """On terminals of these sizes each line is the drawing's."""

        async def show() -> None:
            for width, height in ((80, 24), (160, 50), (60, 20), (40, 10), (3, 2)):
                terminal = _Terminal(troubled_fleet())
                async with terminal.shown(width, height):
                    drawn = picture(scene(troubled_fleet()), width, height)
                    seen = terminal.lines()
                    if height >= 12:  # the title has the time of day, in the zone that is here
                        self.assertIn("live", seen.pop(0))
                        drawn.pop(0)
                    self.assertEqual(seen, drawn)

        _run(show)

    def test_another_size(self) -> None:
        """A terminal that is resized is drawn anew."""

        async def show() -> None:
            terminal = _Terminal(troubled_fleet())
            async with terminal.shown(80, 24) as pilot:
                await pilot.resize_terminal(60, 20)
                await until(lambda: len(terminal.lines()) == 20)
                await pilot.pause()
                self.assertEqual(terminal.lines()[1:], picture(scene(troubled_fleet()), 60, 20)[1:])

        _run(show)

    def test_ascii(self) -> None:
        """`--ascii` holds from the first picture on."""

        async def show() -> None:
            terminal = _Terminal(troubled_fleet(), ascii_only=True)
            async with terminal.shown(80, 24):
                self.assertTrue("\n".join(terminal.lines()).isascii())

        _run(show)

    def test_changes(self) -> None:
        """What changes is shown; a connection that is lost, too."""

        async def show() -> None:
            terminal = _Terminal(fleet_of([agent(1)]))
            async with terminal.shown(80, 24):
                self.assertIn("0 of 4 slots busy. Nobody is waiting.", terminal.lines()[1])
                terminal.watch.fleet = fleet_of([agent(1, in_flight=3)])
                terminal.app.changed()
                await until(lambda: "3 of 4 slots busy" in terminal.lines()[1])
                terminal.watch.link = Link(ever=True, since=NOW - 8, retry_at=NOW + 3)
                terminal.app.changed()
                await until(
                    lambda: "Connection lost 8 s ago, trying again in 3 s." in terminal.lines()[1]
                )

        _run(show)


class KeyTests(SynchronousTestCase):
    """Keys as a terminal sends them."""

    async def press(self, pilot: Pilot[None], *keys: str) -> None:
        """Press them and wait for the picture."""
        await pilot.press(*keys)
        await pilot.pause()

    def test_keys(self) -> None:
        """Textual's own meanings of keys do not come before ours."""

        async def show() -> None:
            terminal = _Terminal(troubled_fleet())
            async with terminal.shown(80, 24) as pilot:
                await self.press(pilot, "down", "j")
                self.assertIn(">! gpu-07", "\n".join(terminal.lines()))
                await self.press(pilot, "tab")
                self.assertIn("agents in trouble: 4 of 12", "\n".join(terminal.lines()))
                await self.press(pilot, "escape", "slash", "g", "p", "u", "minus", "1")
                self.assertIn('agents: 3 of 12 with "gpu-1"', "\n".join(terminal.lines()))
                self.assertIn("/ gpu-1█", terminal.lines()[23])
                await self.press(pilot, "escape", "enter")
                self.assertIn("enter closes", "\n".join(terminal.lines()))
                await self.press(pilot, "enter", "question_mark")
                self.assertIn("plain ASCII characters", "\n".join(terminal.lines()))

        _run(show)

    def test_paste(self) -> None:
        """What is pasted is typed where a text is asked for; elsewhere it is no keys."""

        async def show() -> None:
            terminal = _Terminal(troubled_fleet())
            async with terminal.shown(80, 24) as pilot:
                for keys, seen in (((), "agents: 12 "), (("slash",), 'agents: 3 of 12 with "q-1"')):
                    await self.press(pilot, *keys)
                    terminal.app._picture.post_message(Paste("q-1" if not keys else "gpu-1"))
                    await pilot.pause()
                    self.assertIn(seen.replace("q-1", "gpu-1"), "\n".join(terminal.lines()))

        _run(show)

    def test_mouse(self) -> None:
        """A click marks an agent, the wheel moves the mark."""

        async def show() -> None:
            terminal = _Terminal(troubled_fleet())
            async with terminal.shown(80, 24) as pilot:
                await pilot.click(offset=(10, 15))
                await pilot.pause()
                self.assertTrue(terminal.lines()[15].startswith(">! gpu-10"))
                terminal.app._picture.on_mouse_scroll_up()
                await pilot.pause()
                self.assertTrue(terminal.lines()[14].startswith(">! gpu-07"))
                await pilot.press("d")
                terminal.app._picture.on_mouse_scroll_down()
                await pilot.pause()
                self.assertTrue(terminal.lines()[23].startswith("Drain gpu-07?"))

        _run(show)

    def test_ends(self) -> None:
        """`q` ends it, and so does Ctrl-C."""

        async def show() -> None:
            for key in ("q", "ctrl+c"):
                terminal = _Terminal(troubled_fleet())
                async with terminal.shown(80, 24) as pilot:
                    await pilot.press(key)
                    await until(lambda terminal=terminal: not terminal.app.is_running)
                self.assertEqual(terminal.app.return_code or 0, 0)

        _run(show)


class DoingTests(SynchronousTestCase):
    """What is done for the operator."""

    def test_drain(self) -> None:
        """`d` asks on the last line; `y` drains and says so; what goes wrong is said."""

        async def show() -> None:
            terminal = _Terminal(fleet_of([agent(1), agent(2, in_flight=4)]))
            async with terminal.shown(80, 24) as pilot:
                await pilot.press("down", "d")
                await pilot.pause()
                self.assertEqual(
                    terminal.lines()[23].rstrip(),
                    "Drain gpu-02? 4 running answers finish, 4 of 8 slots stay. y/N",
                )
                self.assertEqual(terminal.watch.steered, [])
                await pilot.press("y")
                await until(lambda: terminal.watch.steered)
                self.assertEqual(terminal.watch.steered, [("id0002", "drain")])
                await until(lambda: "No new request goes to gpu-02" in terminal.lines()[22])
                terminal.watch.problem = "401 a token is needed"
                await pilot.press("d", "y")
                await until(lambda: "did not work: 401 a token" in terminal.lines()[22])

        _run(show)

    def test_resume(self) -> None:
        """`r` resumes at once, for that does no harm."""

        async def show() -> None:
            terminal = _Terminal(fleet_of([agent(1, "draining", draining=True)]))
            async with terminal.shown(80, 24) as pilot:
                await pilot.press("r")
                await until(lambda: terminal.watch.steered == [("id0001", "resume")])
                await until(lambda: "Requests go to gpu-01 again." in terminal.lines()[22])

        _run(show)

    def test_gone_while_asked(self) -> None:
        """When the agent that is asked of leaves, nothing is asked any more."""

        async def show() -> None:
            terminal = _Terminal(fleet_of([agent(1), agent(2)]))
            async with terminal.shown(80, 24) as pilot:
                await pilot.press("d")
                await pilot.pause()
                self.assertIn("Drain gpu-01?", terminal.lines()[23])
                terminal.watch.fleet = fleet_of([agent(2)])
                terminal.app.changed()
                await until(lambda: "/ filter" in terminal.lines()[23])
                await pilot.press("y")
                await pilot.pause()
                self.assertEqual(terminal.watch.steered, [])

        _run(show)

    def test_left_while_typing(self) -> None:
        """When one that was drained leaves, what is typed meanwhile is kept."""

        async def show() -> None:
            terminal = _Terminal(fleet_of([agent(1), agent(2)]))
            async with terminal.shown(80, 24) as pilot:
                await pilot.press("d", "y", "slash", "g")
                terminal.watch.fleet = fleet_of([agent(2)])
                terminal.app.repaint()
                await pilot.pause()
                self.assertIn("/ g█", terminal.lines()[23])

        _run(show)

    def test_notes_pass(self) -> None:
        """What came of a command is told for a while."""

        async def show() -> None:
            terminal = _Terminal(fleet_of([agent(1)]))
            async with terminal.shown(80, 24) as pilot:
                await pilot.press("c")
                for seconds, seen in ((9.0, True), (2.0, False)):
                    terminal.clock.advance(seconds)
                    terminal.app.repaint()
                    await pilot.pause()
                    self.assertEqual("Nothing to mend" in terminal.lines()[22], seen)

        _run(show)

    def test_copy(self) -> None:
        """`c` puts the remedy on the clipboard."""

        async def show() -> None:
            terminal = _Terminal(troubled_fleet())
            async with terminal.shown(80, 24) as pilot:
                await pilot.press("c")
                await pilot.pause()
                self.assertEqual(terminal.app.clipboard, "--local-llamacpp-api-key-file FILE")
                self.assertIn("Copied, if this terminal lets it:", terminal.lines()[22])

        _run(show)

    def test_mistake(self) -> None:
        """A mistake in what watches is not hidden: it ends the application, and is told by it."""

        async def show() -> None:
            terminal = _Terminal(troubled_fleet())
            async with terminal.shown(80, 24):
                terminal.watch.running.errback(ZeroDivisionError())
                await until(lambda: not terminal.app.is_running)
            self.assertEqual(terminal.app.return_code, 1)
            assert terminal.app.failure is not None
            self.assertTrue(terminal.app.failure.check(ZeroDivisionError))

        _run(show)

    def test_stops(self) -> None:
        """When it ends nothing is watched any more."""

        async def show() -> None:
            terminal = _Terminal(troubled_fleet())
            async with terminal.shown(80, 24):
                running = terminal.watch.running
            self.assertTrue(running.called)
            self.assertIsNone(terminal.app.failure)

        _run(show)

    def test_large(self) -> None:
        """A thousand agents are drawn well within a tenth of a second."""
        fleet = fleet_of([agent(n, in_flight=n % 4) for n in range(1000)])

        async def show() -> None:
            terminal = _Terminal(fleet)
            async with terminal.shown(160, 50):
                took = []
                for _ in range(5):
                    started = time.process_time()
                    terminal.app.repaint()
                    took.append(time.process_time() - started)
                self.assertLess(min(took), 0.1)

        _run(show)
