"""A thousand streams at once: how long an event is on its way, and the memory of a stream."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.machine import resident_bytes
from benchmarks.percentiles import percentile
from benchmarks.rows import Goal, NotMeasured, Plan, Row, compared
from benchmarks.stand import Stand
from benchmarks.token_clients import watch_streams

__all__ = ["measure"]

STREAMS = 1000
#: Milliseconds between two events of a stream: 10 a second.
EVERY_MS = 100


def measure(stand: Stand, plan: Plan) -> list[Row]:
    """Each proxy in turn, in front of the same server. Memory is that of the first turn."""
    server = stand.token_server(EVERY_MS)
    proxies = {
        "haproxy": stand.haproxy(server, STREAMS + 24),
        "uvloop": stand.paddler(server, STREAMS + 24),
    }
    delays: dict[tuple[str, float], list[float]] = defaultdict(list)
    memory: dict[str, float] = {}
    for _ in range(max(1, plan.rounds - 2)):
        for name, proxy in proxies.items():
            without = resident_bytes(proxy.pid)
            window = watch_streams(
                proxy.port,
                STREAMS,
                plan.seconds,
                settle=1.0,
                delays=True,
                hold=lambda pid=proxy.pid: float(resident_bytes(pid)),  # type: ignore[misc]
            )
            if window.tally.wrong or not window.tally.delays:
                raise NotMeasured(
                    f"{name}: {window.tally.events} events, {window.tally.wrong} wrong"
                )
            memory.setdefault(name, (window.held - without) / STREAMS / 1000)
            for share in (0.5, 0.99):
                delays[name, share].append(percentile(window.tally.delays, share) * 1e6)
    rows = [
        compared(
            f"delay of an event, 1,000 streams, uvloop: p{share * 100:.0f}",
            "us",
            delays["uvloop", share],
            delays["haproxy", share],
            Goal(3.0),
        )
        for share in (0.5, 0.99)
    ]
    goal = Goal(40.0, of_ratio=False)
    rows.append(
        compared("memory of a stream, uvloop", "kB", [memory["uvloop"]], [memory["haproxy"]], goal)
    )
    return rows
