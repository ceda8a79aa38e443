"""The terminal's dashboard as an application of Textual; the one module that knows Textual.

It asks `screen` what to show and `hand` what a key means; the connection is a `Watch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from paddler.terminal.client import Watch
from paddler.terminal.hand import Deed, kept, pressed
from paddler.terminal.lines import Line
from paddler.terminal.ordering import Order, matching
from paddler.terminal.scene import Asked, Choices, Scene
from paddler.terminal.screen import Screen, draw
from paddler.values import Address

__all__ = ["Dashboard"]

#: Seconds for which it is told what came of a command.
_NOTED = 10.0
#: Seconds between two pictures at the least and, as times go on, at the most.
_SOON, _ANYWAY = 0.1, 0.5


class _Picture(Widget, can_focus=True):
    """All of the screen: shows lines, and repaints those that changed."""

    DEFAULT_CSS = """
    _Picture { width: 100%; height: 100%; background: ansi_default; color: ansi_default; }
    """

    def __init__(self, owner: Dashboard) -> None:
        super().__init__()
        self._owner = owner
        self._lines: tuple[Line, ...] = ()

    def show(self, lines: tuple[Line, ...]) -> None:
        """Show these lines from now on."""
        before, self._lines = self._lines, lines
        if len(before) != len(lines):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, lines, strict=True)):
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        """One line, as Textual wants it."""
        line = self._lines[y] if y < len(self._lines) else ()
        segments = [Segment(text, Style.parse(style)) for text, style in line]
        return Strip(segments).adjust_cell_length(self.size.width)

    def on_resize(self) -> None:
        """Another size, another picture."""
        self._owner.repaint()

    def on_key(self, event: events.Key) -> None:
        """A key: all of them are ours, but for one of Textual's own."""
        event.stop()
        event.prevent_default()
        if event.key == "ctrl+z":
            self._owner.action_suspend_process()
        else:
            self._owner.press(event.key, event.character)

    def on_paste(self, event: events.Paste) -> None:
        """Pasted text is typed where text is asked for, and else nothing."""
        event.stop()
        if self._owner.asked == "filter":
            self._owner.press("paste", event.text)

    def on_click(self, event: events.Click) -> None:
        """A click marks an agent."""
        self._owner.point(event.x, event.y)

    def on_mouse_scroll_down(self) -> None:
        """The wheel moves the mark; it answers no question."""
        if not self._owner.asked:
            self._owner.press("down", None)

    def on_mouse_scroll_up(self) -> None:
        """The wheel moves the mark; it answers no question."""
        if not self._owner.asked:
            self._owner.press("up", None)


class Dashboard(App[None]):
    """The application.

    :param management: the address that is watched.
    :param choices: how it is shown at first.
    :param watch: made from a function to call after changes.
    :param clock: this machine's time, Unix seconds.
    :ivar failure: a mistake that ended it.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = "Screen { background: ansi_default; }"

    def __init__(
        self,
        management: Address,
        choices: Choices,
        watch: Callable[[Callable[[], None]], Watch],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(ansi_color=True)
        self._management = management
        self._clock = clock
        self._choices = choices
        self._order = Order()
        self._screen: Screen | None = None
        self._listed: tuple[str, ...] = ()
        self._pending = False
        self._touched = False
        self._noted_at = 0.0
        self._watch = watch(self.changed)
        self._picture = _Picture(self)
        self.failure: Failure | None = None

    def compose(self) -> ComposeResult:
        """The one widget."""
        yield self._picture

    def on_mount(self) -> None:
        """Start to watch."""
        self._picture.focus()
        self._following = self._watch.run()
        self._following.addErrback(self.failed)
        self.set_interval(_ANYWAY, self.repaint)
        # Whoever had the terminal in between has drawn over it.
        self.app_resume_signal.subscribe(self, lambda _: self._picture.refresh())

    def on_unmount(self) -> None:
        """Watch no more."""
        self._following.cancel()

    def failed(self, failure: Failure) -> None:
        """End, for a mistake was made."""
        # Textual would show it with the values of all variables.
        if not failure.check(CancelledError):
            self.failure = failure
            self.exit(return_code=1)

    def changed(self) -> None:
        """Something has changed; it is shown a little later, with what changes until then."""
        if not self._pending and self.is_running:
            self._pending = True
            self.set_timer(_SOON, self.repaint)

    def repaint(self) -> None:
        """Show how things are."""
        self._pending = False
        scene = self._scene()
        width, height = self._picture.size
        if not width or not height:
            return
        shown = draw(scene, width, height)
        self._screen = shown
        self._choices = attrs.evolve(scene.choices, first=shown.first)
        self._picture.show(shown.lines)

    def _scene(self) -> Scene:
        now, choices = self._watch.now(), self._choices
        if self._clock() - self._noted_at > _NOTED:
            choices = attrs.evolve(choices, note="")
        text = choices.typed if choices.asked == "filter" else choices.text
        found = matching(self._watch.fleet.agents.values(), text, choices.trouble_only, now)
        listed = tuple(self._order.of(found, choices.sort, now))
        ids = tuple(agent.agent_id for agent in listed)
        # Until the operator has done something, the mark is at the top, where the worst is.
        selected = kept(choices.selected if self._touched else "", self._listed, ids)
        self._listed = ids
        if choices.asked == "drain" and choices.about not in self._watch.fleet.agents:
            choices = attrs.evolve(choices, asked="")
        local = self._clock()
        return Scene(
            fleet=self._watch.fleet,
            link=self._watch.link,
            choices=attrs.evolve(choices, selected=selected),
            listed=listed,
            now=now,
            local=local,
            address=str(self._management),
            scheme=self._management.scheme,
        )

    @property
    def asked(self) -> Asked:
        """What the last line asks for."""
        return self._choices.asked

    def press(self, key: str, character: str | None) -> None:
        """Do what a key asks for."""
        if self._screen is None:
            return
        scene = self._scene()
        self._touched = True
        self._noted_at = self._clock()
        scene, deed = pressed(key, character, scene, self._screen)
        self._choices = scene.choices
        self.repaint()
        if deed is not None:
            self._do(deed, scene)

    def point(self, x: int, y: int) -> None:
        """Mark the agent that is shown there."""
        ids, step = ((), 1) if self._screen is None else self._screen.hits.get(y, ((), 1))
        if ids:
            chosen = ids[min(x // step, len(ids) - 1)]
            self._choices = attrs.evolve(self._choices, selected=chosen, note="")
            self._touched = True
            self.repaint()

    def _do(self, deed: Deed, scene: Scene) -> None:
        if deed.kind == "quit":
            self.exit()
        elif deed.kind == "copy":
            self.copy_to_clipboard(deed.of)
        else:
            agent = scene.fleet.agents.get(deed.of)
            name = agent.agent_name if agent is not None else deed.of
            steering = self._steer(deed.of, deed.kind, name)
            Deferred.fromCoroutine(steering).addErrback(self.failed)

    async def _steer(self, agent_id: str, deed: Literal["drain", "resume"], name: str) -> None:
        problem = await self._watch.steer(agent_id, deed)
        done = f"Requests go to {name} again."
        if deed == "drain":
            done = f"No new request goes to {name}; running answers finish."
        note = f"That did not work: {problem}." if problem else done
        self._choices = attrs.evolve(self._choices, note=note)
        self._noted_at = self._clock()
        self.repaint()
