"""Paddler beside HAProxy, on this machine: `make bench` is this.

Each proxy has one core to itself, in turn, in front of one server that could do more; the server
and the clients have the others. What is printed are ratios, for the figures themselves are the
machine's. The results are kept in benchmarks/results/latest.json.

    python benchmarks/bench_proxy.py [--only relay] [--rounds 5] [--seconds 2] [--record]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

from benchmarks import chats, grants, idle, paced, relay, small, streams
from benchmarks.machine import Cores, shape
from benchmarks.packages import ensure
from benchmarks.results import BASELINE, LATEST, Results, into_readme
from benchmarks.rows import NotMeasured, Plan, Row
from benchmarks.stand import Stand
from benchmarks.table import table

__all__ = ["main"]

#: The load of a machine from which on its figures are not only ours.
BUSY = 0.5
MEASURES: dict[str, Callable[[Stand, Plan], list[Row]]] = {
    "small": small.measure,
    "chats": chats.measure,
    "relay": relay.measure,
    "paced": paced.measure,
    "streams": streams.measure,
    "idle": idle.measure,
    "grants": grants.measure,
}


def main() -> None:
    """Measure, print the table, keep the results."""
    parser = argparse.ArgumentParser(description="Paddler beside HAProxy, on this machine.")
    parser.add_argument("--only", choices=MEASURES, action="append", help="may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each proxy")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a turn is")
    parser.add_argument(
        "--record", action="store_true", help="compare later runs, and the README, with this one"
    )
    given = parser.parse_args()
    if given.record and given.only:
        sys.exit("--record wants all measures, so not --only")
    ensure("haproxy", "nginx", "taskset", "wrk")
    machine, plan = shape(), Plan(given.rounds, given.seconds)
    cores = Cores.of(os.sched_getaffinity(0))
    cores.keep_this_process()
    if float(machine["load"]) > BUSY:
        print(
            f"others are at work here (load {machine['load']}): compare ratios and CPU, not rates"
        )
    rows: list[Row] = []
    for name in given.only or MEASURES:
        began = time.monotonic()
        try:
            with Stand(cores) as stand:
                rows += MEASURES[name](stand, plan)
        except NotMeasured as problem:
            sys.exit(f"{name}: {problem}")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    results, recorded = Results.now(machine, plan, rows), Results.read(BASELINE)
    results.write(LATEST)
    print(f"\n{table(rows, recorded.by_name() if recorded else {})}")
    if given.record:
        results.write(BASELINE)
        into_readme(results)


if __name__ == "__main__":
    main()
