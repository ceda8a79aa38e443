"""The top of the screen: who is watched, the verdict, all slots in one bar, the last minutes."""

from __future__ import annotations

from collections.abc import Sequence

from paddler.terminal.counting import Counts
from paddler.terminal.figures import columns_of, number, pad, seconds, span
from paddler.terminal.fleet import Point
from paddler.terminal.glyphs import columns, sparkline
from paddler.terminal.lines import Line, Span, ends, fit
from paddler.terminal.saying import summary, verdict
from paddler.terminal.scene import Scene
from paddler.terminal.table import CELL_STYLES, cell_spans
from paddler.terminal.words import CELLS

__all__ = [
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

#: The minutes that the history reaches back.
_MINUTES = 15


def title(scene: Scene, width: int) -> Line:
    """Whose balancer it is, whether data comes, and the time."""
    live = scene.link.live
    left = [("paddler", "bold"), ("  " + scene.address, "")]
    balancer = scene.fleet.balancer
    if width >= 100 and balancer is not None:
        up = span(balancer.uptime_seconds)
        left.append((f"   version {balancer.version}, up {up}", "dim"))
    state = ("live", "") if live else ("not connected", "bold red")
    if scene.link.fresh:
        state = ("connecting", "")
    return ends(tuple(left), (state, ("  " + scene.clock, "")), width)


def verdict_line(scene: Scene, counts: Counts, width: int) -> Line:
    """The verdict; that there is no connection comes before it."""
    if not scene.link.live:
        how = "bold" if scene.link.fresh else "bold red"
        return fit([(scene.link.sentence(scene.local), how)], width)
    said, how = verdict(scene.fleet, counts, scene.now, width)
    return fit([(said, _STYLES[how])], width)


def summary_line(scene: Scene, counts: Counts, width: int) -> Line:
    """The sentence below it."""
    return fit([(summary(scene.fleet, counts), "")], width)


def legend(scene: Scene, counts: Counts, width: int) -> Line:
    """What the bar's cells mean, with how many there are of each."""
    told = {kind: f" {number(slots)} {CELLS[kind]}" for kind, slots in counts.cells.items()}
    if sum(map(len, told.values())) + 3 * len(told) - 2 > width:
        told = {kind: text for kind, text in told.items() if counts.cells[kind]}
    gap = " " * (4 if sum(map(len, told.values())) + 5 * len(told) <= width else 2)
    spans: list[Span] = []
    for kind, text in told.items():
        spans += [(scene.glyphs.cells[kind], CELL_STYLES[kind]), (text + gap, "")]
    return fit(spans, width)


def bar(scene: Scene, counts: Counts, width: int) -> Line:
    """All slots, as wide as the screen."""
    total = counts.total
    if not total:
        return fit([], width)
    # Stretched first: the kinds' borders are where they are with many slots.
    many = {kind: slots * 1000 for kind, slots in counts.cells.items()}
    return fit(cell_spans(many, width, scene.glyphs), width)


def _latest(points: Sequence[Point], name: str) -> float | None:
    """The newest value that was measured, in the last minute."""
    values = (getattr(point, name) for point in reversed(points[-12:]))
    return next((value for value in values if value is not None), None)


def _rate(scene: Scene) -> float | None:
    requests = _latest(scene.fleet.history, "requests")
    return None if requests is None else requests / scene.fleet.step


def pulse(scene: Scene, width: int) -> Line:
    """Who waits and how fast it goes, in one line."""
    fleet, queue = scene.fleet, scene.fleet.queue
    waiting = [point.requests_waiting for point in fleet.history]
    now = float(queue.requests_waiting)
    most = max([1.0, now, *(value for value in waiting[-23:] if value is not None)])
    line = sparkline([*waiting[-23:], now], most, 8, scene.glyphs)
    if queue.requests_waiting:
        oldest = seconds(fleet.oldest_wait(scene.now)).removesuffix(" s")
        left = [
            (f"wait {queue.requests_waiting}/{queue.limit} ", "bold"),
            (line, "bright_blue"),
            (f" oldest {oldest}/{span(fleet.timeout)}", ""),
        ]
    else:
        left = [("wait none ", ""), (line, "dim")]
    right: list[str] = []
    if (rate := _rate(scene)) is not None:
        right.append(f"{_rounded(rate)} req/s")
    for name, field in (("p50", "ttfb_p50"), ("p95", "ttfb_p95")):
        if (value := _latest(fleet.history, field)) is not None:
            right.append(f"{name} {seconds(value)}")
    room = width - sum(columns_of(text) for text, _ in left)
    while right and columns_of("  ".join(right)) + 2 > room:
        right.pop()
    return ends(tuple(left), (("  ".join(right), ""),) if right else (), width)


def _rounded(value: float) -> str:
    return number(value) if value >= 10 else f"{value:.1f}"


def charts(scene: Scene, counts: Counts, width: int) -> list[Line]:
    """Four charts side by side: a line of heads, three of columns, one of times."""
    fleet, queue, points = scene.fleet, scene.fleet.queue, scene.fleet.history
    rate, p50 = _rate(scene), _latest(points, "ttfb_p50")
    p95 = _latest(points, "ttfb_p95")
    waits = number(queue.requests_waiting) if queue.requests_waiting else "none"
    box = (width - 6) // 4
    first = seconds(p95)
    if p50 is not None and box >= 34:
        first += f"  (p50 {seconds(p50)})"
    in_use = f"{number(counts.busy)} of {number(counts.usable)}"
    boxes = (
        ("Slots in use", in_use, "slots_processing", "bright_blue", max(1.0, counts.usable)),
        (
            "Waiting",
            f"{waits} of {queue.limit}" if queue.limit else waits,
            "requests_waiting",
            "bright_blue",
            1.0,
        ),
        (
            "Requests",
            "–" if rate is None else f"{_rounded(rate)} a second",
            "requests",
            "bright_blue",
            1.0,
        ),
        ("First byte p95", first, "ttfb_p95", "bright_blue", 0.001),
    )
    times = pad("15 min ago", box - 3) + "now"
    rows: list[list[tuple[str, str]]] = [[] for _ in range(5)]
    for index, (name, value, field, colour, least) in enumerate(boxes):
        data = [getattr(point, field) for point in points]
        most = max([least, *(known for known in data if known is not None)])
        # A short history stands at the right end of its fifteen minutes.
        whole = round(_MINUTES * 60 / fleet.step)
        data[:0] = [None] * (whole - len(data))
        gap = [("  ", "")] if index < len(boxes) - 1 else []
        head = pad(name, box - columns_of(value) - 1) + " " + value
        rows[0] += [(pad(head, box), "bold"), *gap]
        for row, text in zip(rows[1:4], columns(data, most, box, 3, scene.glyphs), strict=True):
            row += [(text, colour), *gap]
        rows[4] += [(times, "dim"), *gap]
    return [fit(row, width) for row in rows]


def errors_line(scene: Scene, width: int) -> Line:
    """How many requests ended badly in the time of the charts, by code."""
    errors: dict[str, int] = {}
    for point in scene.fleet.history:
        for code, count in point.errors.items():
            errors[code] = errors.get(code, 0) + count
    if not errors:
        return fit([(f"Errors in {_MINUTES} min: none", "dim")], width)
    told = ", ".join(f"{code} x {number(count)}" for code, count in sorted(errors.items()))
    return fit([(f"Errors in {_MINUTES} min: {told}", "red")], width)
