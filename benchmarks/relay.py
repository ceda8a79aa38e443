"""Tokens passed on: what one event of a running stream costs the proxy."""

from __future__ import annotations

from benchmarks.machine import cpu_seconds
from benchmarks.rows import Goal, NotMeasured, Plan, Row, compared
from benchmarks.stand import Stand
from benchmarks.token_clients import watch_streams

__all__ = ["measure"]

STREAMS = 64
#: Milliseconds between two events of a stream: 250 a second.
EVERY_MS = 4


def measure(stand: Stand, plan: Plan) -> list[Row]:
    """Each proxy in turn, in front of the same server."""
    server = stand.token_server(EVERY_MS)
    proxies = {
        "haproxy": stand.haproxy(server, STREAMS),
        "uvloop": stand.paddler(server, STREAMS),
        "twisted.web": stand.paddler(server, STREAMS, "--fast-lane=false"),
    }
    costs: dict[str, list[float]] = {name: [] for name in proxies}
    rates: dict[str, list[float]] = {name: [] for name in proxies}
    for turn in range(plan.rounds + 1):
        for name, proxy in proxies.items():
            window = watch_streams(
                proxy.port,
                STREAMS,
                plan.seconds if turn else 0.5,
                watch=lambda pid=proxy.pid: cpu_seconds(pid),  # type: ignore[misc]
            )
            if window.tally.wrong or not window.tally.events:
                raise NotMeasured(
                    f"{name}: {window.tally.events} events, {window.tally.wrong} wrong"
                )
            if turn:  # the first one warms up
                costs[name].append(window.watched / window.tally.events * 1e6)
                rates[name].append(window.tally.events / window.seconds)
    rows = []
    for name in ("uvloop", "twisted.web"):
        goal = Goal(1.5) if name == "uvloop" else None
        rows.append(
            compared(
                f"token relay, {name}: CPU of an event", "us", costs[name], costs["haproxy"], goal
            )
        )
    rows.append(compared("token relay, uvloop: events", "/s", rates["uvloop"], rates["haproxy"]))
    return rows
