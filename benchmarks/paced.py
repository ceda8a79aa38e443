"""What a proxy adds to the time of an answer while it has little to do."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.paced_clients import ask_at_a_pace
from benchmarks.percentiles import percentile
from benchmarks.rows import Goal, NotMeasured, Plan, Row, compared
from benchmarks.small import BODY
from benchmarks.stand import Stand

__all__ = ["measure"]

RATE = 100.0
SLOTS = 64
_REQUEST = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    f"Authorization: Bearer sk-bench\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


def measure(stand: Stand, plan: Plan) -> list[Row]:
    """The server itself and both proxies are asked in turn, each a hundred times a second."""
    server = stand.nginx()
    ports = {
        "direct": server,
        "haproxy": stand.haproxy(server, SLOTS).port,
        "uvloop": stand.paddler(server, SLOTS).port,
    }
    added: dict[tuple[str, float], list[float]] = defaultdict(list)
    for _ in range(plan.rounds):
        took = ask_at_a_pace(ports, _REQUEST, RATE, plan.seconds * 2)
        if (fewest := min(map(len, took.values()))) < RATE * plan.seconds:
            raise NotMeasured(f"{fewest} answers in time, of {RATE * plan.seconds * 2:.0f}")
        for share in (0.5, 0.99):
            direct = percentile(took["direct"], share)
            added["direct", share].append(direct * 1e6)
            for name in ("haproxy", "uvloop"):
                added[name, share].append((percentile(took[name], share) - direct) * 1e6)
    return [
        compared(
            f"added to an answer at 100/s, uvloop: p{share * 100:.0f}",
            "us",
            added["uvloop", share],
            added["haproxy", share],
            Goal(3.0),
        )
        for share in (0.5, 0.99)
    ]
