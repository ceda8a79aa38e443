"""What a decision costs with ten thousand llama-servers, over what it costs with ten."""

from __future__ import annotations

from statistics import median

from benchmarks import bench_scheduler
from benchmarks.rows import Goal, Plan, Row
from benchmarks.stand import Stand

__all__ = ["measure"]

FEW, MANY = 10, 10_000
STEPS = 2_000


def measure(stand: Stand, plan: Plan) -> list[Row]:
    """Both in turn, with nobody waiting and with a queue; `bench_scheduler` has the whole grid."""
    rows = []
    for waiters in (0, 1_000):
        costs: dict[int, list[float]] = {FEW: [], MANY: []}
        for _ in range(max(1, plan.rounds // 2)):
            for upstreams, found in costs.items():
                found.append(bench_scheduler.measure(upstreams, waiters, STEPS).microseconds)
        few, many = median(costs[FEW]), median(costs[MANY])
        name = f"a grant, {MANY:,} servers over {FEW}, {waiters:,} waiting"
        rows.append(Row(name, "us", many, ratio=many / few, goal=Goal(2.0)))
    return rows
