"""Small chats, one answer each: how many a second, and what one costs the proxy."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict

from benchmarks.machine import cpu_seconds, program
from benchmarks.rows import Goal, NotMeasured, Plan, Row, compared
from benchmarks.stand import Proxy, Stand, report

__all__ = ["BODY", "CONNECTIONS", "DONE", "compare", "measure", "usual"]

CONNECTIONS = 32
SLOTS = 64
#: For the rate, and the same said of CPU: that a core which others want too can't hide.
GOALS = Goal(0.6, at_least=True), Goal(1.67)
#: What is asked.
BODY = json.dumps(
    {
        "model": "model.gguf",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        "max_tokens": 16,
    }
)
#: Has wrk say what came of it.
DONE = """
done = function(summary)
    local e = summary.errors
    print("did", summary.requests, summary.duration, e.connect + e.read + e.write + e.status)
end
"""
_SCRIPT = """
wrk.method = "POST"
wrk.body = '{body}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-bench"
"""


def measure(stand: Stand, plan: Plan) -> list[Row]:
    """Each proxy in turn, in front of the same nginx."""
    server = stand.nginx()
    proxies = {
        **usual(stand, server),
        "asyncio": stand.paddler(server, SLOTS, reactor="asyncio"),
        "twisted.web": stand.paddler(server, SLOTS, "--fast-lane=false"),
    }
    script = stand.write("small.lua", _SCRIPT.format(body=BODY) + DONE)
    return compare("small POSTs", proxies, server, script, plan, GOALS)


def usual(stand: Stand, server: int) -> dict[str, Proxy]:
    """HAProxy, and Paddler by prompts and by idle slots, in front of a server."""
    return {
        "haproxy": stand.haproxy(server, SLOTS),
        "uvloop": stand.paddler(server, SLOTS),
        "idle-slots": stand.paddler(server, SLOTS, "--balancing=idle-slots"),
    }


def compare(
    what: str,
    proxies: dict[str, Proxy],
    server: int,
    script: str,
    plan: Plan,
    goals: tuple[Goal, Goal],
) -> list[Row]:
    """Each proxy in turn, against HAProxy, which is one of them.

    :param script: what wrk asks.
    :param goals: of uvloop, for the rate and for CPU.
    """
    rates: dict[str, list[float]] = defaultdict(list)
    costs: dict[str, list[float]] = defaultdict(list)
    busy: dict[str, list[float]] = defaultdict(list)
    for proxy in proxies.values():
        _load(proxy, script, 1.0)
    for _ in range(plan.rounds):
        for name, proxy in proxies.items():
            if proxy.management:
                # wrk left in the middle; a report has those slots free again.
                report(proxy.management, server, SLOTS)
            before = cpu_seconds(proxy.pid)
            requests, seconds = _load(proxy, script, plan.seconds)
            spent = cpu_seconds(proxy.pid) - before
            rates[name].append(requests / seconds)
            costs[name].append(spent / requests * 1e6)
            busy[name].append(spent / seconds * 100)
    rows = []
    for name in proxies:
        if name == "haproxy":
            continue
        rate, cost = goals if name == "uvloop" else (None, None)
        its = f"{what}, {name}"
        rows.append(compared(its, "/s", rates[name], rates["haproxy"], rate))
        rows.append(compared(f"{its}: CPU of one", "us", costs[name], costs["haproxy"], cost))
    rows.append(
        compared(f"{what}, uvloop: share of its core", "%", busy["uvloop"], busy["haproxy"])
    )
    return rows


def _load(proxy: Proxy, script: str, seconds: float) -> tuple[int, float]:
    """Have wrk ask; the requests that were answered, and the seconds it took."""
    wrk = program("wrk")
    assert wrk is not None
    words = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", script]
    ran = subprocess.run(
        [*words, f"http://127.0.0.1:{proxy.port}/v1/chat/completions"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if ran.returncode:
        raise NotMeasured(f"wrk ended with {ran.returncode}: {ran.stderr.strip()}")
    (line,) = (line for line in ran.stdout.splitlines() if line.startswith("did"))
    requests, microseconds, errors = map(int, line.split()[1:])
    if errors or not requests:
        raise NotMeasured(f"wrk had {requests} answers and {errors} errors")
    return requests, microseconds * 1e-6
