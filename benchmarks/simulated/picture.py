"""The figures of a comparison as a picture: a panel for each kind of traffic, in SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.simulated.running import Result

__all__ = ["picture"]

WIDTH, HEIGHT, LEFT, TOP, GAP = 190, 240, 46, 34, 22
LEAST, MOST = 0.4, 800.0
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
#: Of those that are shown, what they are called here and their colours, ours last and on top.
SHOWN = {
    "round robin": ("round robin", "#b5b2ab"),
    "HAProxy leastconn, maxconn = slots": ("HAProxy leastconn + maxconn", "#c2571a"),
    "hash of the chat": ("hash of the chat", "#8a5fb0"),
    "expected time, weight 3, stealing": ("expected time, weight 3", "#5b8c3e"),
    "Paddler, idle-slots": ("Paddler, idle-slots", "#7d9cc0"),
    "**Paddler, prefix**": ("Paddler, prefix", "#0b57a4"),
}

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #333 } .t { font-weight: 600; font-size: 12px }
.g { stroke: #ddd; stroke-width: 1 } .m { text-anchor: middle } .e { text-anchor: end }
path { fill: none; stroke-width: 1.6 } .ours { stroke-width: 3 }
@media (prefers-color-scheme: dark) { text { fill: #ccc } .g { stroke: #444 } }
"""


def _y(seconds: float) -> float:
    share = math.log(min(MOST, max(LEAST, seconds)) / LEAST) / math.log(MOST / LEAST)
    return TOP + HEIGHT * (1 - share)


def picture(
    found: Mapping[tuple[str, str, float], Result],
    traffics: Sequence[str],
    loads: Sequence[float],
) -> str:
    """An SVG.

    :param found: the results, by policy, traffic and load.
    """
    columns = math.ceil(len(SHOWN) / 2)
    width = LEFT + len(traffics) * (WIDTH + GAP)
    height = TOP + HEIGHT + 84
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        "<title>Mean seconds to the first token by load, for each kind of traffic</title>",
        f"<style>{_STYLE}</style>",
    ]
    for number, traffic in enumerate(traffics):
        begin = LEFT + number * (WIDTH + GAP)
        parts += _panel(found, traffic, loads, begin, with_ticks=number == 0)
    for number, (name, colour) in enumerate(SHOWN.values()):
        x = LEFT + number % columns * 230
        y = TOP + HEIGHT + 48 + number // columns * 20
        kind = ' class="ours"' if name == "Paddler, prefix" else ""
        parts.append(f'<path{kind} stroke="{colour}" d="M{x} {y}h26"/>')
        parts.append(f'<text x="{x + 32}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    found: Mapping[tuple[str, str, float], Result],
    traffic: str,
    loads: Sequence[float],
    begin: int,
    *,
    with_ticks: bool,
) -> list[str]:
    xs = [begin + 14 + n * (WIDTH - 28) / (len(loads) - 1) for n in range(len(loads))]
    parts = [f'<text class="t" x="{begin}" y="{TOP - 14}">{escape(traffic)}</text>']
    for tick in TICKS:
        y = _y(tick)
        parts.append(f'<path class="g" d="M{begin} {y:.1f}h{WIDTH}"/>')
        if with_ticks:
            parts.append(f'<text class="e" x="{begin - 6}" y="{y + 4:.1f}">{tick:g} s</text>')
    for x, load in zip(xs, loads, strict=True):
        label = f"load {load:g}" if load == loads[0] else f"{load:g}"
        parts.append(f'<text class="m" x="{x:.0f}" y="{TOP + HEIGHT + 18}">{label}</text>')
    for policy, (_, colour) in SHOWN.items():
        points = (
            f"{x:.1f} {_y(found[policy, traffic, load].mean):.1f}"
            for x, load in zip(xs, loads, strict=True)
        )
        kind = ' class="ours"' if "prefix" in policy and "Paddler" in policy else ""
        parts.append(f'<path{kind} stroke="{colour}" d="M{" L".join(points)}"/>')
    return parts
