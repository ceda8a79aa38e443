"""Many agents as a map: one character each, by model, at a place that it keeps."""

from __future__ import annotations

import attrs

from paddler.terminal.agent import Agent
from paddler.terminal.figures import clean, many, number
from paddler.terminal.fleet import Counts
from paddler.terminal.lines import Line, Span, fit
from paddler.terminal.ordering import Order
from paddler.terminal.scene import Scene
from paddler.terminal.table import mark_of

__all__ = ["MapRow", "map_rows"]


@attrs.frozen
class MapRow:
    """A line of the map.

    :param agents: the ids of those in it, from the left; none: it is a head.
    :param step: how many columns each has.
    """

    line: Line
    agents: tuple[str, ...] = ()
    step: int = 1


def map_rows(scene: Scene, width: int, room: int) -> list[MapRow]:
    """All lines of the map.

    :param room: how many lines there are for it; with few, the characters stand closer.
    """
    groups: dict[str, list[Agent]] = {}
    for agent in scene.listed:
        groups.setdefault(agent.model, []).append(agent)
    order, selected = Order(), scene.choices.selected
    loose = sum(1 + -(-len(members) // (width // 2 or 1)) for members in groups.values())
    step = 2 if loose <= room else 1
    rows: list[MapRow] = []
    for model in sorted(groups):
        members = order.of(groups[model], "name", scene.now)
        rows.append(MapRow(_head(scene, model, members, width)))
        per = max(1, width // step)
        for start in range(0, len(members), per):
            own = members[start : start + per]
            spans = [s for agent in own for s in _square(scene, agent, selected, step)]
            ids = tuple(agent.agent_id for agent in own)
            rows.append(MapRow(fit(spans, width), ids, step))
    return rows


def _head(scene: Scene, model: str, members: list[Agent], width: int) -> Line:
    counts = Counts.of(members, scene.now)
    told = f"  {number(counts.busy)} of {number(counts.usable)} slots busy, "
    told += many(len(members), "agent")
    if counts.troubled:
        told += f", {number(counts.troubled)} in trouble"
    return fit([(clean(model) or "no model known", "bold"), (told, "")], width)


def _square(scene: Scene, agent: Agent, selected: str, step: int) -> list[Span]:
    mark, colour = mark_of(agent, scene.now, scene.glyphs)
    if colour in ("", "green") and agent.state in ("ready", "full") and agent.slots_total:
        levels = scene.glyphs.levels
        level = round(agent.busy / agent.slots_total * len(levels))
        lowest = scene.glyphs.cells["idle"]
        mark, colour = (
            (lowest if not agent.busy else levels[max(0, min(level, 8) - 1)]),
            "bright_blue",
        )
    if agent.agent_id == selected:
        colour = f"{colour} reverse".strip()
    return [(mark, colour), (" " * (step - 1), "")]
