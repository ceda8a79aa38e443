"""What stands above and below the rows: what needs attention, and one agent closely."""

from __future__ import annotations

from collections.abc import Sequence

from paddler.terminal.agent import Agent
from paddler.terminal.figures import clip, columns_of, cut, many, number, pad, span
from paddler.terminal.fleet import Counts
from paddler.terminal.lines import Line, fit, ruled, text_of, wrapped
from paddler.terminal.matters import Matter, fleet_matters, matters
from paddler.terminal.saying import (
    advice_on,
    detail_of,
    drain_warning,
    fix_of,
    gist_of,
    meaning_of,
    prompts_of,
    report_of,
    state_of,
)
from paddler.terminal.scene import Scene
from paddler.terminal.words import CELLS

__all__ = ["attention", "details", "inspector"]


def attention(scene: Scene, counts: Counts, width: int, most: int) -> list[Line]:
    """What needs a person, in at most so many lines with the rule above them."""
    wide = width >= 120
    found = matters(scene.fleet.agents.values(), scene.now)
    fleet = [m for m in fleet_matters(scene.fleet, counts, scene.now) if wide or m.short]
    everything = [*fleet, *found]
    if not everything or most < (3 if everything[1:] else 2):
        return []
    newest = span(scene.now - max(matter.since for matter in found)) if found else ""
    what = "needs attention" + (f": {many(counts.troubled, 'agent')}" if found else "")
    remark = f"newest {newest} ago" if newest and not wide else ""
    lines = [ruled(((what, "bold"),), remark, width, scene.glyphs.rule)]
    # The last line there is room for tells of the others.
    shown = everything if len(everything) < most else everything[: most - 2]
    lines += (
        [_wide_matter(scene, matter, width) for matter in shown]
        if wide
        else _matters(scene, shown, width)
    )
    if len(shown) < len(everything):
        more = sum(max(1, len(matter.who)) for matter in everything[len(shown) :])
        hint = "tab shows only these"
        left = f"  and {number(more)} more"
        room = width - len(left) - len(hint)
        lines.append(fit([(left, ""), (" " * room, ""), (hint if room > 0 else "", "dim")], width))
    return lines


def _mark(scene: Scene, matter: Matter) -> tuple[str, str]:
    marks = scene.glyphs.marks
    return (marks["severe"], "red") if matter.severe else (marks["warned"], "yellow")


def _matters(scene: Scene, shown: Sequence[Matter], width: int) -> list[Line]:
    """In a row each: who, what, and what to do, below one another."""
    whos = [_who(matter) for matter in shown]
    wide = max(8, *map(columns_of, whos), 0)
    what = max(12, *(len(matter.short) for matter in shown if matter.brief), 0) + 2
    lines = []
    for matter, who in zip(shown, whos, strict=True):
        spans = [_mark(scene, matter), (f" {pad(who, wide)} ", "bold")]
        if not matter.who:
            spans = [_mark(scene, matter), (f" {matter.short}", "bold")]
        elif matter.brief:
            spans += [(pad(matter.short, what), ""), (matter.brief, "bright_blue")]
        else:
            spans.append((matter.short, ""))
        lines.append(fit(spans, width))
    return lines


def _who(matter: Matter) -> str:
    more = len(matter.who) - 1
    return clip(matter.who[0], 20) + (f" +{number(more)}" if more else "") if matter.who else ""


def _wide_matter(scene: Scene, matter: Matter, width: int) -> Line:
    title = (
        matter.title if matter.title[:5] == "llama" else matter.title[0].lower() + matter.title[1:]
    )
    who = ", ".join(matter.who[:2])
    if len(matter.who) > 2:
        who = f"{matter.who[0]} and {number(len(matter.who) - 1)} more"
    about = f"{who}, {matter.aside}" if who and matter.aside else who or matter.aside
    spans = [
        _mark(scene, matter),
        (" " + pad(title, 38) + " ", "bold"),
        (pad(about, 30) + " ", ""),
        (matter.fix, "bright_blue" if matter.who else ""),
    ]
    return fit(spans, width)


def details(scene: Scene, agent: Agent, width: int, most: int) -> list[Line]:
    """One agent, closely, in at most so many lines."""
    rule, now = scene.glyphs.rule, scene.now
    lines = [ruled(((agent.agent_name, "bold"),), "enter closes", width, rule)]
    issue = agent.trouble(now)
    if issue is None:
        detail = detail_of(agent, now)
        state = state_of(agent) + (f", {detail}" if detail else "")
        slots = "Its slots are not known."
        if agent.known:
            slots = f"{agent.busy} of {agent.slots_total} slots busy: {_cells(agent)}."
        lines += wrapped(f"{state}. {slots}", width)
    else:
        advice = advice_on(issue)
        lasts = f"Since {scene.since(issue.since)}, {span(now - issue.since)}."
        lines += wrapped(f"{advice.title}. {meaning_of(agent, issue)} {lasts}", width)
        lines += wrapped(advice.todo, width)
        fix = fix_of(agent, now)
        if fix:
            lines += [fit([], width), fit([("    " + fix, "bright_blue")], width), fit([], width)]
    facts = (
        f"id {agent.agent_id}",
        agent.external_llamacpp_addr,
        many(agent.slots_total, "slot"),
        f"model {', '.join(agent.models)}" if agent.models else "no model known",
        "reports on time" if agent.state != "stale" else f"last report {report_of(agent, now)}",
    )
    line = "   ".join(facts)
    lines += [fit([(line, "")], width)] if columns_of(line) <= width else wrapped(line, width)
    if agent.prompts is not None:
        lines += wrapped(prompts_of(agent), width)
    if agent.error:
        lines += wrapped(f"Last error: {agent.error}", width)
    if len(lines) > most:  # empty lines give way first
        lines = [line for line in lines if text_of(line).strip()][:most]
    return lines


def _cells(agent: Agent) -> str:
    told = [f"{n} {CELLS[k]}" for k, n in agent.cells.items() if n and k not in ("idle", "out")]
    return ", ".join(told) or "none in use"


def inspector(scene: Scene, width: int) -> Line:
    """The marked agent in one line, or what came of the last command."""
    agent, choices, now = scene.selected, scene.choices, scene.now
    if choices.asked == "drain" and (about := scene.fleet.agents.get(choices.about)):
        return fit([(drain_warning(about, scene.fleet, width), "bold")], width)
    if choices.note:
        return fit([(choices.note, "bold")], width)
    if scene.link.ever and not scene.link.live:
        return fit([(f"This is {scene.remark}", "")], width)
    if agent is None:
        empty = "No agent matches; esc shows all."
        if choices.trouble_only and not choices.text:
            empty = "No agent is in trouble; tab shows all."
        return fit([("" if not scene.fleet.agents else empty, "")], width)
    issue = agent.trouble(now)
    hint = ""
    if issue is None:
        detail = detail_of(agent, now)
        text = state_of(agent) + (f", {detail}" if detail else "")
        text += f": {_cells(agent)}" if agent.known else ""
    else:
        text = gist_of(agent, issue)
        hint = " c: copy fix" if fix_of(agent, now) else ""
    name = f"{agent.agent_name}  "
    room = max(0, width - columns_of(name) - len(hint))
    spans = [(name, "bold"), (cut(text, room), ""), (hint, "bright_blue")]
    return fit(spans, width)
