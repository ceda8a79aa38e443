"""The list of agents as rows: which columns there is room for, and what stands in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from paddler.terminal.agent import Agent
from paddler.terminal.figures import columns_of, pad, percent
from paddler.terminal.glyphs import Glyphs
from paddler.terminal.lines import Line, Span, fit, restyled
from paddler.terminal.saying import brief_of, report_of, state_of

__all__ = ["CELL_STYLES", "Columns", "cell_spans", "mark_of"]

#: Busy is blue, never red: a full fleet does its job. Yellow is for single characters alone,
#: for it is hard to read on a light ground.
CELL_STYLES = {
    "answering": "bright_blue",
    "promised": "bright_blue",
    "foreign": "magenta",
    "left": "yellow",
    "idle": "",
    "out": "dim",
}

#: From so many columns on there is room for these.
_FOR_MODEL, _FOR_ADDRESS, _FOR_CACHED, _FOR_IN_FLIGHT = 80, 100, 110, 130
#: The fewest columns worth having for a model, with the gap after it.
_LEAST_MODEL = 12


def mark_of(agent: Agent, now: float, glyphs: Glyphs) -> Span:
    """The character that stands for how an agent is, and its colour."""
    if agent.severe(now):
        return glyphs.marks["severe"], "red"
    if agent.trouble(now) is not None:
        return glyphs.marks["warned"], "yellow"
    state = "draining" if agent.draining else agent.state
    return glyphs.marks.get(state, "?"), "green" if state == "ready" else ""


def cell_spans(cells: dict[str, int], width: int, glyphs: Glyphs) -> list[Span]:
    """Slots as a row of cells, each kind in its colour.

    More slots than `width` share its cells; a kind that is there at all has one.
    """
    total = sum(cells.values())
    shown = dict(cells)
    if total > width:
        shown = {kind: slots * width // total for kind, slots in cells.items()}
        for kind, slots in cells.items():
            shown[kind] = max(shown[kind], int(slots > 0))
        # What rounding left or took is the largest kind's.
        largest = max(shown, key=lambda kind: shown[kind])
        shown[largest] += width - sum(shown.values())
    return [(glyphs.cells[k] * max(0, n), CELL_STYLES[k]) for k, n in shown.items() if n > 0]


@attrs.frozen
class Columns:
    """How wide each column is; 0: it is not there.

    :param width: the screen's.
    """

    width: int
    name: int
    address: int
    state: int
    busy: int
    slots: int
    model: int
    report: int
    in_flight: int
    cached: int = 0

    @classmethod
    def for_agents(cls, agents: Sequence[Agent], width: int) -> Columns:
        """Those that suit these agents on a screen of that width.

        Names come first; where they are long, models and addresses give way.
        """

        def longest(texts: Iterable[str], least: int, most: int) -> int:
            return min(most, max([least, *map(columns_of, texts)]))

        name = longest((agent.agent_name for agent in agents), 8, 40)
        busy = longest(map(_busy, agents), 4, 11)
        slots = max((agent.slots_total for agent in agents), default=0)
        if width < _FOR_MODEL:
            return cls._narrow(width, name, busy, slots)
        wide = width >= _FOR_IN_FLIGHT
        state, report, in_flight = (26, 11, 9) if wide else (20, 11, 0)
        slots = min(max(8, slots), 16 if width >= _FOR_ADDRESS else 8)
        left = width - (3 + 1 + state + 1 + busy + 2 + slots + 2 + report)
        left -= in_flight + 2 if wide else 0
        by_prompts = any(agent.prompts is not None for agent in agents)
        cached = 7 if by_prompts and width >= _FOR_CACHED else 0
        left -= cached + 2 if cached else 0
        address = longest((a.external_llamacpp_addr for a in agents), 15, 24 if wide else 18)
        if width < _FOR_ADDRESS or left - name - address - 2 < _LEAST_MODEL:
            address = 0
        model = left - name - (address + 2 if address else 0) - 2
        if model + 2 < _LEAST_MODEL:
            name, model = min(name, left), 0
        elif wide:
            model = longest((agent.model for agent in agents), 10, min(40, model))
        return cls(width, name, address, state, busy, slots, model, report, in_flight, cached)

    @classmethod
    def _narrow(cls, width: int, name: int, busy: int, slots: int) -> Columns:
        left = width - 3 - busy - 3
        slots = min(max(4, slots), 16, max(0, left - 8 - 1 - 20)) if left >= 33 else 0
        left -= slots + 2 if slots else 0
        state = min(20, max(0, left - 1 - min(name, max(8, left - 14))))
        state = state if state >= 5 else 0
        return cls(width, max(1, min(name, left - state - 1)), 0, state, busy, slots, 0, 0, 0)

    def _spans(self, values: dict[str, list[Span]]) -> list[Span]:
        spans: list[Span] = []
        layout = (
            ("name", self.name, 1),
            ("address", self.address, 2),
            ("state", self.state, 1),
            ("busy", self.busy, 2),
            ("slots", self.slots, 2),
            ("cached", self.cached, 2),
            ("model", self.model, 2),
            ("report", self.report, 2),
            ("in_flight", self.in_flight, 0),
        )
        for name, width, gap in layout:
            if width > 0:
                spans += [*fit(values[name], width), (" " * gap, "")]
        return spans

    def head(self) -> Line:
        """The line above the rows."""
        titles = {
            "name": "AGENT",
            "address": "ADDRESS",
            "state": "STATE",
            "busy": "BUSY".rjust(self.busy),
            "slots": "SLOTS",
            "cached": "CACHED".rjust(self.cached),
            "model": "MODEL",
            "report": "REPORT",
            "in_flight": "IN FLIGHT",
        }
        values = {word: [(title, "dim")] for word, title in titles.items()}
        return fit([("   ", ""), *self._spans(values)], self.width)

    def row(self, agent: Agent, now: float, glyphs: Glyphs, selected: bool) -> Line:
        """One agent.

        :param selected: it has the mark, and is in reverse video.
        """
        mark, colour = mark_of(agent, now, glyphs)
        state, detail = state_of(agent), brief_of(agent, now)
        both = f"{state}, {detail}" if detail else state
        report, prompts = report_of(agent, now), agent.prompts
        cached = "" if prompts is None else percent(prompts.share)
        values: dict[str, list[Span]] = {
            "name": [(pad(agent.agent_name, self.name), "bold" * (colour in ("red", "yellow")))],
            "address": [(pad(agent.external_llamacpp_addr, self.address), "dim")],
            "state": [
                (both if columns_of(both) <= self.state else state, "red" * (colour == "red"))
            ],
            "busy": [(pad(_busy(agent), self.busy, right=True), "")],
            "slots": cell_spans(agent.cells, self.slots, glyphs),
            "cached": [(pad(cached, self.cached, right=True), "")],
            "model": [(pad(agent.model, self.model), "")],
            "report": [(report, "bold" if agent.state == "stale" else "dim")],
            "in_flight": [(str(agent.in_flight) if agent.known or agent.in_flight else "–", "")],
        }
        pointer = ">" if selected else " "
        line = fit([(pointer, ""), (mark, colour), (" ", ""), *self._spans(values)], self.width)
        return restyled(line, "reverse") if selected else line


def _busy(agent: Agent) -> str:
    if agent.known:
        return f"{agent.busy}/{agent.slots_total}"
    return f"–/{agent.slots_total}" if agent.slots_total else "–"
