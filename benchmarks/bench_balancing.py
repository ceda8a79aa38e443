"""How long chats wait for their first token, by how they are balanced, in simulation.

The scheduler is the real one, with each of its policies; the servers are simulated, and so are
the balancers that it is held against. The same seeds give the same figures. By itself it looks
at one run of each kind of traffic; `--full` makes the tables of docs/scheduling.md and the
picture in it, in some ten minutes. Exit code 1 when, at three quarters of the load, chats wait
longer than a twentieth of what they wait behind HAProxy.

    python benchmarks/bench_balancing.py [--full]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.simulated.others import OTHERS, Other
from benchmarks.simulated.ours import idle_slots, prefix
from benchmarks.simulated.picture import picture
from benchmarks.simulated.running import Result, Worse, run
from benchmarks.simulated.traffic import TRAFFICS
from paddler.scheduling.policies import Prefix

__all__ = ["main"]

DOCS = Path(__file__).resolve().parent.parent / "docs"
LOADS, SEEDS, CHATS = (0.5, 0.75, 0.9), (1, 2, 3), 1500
HAPROXY, OURS = "HAProxy leastconn, maxconn = slots", "**Paddler, prefix**"
#: The share of HAProxy's time that is good enough.
GOOD = 1 / 20
NEVER = 1e9
BOUNDS = (5.0, 10.0, 20.0, 30.0, 60.0, NEVER)
WORSE = {
    "as it should be": Worse(),
    "servers lose 20 % of the prompts unnoticed": Worse(loses=0.2),
    "what happened is heard of 2 s late": Worse(late=2.0),
}
_BEGIN, _END = "<!-- begin {} -->", "<!-- end {} -->"


def _other(name: str) -> Callable[..., Any]:
    return lambda traffic, send, random: Other(traffic, send, random, OTHERS[name])


def policies() -> dict[str, Callable[..., Any]]:
    """What makes each balancer, by its name."""
    return {
        **{name: _other(name) for name in OTHERS},
        "Paddler, idle-slots": idle_slots,
        OURS: prefix(),
    }


def over_seeds(seeds: Iterable[int], chats: int, *more: Any, **given: Any) -> Result:
    """The means over several runs, and the longest wait of all."""
    results = [run(*more, seed=seed, chats=chats, **given) for seed in seeds]
    count = len(results)
    return Result(
        sum(r.mean for r in results) / count,
        sum(r.p99 for r in results) / count,
        max(r.longest for r in results),
        sum(r.evaluated for r in results) / count,
        sum(r.grows for r in results) * 2 > count,
    )


def _shown(result: Result) -> str:
    digits = 0 if result.mean >= 20 else 1 if result.mean >= 10 else 2
    return f"{result.mean:.{digits}f}{'*' if result.grows else ''}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def compare(names: list[str]) -> dict[tuple[str, str, float], Result]:
    """Every balancer with every kind of traffic at every load."""
    found = {}
    for policy, make in policies().items():
        for traffic in names:
            for load in LOADS:
                found[policy, traffic, load] = over_seeds(SEEDS, CHATS, make, traffic, load)
            shown = (_shown(found[policy, traffic, load]) for load in LOADS)
            print(f"{policy}, {traffic}: {' '.join(shown)}", flush=True)
    return found


def write(name: str, text: str) -> None:
    """Put a table into its place in the page."""
    page = DOCS / "scheduling.md"
    begin, end = _BEGIN.format(name), _END.format(name)
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def full(names: list[str]) -> None:
    """Make the page's tables and its picture."""
    found = compare(names)
    rows = (
        [policy, *(" ".join(_shown(found[policy, t, load]) for load in LOADS) for t in names)]
        for policy in policies()
    )
    write("policies", _table(["policy", *names], rows))
    (DOCS / "scheduling.svg").write_text(picture(found, names, LOADS))
    worse = []
    for what, how in WORSE.items():
        results = [over_seeds(SEEDS, CHATS, prefix(), "chats", load, worse=how) for load in LOADS]
        worse.append([what, *map(_shown, results)])
        print(*worse[-1], flush=True)
    write("worse", _table(["chats, at a load of", *map(str, LOADS)], worse))
    bounds = []
    for bound in BOUNDS:
        row = ["none" if bound == NEVER else f"{bound:g} s"]
        for traffic in ("chats", "bursts"):
            for load in LOADS[1:]:
                make = prefix(Prefix(fairness_bound=bound))
                result = over_seeds(SEEDS, CHATS, make, traffic, load)
                row.append(f"{_shown(result)}, {result.longest:.0f}")
        bounds.append(row)
        print(*row, flush=True)
    kinds = [f"{traffic}, {load:g}" for traffic in ("chats", "bursts") for load in LOADS[1:]]
    write("bounds", _table(["fairness bound", *kinds], bounds))


def short() -> int:
    """One run of every kind of traffic."""
    good = True
    for traffic in TRAFFICS:
        shown = []
        results = {}
        for policy in (HAPROXY, "Paddler, idle-slots", OURS):
            results[policy] = over_seeds((1,), CHATS, policies()[policy], traffic, 0.75)
            shown.append(f"{policy.strip('*')} {_shown(results[policy])} s")
        print(f"{traffic}: {'; '.join(shown)}", flush=True)
        if traffic == "chats":
            good = results[OURS].mean <= GOOD * results[HAPROXY].mean
    return int(not good)


def main() -> None:
    """Simulate, print, and with `--full` write the page."""
    parser = argparse.ArgumentParser(description="Balancers in front of simulated servers.")
    parser.add_argument("--full", action="store_true", help="make docs/scheduling.md's tables")
    given = parser.parse_args()
    if given.full:
        full([name for name in TRAFFICS if name != "tight caches"])
    else:
        sys.exit(short())


if __name__ == "__main__":
    main()
