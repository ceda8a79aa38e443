"""The whole screen: what there is room for, and where it stands. It refuses no size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from paddler.terminal import guide, header, panels
from paddler.terminal.figures import columns_of, cut, number, pad
from paddler.terminal.fleet import Counts
from paddler.terminal.lines import Line, fit, restyled, ruled
from paddler.terminal.map import MapRow, map_rows
from paddler.terminal.ordering import ORDERS
from paddler.terminal.saying import drain_question
from paddler.terminal.scene import Scene
from paddler.terminal.table import Columns

__all__ = ["Screen", "draw"]

#: Below so many columns the bar, models and reports go; below so many lines all but the list.
_NARROW, _LOW = 80, 12
#: From so many columns and lines on there is room for charts.
_CHARTS = (120, 30)

_KEYS = ("/ filter", "tab trouble", "enter details", "d drain", "r resume", "s sort")
_WIDE_KEYS = (
    "/ filter",
    "tab trouble only",
    "enter details",
    "d drain",
    "r resume",
    "c copy the fix",
    "s sort",
    "m map",
    "a ascii",
)


@attrs.frozen
class Screen:
    """A picture.

    :param lines: as many as there was room for, each as wide as the screen.
    :param grid: the ids of the listed agents as they lie, line by line, those out of sight too.
    :param first: the first line of the grid that is in sight.
    :param rows: how many are in sight.
    :param hits: which agents each line of the screen shows, and how many columns each has.
    """

    lines: tuple[Line, ...]
    grid: tuple[tuple[str, ...], ...]
    first: int
    rows: int
    hits: Mapping[int, tuple[tuple[str, ...], int]]


def draw(scene: Scene, width: int, height: int) -> Screen:
    """Draw a screen of this size."""
    width, height = max(1, width), max(1, height)
    counts, low = scene.counts(), height < _LOW
    instead = _guide(scene, width)
    top = _top(scene, counts, width, height)
    if len(instead) > height - len(top) - 3:
        top, low = [header.verdict_line(scene, counts, width)], True  # all else makes room
    bottom = _bottom(scene, width, height, low)
    room = max(0, height - len(top) - len(bottom))
    found = None if instead else _agents(scene, counts, width, height, room)
    middle = [*(instead if found is None else found.lines), *[fit([], width)] * room][:room]
    lines = [*top, *middle, *bottom]
    if not scene.link.live and scene.link.ever:
        kept = 1 if low else 2
        lines = [*lines[:kept], *(restyled(line, "dim") for line in lines[kept:])]
    plain = scene.glyphs.plain
    shown = tuple(tuple((plain(t), style) for t, style in line) for line in lines[:height])
    if found is None:
        return Screen(shown, (), 0, 0, {})
    hits = {y + len(top): hit for y, hit in found.hits.items()}
    return attrs.evolve(found, lines=shown, hits=hits)


def _guide(scene: Scene, width: int) -> list[Line]:
    """What stands in place of the agents, if something does."""
    if scene.choices.help:
        return guide.help_lines(scene, width)
    if not scene.link.live and not scene.link.ever:
        return guide.unlinked(scene, width) or [fit([], width)]
    return [] if scene.fleet.agents else guide.welcome(scene, width)


def _top(scene: Scene, counts: Counts, width: int, height: int) -> list[Line]:
    told = header.verdict_line(scene, counts, width)
    if height < _LOW:
        return [told]
    lines = [header.title(scene, width), told]
    if not scene.fleet.agents:
        known = scene.link.live and width >= _CHARTS[0]
        return [*lines, header.summary_line(scene, counts, width)] if known else lines
    if width >= _CHARTS[0] and height >= _CHARTS[1]:
        lines.append(header.summary_line(scene, counts, width))
        lines += [header.bar(scene, counts, width), header.legend(scene, counts, width)]
        lines += [fit([], width), *header.charts(scene, counts, width)]
        lines.append(header.errors_line(scene, width))
        return lines
    if width >= _NARROW:
        lines += [header.legend(scene, counts, width), header.bar(scene, counts, width)]
    return [*lines, header.pulse(scene, width)]


def _bottom(scene: Scene, width: int, height: int, low: bool) -> list[Line]:
    choices, agent = scene.choices, scene.selected
    asked = _asked(scene, width)
    opened = choices.details and agent is not None and not choices.note and not asked
    # Where there is room for little, what is asked needs it, and what came of it.
    quiet = low and not asked and not choices.note
    told = [] if opened or quiet else [panels.inspector(scene, width)]
    if low:
        return [*told, *asked][-max(1, height - 1) :]
    return [fit([(scene.glyphs.rule * width, "dim")], width), *told, *(asked or [_keys(width)])]


def _asked(scene: Scene, width: int) -> list[Line]:
    """What the last line asks for, if it asks."""
    choices = scene.choices
    if choices.asked == "filter":
        hint = "   enter keeps it, esc shows all"
        shown = cut(choices.typed[::-1], max(1, width - 3))[::-1]
        return [fit([("/ ", "bold"), (shown, "bold"), ("█", ""), (hint, "dim")], width)]
    if choices.asked == "drain" and (about := scene.fleet.agents.get(choices.about)):
        return [fit([(drain_question(about, scene.fleet, width), "bold")], width)]
    return []


def _keys(width: int) -> Line:
    wide = width >= 130
    left, right, gap = "", "? help  q quit", "   " if wide else "  "
    if wide:
        right = "? help   q quit"
    for key in _WIDE_KEYS if wide else _KEYS:
        longer = f"{left}{gap}{key}" if left else key
        if columns_of(longer) + columns_of(right) + 2 > width:
            break
        left = longer
    room = width - columns_of(right) - 1
    return fit([(pad(left, room) + " " if left else "", ""), (right, "")], width)


def _agents(scene: Scene, counts: Counts, width: int, height: int, room: int) -> Screen:
    """Attention, the list and the details: lines, and where the agents are in them."""
    agent, choices, low = scene.selected, scene.choices, height < _LOW
    above: list[Line] = []
    below: list[Line] = []
    if choices.details and agent is not None and not low:
        below = panels.details(scene, agent, width, max(3, min(10, room - 6)))
    if not low and not (below and height < _CHARTS[1]):
        most = min(max(5, height // 5), room - len(below) - 6)
        above = panels.attention(scene, counts, width, most)
    rows = max(0, room - len(above) - len(below) - (0 if low else 1 if scene.mapped else 2))
    columns = Columns.for_agents(list(scene.fleet.agents.values()), width)
    if scene.mapped:
        every = map_rows(scene, width, rows)
    else:
        # Only those in sight are drawn in full; the others only have their place.
        every = [MapRow((), (a.agent_id,), width) for a in scene.listed]
    first = _scrolled(every, choices.selected, choices.first, rows)
    seen = every[first : first + rows]
    if not scene.mapped:
        by_id = scene.fleet.agents
        seen = [
            attrs.evolve(
                row,
                line=columns.row(
                    by_id[row.agents[0]], scene.now, scene.glyphs, row.agents[0] == choices.selected
                ),
            )
            for row in seen
        ]
    lines = list(above)
    if not low:
        lines.append(_list_rule(scene, width, first, len(seen)))
        if not scene.mapped:
            lines.append(columns.head())
    hits = {len(lines) + y: (row.agents, row.step) for y, row in enumerate(seen) if row.agents}
    lines += [row.line for row in seen]
    lines += [fit([], width)] * (room - len(below) - len(lines))
    lines += below
    grid = tuple(row.agents for row in every)
    return Screen(tuple(lines), grid, first, rows, hits)


def _scrolled(every: Sequence[MapRow], selected: str, first: int, rows: int) -> int:
    """The first row in sight: as it was, unless the marked one would be out of sight."""
    at = next((i for i, row in enumerate(every) if selected in row.agents), None)
    if at is not None and rows > 0:
        first = min(max(first, at - rows + 1), at)
        if at == 1 and not every[0].agents:
            first = 0  # with the head above it
    return max(0, min(first, len(every) - rows))


def _list_rule(scene: Scene, width: int, first: int, seen: int) -> Line:
    choices, listed, total = scene.choices, len(scene.listed), len(scene.fleet.agents)
    title = "agents in trouble" if choices.trouble_only else "agents"
    told = f"{title}: {number(listed)}" + (f" of {number(total)}" if listed < total else "")
    text = choices.typed if choices.asked == "filter" else choices.text
    if text:
        told += f' with "{text}"'
    if scene.mapped:
        remark = "by model, then name"
    elif seen < listed:
        remark = f"{number(first + 1)}-{number(first + seen)} of {number(listed)}"
        if choices.sort != "trouble":
            remark = f"by {ORDERS[choices.sort]}, {remark}"
    else:
        remark = f"sorted by {ORDERS[choices.sort]}"
    return ruled(((told, "bold"),), remark, width, scene.glyphs.rule)
