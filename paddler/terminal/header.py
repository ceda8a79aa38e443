"""The top of the screen: who is watched, the verdict, all slots in one bar, the last minutes."""

from __future__ import annotations

from paddler.terminal.figures import (
    columns_of,
    count,
    number,
    pad,
    percent,
    rate,
    seconds,
    span,
)
from paddler.terminal.fleet import Counts
from paddler.terminal.glyphs import columns, sparkline
from paddler.terminal.lines import Line, Span, ends, fit
from paddler.terminal.past import MINUTES
from paddler.terminal.saying import summary, verdict
from paddler.terminal.scene import Scene
from paddler.terminal.table import CELL_STYLES, cell_spans
from paddler.terminal.words import CELLS

__all__ = [
    "after",
    "bar",
    "charts",
    "errors_line",
    "legend",
    "pulse",
    "summary_line",
    "title",
    "verdict_line",
]

_STYLES = {"bad": "bold red", "warn": "bold", "": "bold"}

#: How many times ten a chart's top is its bottom when its scale is logarithmic.
_DECADES = 3
#: How many minutes charts can go back.
_WINDOWS = (MINUTES, 5, 1)


def title(scene: Scene, width: int) -> Line:
    """Whose balancer it is, whether data comes, and the time."""
    live = scene.link.live
    left = [("paddler", "bold"), ("  " + scene.address, "")]
    balancer, up = scene.fleet.balancer, scene.fleet.uptime(scene.now)
    if width >= 100 and balancer is not None and up is not None:
        left.append((f"   version {balancer.version}, up {span(up)}", "dim"))
    state = ("live", "") if live else ("not connected", "bold red")
    if scene.link.fresh:
        state = ("connecting", "")
    return ends(tuple(left), (state, ("  " + scene.clock(scene.local), "")), width)


def verdict_line(scene: Scene, counts: Counts, width: int) -> Line:
    """The verdict; that there is no connection comes before it."""
    if not scene.link.live:
        how = "bold" if scene.link.fresh else "bold red"
        return fit([(scene.link.sentence(scene.local), how)], width)
    said, how = verdict(scene.fleet, counts, scene.now, width)
    return fit([(said, _STYLES[how])], width)


def summary_line(scene: Scene, counts: Counts, width: int) -> Line:
    """The sentence below it."""
    if not scene.link.live:
        return fit([(f"Below is {scene.remark}", "")], width)
    return fit([(summary(scene.fleet, counts), "")], width)


def legend(scene: Scene, counts: Counts, width: int) -> Line:
    """What the bar's cells mean, with how many there are of each."""
    cells = counts.cells
    full = {kind: f" {number(slots)} {CELLS[kind]}" for kind, slots in cells.items()}
    some = {kind: text for kind, text in full.items() if cells[kind]}
    brief = {kind: f" {cells[kind]} {kind}" for kind in some}
    bare = {kind: f" {cells[kind]}" for kind in some}
    for told, gap in ((full, 4), (full, 2), (some, 2), (brief, 1), (bare, 1)):
        if sum(map(len, told.values())) + len(told) + gap * (len(told) - 1) <= width:
            break
    spans: list[Span] = []
    for kind, text in told.items():
        spans += [(scene.glyphs.cells[kind], CELL_STYLES[kind]), (text + " " * gap, "")]
    return fit(spans, width)


def bar(scene: Scene, counts: Counts, width: int) -> Line:
    """All slots, as wide as the screen."""
    total = counts.total
    if not total:
        return fit([], width)
    # Stretched first: the kinds' borders are where they are with many slots.
    many = {kind: slots * 1000 for kind, slots in counts.cells.items()}
    return fit(cell_spans(many, width, scene.glyphs), width)


def pulse(scene: Scene, width: int) -> Line:
    """Who waits and how fast it goes, in one line."""
    fleet, queue = scene.fleet, scene.fleet.queue
    now = float(queue.requests_waiting)
    waiting = [*fleet.history.column("requests_waiting", 2)[1:], now]
    most = max([1.0, *(value for value in waiting if value is not None)])
    line = sparkline(waiting, most, 8, scene.glyphs)
    if queue.requests_waiting:
        oldest = int(fleet.oldest_wait(scene.now))
        left = [
            (f"wait {queue.requests_waiting}/{queue.limit} ", "bold"),
            (line, "bright_blue"),
            (f" oldest {oldest}/{count(fleet.timeout)} s", ""),
        ]
    else:
        left = [("wait none ", ""), (line, "dim")]
    right: list[str] = []
    if fleet.history.rate is not None:
        right.append(f"{rate(fleet.history.rate)} req/s")
    for name, value in zip(("p50", "p95"), fleet.history.first_byte, strict=True):
        if value is not None:
            right.append(f"{name} {seconds(value)}")
    if fleet.by_prompts:
        right.append(f"cached {percent(fleet.history.cached())}")
    room = width - sum(columns_of(text) for text, _ in left)
    while right and columns_of("  ".join(right)) + 2 > room:
        right.pop()
    return ends(tuple(left), (("  ".join(right), ""),) if right else (), width)


def charts(scene: Scene, counts: Counts, width: int) -> list[Line]:
    """Four charts side by side: a line of heads, three of columns, one of times."""
    fleet, queue, minutes = scene.fleet, scene.fleet.queue, scene.choices.minutes
    often, (p50, p95) = fleet.history.rate, fleet.history.first_byte
    box = (width - 6) // 4
    first = seconds(p95)
    if p50 is not None and box >= 34:
        first += f"  (p50 {seconds(p50)})"
    in_use = f"{number(counts.busy)} of {number(counts.usable)}"
    waits = number(queue.requests_waiting) if queue.requests_waiting else "none"
    waits += f" of {number(queue.limit)}" if queue.limit else ""
    boxes = (
        ("Slots in use", in_use, "slots_processing", max(1.0, counts.usable)),
        ("Waiting", waits, "requests_waiting", 1.0),
        ("Requests", "none" if often is None else f"{rate(often)} a second", "requests", 1.0),
        ("First byte p95", first, "ttfb_p95", 0.001),
    )
    decades = _DECADES if scene.choices.log else 0
    times = pad(f"{minutes} min ago", box - 3) + "now"
    rows: list[list[Span]] = [[] for _ in range(5)]
    for index, (name, value, field, least) in enumerate(boxes):
        data = fleet.history.column(field, minutes)
        most = max([least, *(known for known in data if known is not None)])
        gap = [("  ", "")] if index < len(boxes) - 1 else []
        head = pad(name, box - columns_of(value) - 1) + " " + value
        rows[0] += [(pad(head, box), "bold"), *gap]
        drawn = columns(data, most, box, 3, scene.glyphs, decades)
        for row, text in zip(rows[1:4], drawn, strict=True):
            row += [(text, "bright_blue"), *gap]
        rows[4] += [(times, "dim"), *gap]
    return [fit(row, width) for row in rows]


def errors_line(scene: Scene, width: int) -> Line:
    """How many requests ended badly in the time of the charts, by code, and what was cached of
    prompts; and how the charts are drawn.
    """
    minutes = scene.choices.minutes
    errors = scene.fleet.history.errors(minutes)
    words = {code: "cut short" if code == "cut" else code for code in errors}
    told = ", ".join(f"{words[code]} x {number(n)}" for code, n in errors.items()) or "none"
    left: Line = ((f"Errors in {minutes} min: {told}", "red" if errors else "dim"),)
    if scene.fleet.by_prompts:
        share = scene.fleet.history.cached(minutes)
        known = "" if share is None else " of prompts"
        left += ((f"   Cached: {percent(share)}{known}", ""),)
    scale = "L linear scale" if scene.choices.log else "L log scale"
    return ends(left, ((f"{scale}   w {after(minutes)} min", "dim"),), width)


def after(minutes: int) -> int:
    """How far back the charts go after so many minutes, when another window is asked for."""
    return _WINDOWS[(_WINDOWS.index(minutes) + 1) % len(_WINDOWS)]
