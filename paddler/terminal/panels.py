"""What stands between the header and the last line beside the rows: attention, details, help."""

from __future__ import annotations

import time

from paddler.terminal.counting import Counts
from paddler.terminal.figures import clip, columns_of, cut, many, number, pad, port_in, span, wrap
from paddler.terminal.fleet import Agent
from paddler.terminal.lines import Line, fit, ruled, text_of
from paddler.terminal.matters import Matter, fleet_matters, matters
from paddler.terminal.saying import (
    advice_on,
    detail_of,
    fix_of,
    gist_of,
    meaning_of,
    report_of,
    state_of,
)
from paddler.terminal.scene import Scene

__all__ = ["HELP", "attention", "details", "help_lines", "inspector", "welcome"]

HELP = (
    ("up down", "choose an agent (also j k, page up, page down, home, end)"),
    ("enter", "its details"),
    ("/", "show only agents with a text in name, address, state or model; esc shows all"),
    ("tab", "show only agents in trouble"),
    ("d", "drain: no new requests to it; running answers finish"),
    ("r", "resume: requests to it again"),
    ("c", "copy what mends it"),
    ("s", "sort by trouble, load or name"),
    ("m", "map or rows; above 200 agents the map comes by itself"),
    ("a", "plain ASCII characters"),
    ("q", "quit"),
)


def attention(scene: Scene, counts: Counts, width: int, most: int) -> list[Line]:
    """What needs a person, in at most so many lines with the rule above them."""
    wide = width >= 120
    found = matters(scene.fleet.agents.values(), scene.now)
    fleet = fleet_matters(scene.fleet, counts, scene.now) if wide else []
    if not found and not fleet or most < 2:
        return []
    newest = span(scene.now - max(matter.since for matter in found)) if found else ""
    what = f"needs attention: {many(counts.troubled, 'agent')}"
    remark = f"newest {newest} ago" if newest and not wide else ""
    lines = [ruled(((what, "bold"),), remark, width, scene.glyphs.rule)]
    everything = [*fleet, *found]
    # The last line there is room for tells of the others.
    shown = everything if len(everything) < most else everything[: most - 2]
    draw = _wide_matter if wide else _matter
    lines += [draw(scene, matter, width) for matter in shown]
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


def _matter(scene: Scene, matter: Matter, width: int) -> Line:
    more = len(matter.who) - 1
    who = clip(matter.who[0], 20) + (f" +{number(more)}" if more else "")
    spans = [_mark(scene, matter), (" " + pad(who, max(8, columns_of(who))) + " ", "bold")]
    if matter.brief:
        spans += [
            (pad(matter.short, max(14, len(matter.short) + 2)), ""),
            (matter.brief, "bright_blue"),
        ]
    else:
        spans.append((matter.short, ""))
    return fit(spans, width)


def _wide_matter(scene: Scene, matter: Matter, width: int) -> Line:
    title = (
        matter.title if matter.title[:5] == "llama" else matter.title[0].lower() + matter.title[1:]
    )
    who = ", ".join(matter.who[:2])
    if len(matter.who) > 2:
        who = f"{matter.who[0]} and {len(matter.who) - 1} more"
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
        lines += _text(f"{state}. {slots}", width)
    else:
        advice = advice_on(issue)
        since = time.strftime("%H:%M:%S", time.localtime(issue.since))
        lasts = f"Since {since}, {span(now - issue.since)}."
        lines += _text(f"{advice.title}. {meaning_of(agent, issue)} {lasts}", width)
        lines += _text(advice.todo, width)
        fix = fix_of(agent, now)
        if fix:
            lines += [fit([], width), fit([("    " + fix, "bright_blue")], width), fit([], width)]
    facts = (
        f"id {agent.agent_id}",
        agent.external_llamacpp_addr,
        many(agent.slots_total, "slot"),
        f"model {agent.model}" if agent.model else "no model known",
        "reports on time" if agent.state != "stale" else f"last report {report_of(agent, now)}",
    )
    lines += _text("   ".join(facts), width, keep="   ")
    if agent.error:
        lines += _text(f"Last error: {agent.error}", width)
    if len(lines) > most:  # empty lines give way first
        lines = [line for line in lines if text_of(line).strip()][:most]
    return lines


def _cells(agent: Agent) -> str:
    told = [f"{n} {k}" for k, n in agent.cells.items() if n and k not in ("idle", "out")]
    return ", ".join(told).replace("left", "client left") or "none in use"


def _text(text: str, width: int, keep: str = "") -> list[Line]:
    if keep and len(text) <= width:
        return [fit([(text, "")], width)]
    return [fit([(line, "")], width) for line in wrap(text, width)]


def inspector(scene: Scene, width: int) -> Line:
    """The marked agent in one line, or what came of the last command."""
    agent, choices, now = scene.selected, scene.choices, scene.now
    if choices.note:
        return fit([(choices.note, "bold")], width)
    if agent is None:
        empty = "" if scene.listed or not scene.fleet.agents else "No agent matches; esc shows all."
        return fit([(empty, "")], width)
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


def help_lines(scene: Scene, width: int) -> list[Line]:
    """What the keys do."""
    lines = [ruled((("keys", "bold"),), "? closes", width, scene.glyphs.rule)]
    for key, what in HELP:
        wrapped = wrap(what, max(10, width - 10))
        lines.append(fit([(pad(key, 9) + " ", "bold"), (wrapped[0], "")], width))
        lines += [fit([(" " * 10 + rest, "")], width) for rest in wrapped[1:]]
    return lines


def welcome(scene: Scene, width: int) -> list[Line]:
    """What to do when there is no agent yet."""
    host, _, port = scene.address.rpartition(":")
    near = host.startswith(("127.", "localhost", "[::1]"))
    balancer = scene.fleet.balancer
    proxy = "8086" if balancer is None else port_in(balancer.reverseproxy) or "8086"
    here = "THIS-HOST" if near else host
    steps = (
        (
            "Start llama-server.",
            "llama-server -m model.gguf --host 0.0.0.0 --port 8088 --parallel 4",
        ),
        (
            "Start an agent beside it, on the same machine.",
            f"paddler agent --management-host {here} --management-port {port} "
            "--external-llamacpp-host $(hostname -I | cut -d' ' -f1)",
        ),
        (
            "Ask something, through the balancer.",
            f"curl http://{here}:{proxy}/v1/chat/completions -d "
            '\'{"messages":[{"role":"user","content":"hello"}]}\'',
        ),
    )
    lines = [ruled((("add the first agent", "bold"),), "", width, scene.glyphs.rule)]
    for index, (what, command) in enumerate(steps, 1):
        lines.append(fit([(f"{index} ", "bold"), (what, "")], width))
        parts = wrap(command, width - 6)
        ends = [" \\"] * (len(parts) - 1) + [""]
        for part, end in zip(parts, ends, strict=True):
            lines.append(fit([("    " + part + end, "bright_blue")], width))
    hint = (
        "If nothing appears: an agent on another machine needs a balancer started with "
        "--management-host 0.0.0.0, and its token if it has one. To look around: paddler demo"
    )
    lines += [fit([], width), *_text(hint, width)]
    lines += _text("Listening for agents. This changes by itself when one reports.", width)
    return lines
