"""A balancer that has nothing to do but to hear its agents."""

from __future__ import annotations

from benchmarks.machine import cpu_seconds, resident_bytes
from benchmarks.reporting import report_for_a_while
from benchmarks.rows import Goal, NotMeasured, Plan, Row
from benchmarks.stand import Stand

__all__ = ["measure"]

#: Agents, and seconds to measure for each `seconds` of the plan: few take little to be seen.
FEW, LONG = 10, 5.0
MANY, SHORT = 500, 2.0


def measure(stand: Stand, plan: Plan) -> list[Row]:
    """What it has of memory and takes of its core, with few agents and with many."""
    proxy = stand.paddler(None, 0)
    rows = []
    for agents, share, limit in ((FEW, LONG, 0.5), (MANY, SHORT, 50.0)):
        told = report_for_a_while(
            proxy.management, agents, plan.seconds * share, lambda: cpu_seconds(proxy.pid)
        )
        if told.wrong or not told.took:
            raise NotMeasured(f"{len(told.took)} reports answered, {told.wrong} wrong")
        name = f"idle, {agents} agents report"
        busy = told.watched / told.seconds * 100
        rows.append(Row(f"{name}: its core", "%", busy, goal=Goal(limit, of_ratio=False)))
        if agents == FEW:
            memory, goal = resident_bytes(proxy.pid) / 1e6, Goal(80.0, of_ratio=False)
            rows.append(Row(f"{name}: memory", "MB", memory, goal=goal))
        else:
            each = told.watched / len(told.took) * 1e6
            rows.append(Row(f"{name}: CPU of a report", "us", each))
    return rows
