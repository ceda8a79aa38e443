"""Made-up fleets for the dashboard: served as the management API would, from its own values.

    python -m tests.dashboard_scenes trouble --live

serves one on a port of the loopback, which it prints, until its standard input closes;
with `--live` agents change once a second. For pictures and measurements: what the real
balancer says is tested in front of the real balancer.
"""

from __future__ import annotations

import sys
import time
from random import Random
from typing import Any, cast

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall
from twisted.web.server import Site

from paddler.scheduling.views import AgentView, IssueView, PromptsView
from tests.pretending import Pretended

__all__ = ["SCENES", "Scene", "scene"]

reactor = cast(Any, _reactor)

MODELS = ("llama-3.1-8b-instruct-q5", "gemma-3-12b-it-q4", "qwen3-8b-q4_k_m")
SCENES = ("busy", "three", "trouble", "thousand", "empty", "full")
POINTS, STEP = 180, 5


@attrs.define(eq=False)
class Scene:
    """A fleet and its last 15 minutes."""

    agents: list[AgentView]
    waiting: int = 0
    oldest: float = 0.0
    rate: float = 4.2
    p50: float = 0.38
    p95: float = 1.9
    errors: dict[str, int] = attrs.field(factory=dict)
    uptime: float = 6 * 86400 + 4 * 3600


class _Making:
    """Makes agents, the same each time."""

    def __init__(self, now: float, load: float) -> None:
        self.random, self.prompted = Random(7), Random(5)
        self.now = now
        self.load = load

    def agent(self, number: int, state: str = "ready", issue: str = "", **given: Any) -> AgentView:
        """One agent; what is not given is made up."""
        total = given.pop("total", 0) or self.random.choice((4, 4, 4, 8))
        counts = dict.fromkeys(("in_flight", "promised", "foreign_busy", "client_left"), 0)
        counts["in_flight"] = given.pop("busy", 0)
        if state in ("ready", "full") and not counts["in_flight"]:
            counts = self.counts(total, state)
        busy = counts["in_flight"] + counts["foreign_busy"] + counts["client_left"]
        if busy >= total:
            state = "full"
        issues = (IssueView(cast(Any, issue), self.now - given.pop("ago", 130), "agent"),)
        seen_by = given.pop("seen_by", "agent")
        if seen_by == "balancer":
            issues = (attrs.evolve(issues[0], seen_by="balancer"),)
        fields: dict[str, Any] = {
            "agent_id": f"id{number}",
            "agent_name": f"gpu-{number:02}",
            "external_llamacpp_addr": f"10.0.{number // 250 + 4}.{number % 250 + 1}:8088",
            "state": state,
            "issues": issues if issue else (),
            "slots_total": total,
            "slots_idle": total - busy if state == "ready" else 0,
            "slots_processing": busy,
            "models": (MODELS[number % 3],),
            "quarantined_until": None,
            "draining": state == "draining",
            "last_update": self.now - 0.4,
            "error": None,
            "prompts": self.prompts(),
            **counts,
            **given,
        }
        return AgentView(**fields)

    def prompts(self) -> PromptsView:
        """What was cached there, and how fast it is; the random numbers are its own."""
        tokens, share = self.prompted.randrange(10**5, 10**7), self.prompted.uniform(0.6, 0.9)
        speed = self.prompted.uniform(700, 1800)
        return PromptsView(tokens, round(tokens * share), round(speed, 1), round(speed / 32, 1))

    def counts(self, total: int, state: str) -> dict[str, int]:
        """How its slots are used."""
        r = self.random
        busy = total
        if state == "ready":
            busy = min(total - 1, int(r.random() * r.random() * 1.6 * total + total * self.load))
        foreign = int(busy > 1 and r.random() < 0.16)
        left = int(busy > 1 and not foreign and r.random() < 0.08)
        ours = busy - foreign - left
        return {
            "in_flight": ours,
            "promised": int(ours > 0 and r.random() < 0.15),
            "foreign_busy": foreign,
            "client_left": left,
        }


def scene(name: str, now: float) -> Scene:
    """One of `SCENES`, as it is at this time."""
    making = _Making(now, 0.3 if name == "thousand" else 0.4)
    odd: dict[int, dict[str, Any]] = {}
    count = {"three": 3, "thousand": 1000, "empty": 0}.get(name, 12)
    found = Scene([])
    if name == "empty":
        found = Scene([], waiting=3, oldest=12.0, rate=0.0, uptime=150)
    elif name == "three":
        odd = {1: {"total": 4}, 2: {"state": "full", "total": 4}, 3: {"total": 4}}
        found.rate = 0.6
    elif name == "full":
        odd = {n: {"state": "full"} for n in range(1, 13)}
        found = Scene([], waiting=9, oldest=6.2, p50=2.1, p95=7.8)
    elif name == "trouble":
        odd = _troubled(now)
        found = Scene([], 37, 41.0, 5.8, 9.4, 38.0, {"502": 4, "504": 2})
    elif name == "thousand":
        odd = _rare(now)
        found = Scene([], rate=412.0, p50=0.41, p95=2.2, errors={"502": 3})
    else:
        odd = {
            3: {"state": "full", "total": 8},
            6: {"state": "full"},
            9: {"state": "loading", "issue": "loading", "ago": 20},
            11: {"state": "sleeping"},
        }
    found.agents = [making.agent(n, **odd.get(n, {})) for n in range(1, count + 1)]
    if name == "thousand":
        found.agents = [
            attrs.evolve(a, agent_name=f"gpu-{n:04}") for n, a in enumerate(found.agents, 1)
        ]
    return found


def _troubled(now: float) -> dict[int, dict[str, Any]]:
    return {
        **{n: {"state": "full"} for n in (1, 2, 4, 6, 9, 11)},
        3: {"state": "unreachable", "issue": "unauthorized", "total": 8},
        5: {"state": "unreachable", "issue": "unreachable", "seen_by": "balancer"},
        7: {
            "state": "quarantined",
            "issue": "quarantined",
            "seen_by": "balancer",
            "quarantined_until": now + 17,
        },
        8: {"state": "draining", "busy": 3, "total": 4},
        10: {"state": "stale", "issue": "stale", "last_update": now - 4.2, "seen_by": "balancer"},
        12: {"state": "loading", "issue": "loading", "ago": 20},
    }


def _rare(now: float) -> dict[int, dict[str, Any]]:
    held: dict[str, Any] = {
        "state": "quarantined",
        "issue": "quarantined",
        "seen_by": "balancer",
        "quarantined_until": now + 12,
    }
    return {
        **dict.fromkeys((112, 113, 114, 115), {"state": "unreachable", "issue": "unauthorized"}),
        318: {"state": "unreachable", "issue": "unreachable", "seen_by": "balancer"},
        441: held,
        702: held,
        560: {"state": "stale", "issue": "stale", "last_update": now - 3.6, "seen_by": "balancer"},
        88: {"state": "draining", "busy": 2, "total": 4},
        89: {"state": "draining", "busy": 1, "total": 4},
        90: {"state": "draining", "total": 4},
        **dict.fromkeys((903, 904, 905), {"state": "loading", "issue": "loading", "ago": 20}),
        **dict.fromkeys(range(960, 1001), {"state": "sleeping"}),
    }


def points(fleet: Scene, now: float) -> list[dict[str, Any]]:
    """The last 15 minutes: loads that wander, and waiting that grew in the last five."""
    random = Random(11)
    total = sum(a.slots_total for a in fleet.agents)
    busy = sum(a.slots_processing for a in fleet.agents)

    def wandering(end: float, spread: float) -> list[float]:
        found, value = [], end * 0.85
        for n in range(POINTS):
            value += (random.random() - 0.5) * spread + (end - value) * (
                0.02 + 0.12 * (n / POINTS) ** 3
            )
            found.append(max(0.0, value))
        return [*found[:-1], end]

    def growing(end: float) -> list[float]:
        return [
            max(0.0, end * max(0.0, (n - 118) / 61) ** 1.4 * (0.9 + random.random() * 0.2))
            for n in range(POINTS)
        ]

    long = fleet.oldest > 30
    slots = [min(float(total), v) for v in wandering(busy, total * 0.05)]
    waiting = growing(fleet.waiting) if fleet.waiting else [0.0] * POINTS
    if not fleet.waiting and fleet.agents:
        waiting[66:74] = [1, 3, 4, 2, 4, 3, 1, 1]
    rates = wandering(fleet.rate, fleet.rate * 0.22)
    p50 = [v + 0.35 for v in growing(fleet.p50)] if long else wandering(fleet.p50, 0.07)
    p95 = [v + 1.6 for v in growing(fleet.p95)] if long else wandering(fleet.p95, 0.4)
    shares = wandering(0.78, 0.05)
    errors: list[dict[str, int]] = [{} for _ in range(POINTS)]
    for code, n in fleet.errors.items():
        for _ in range(n):
            at = random.randrange(140, POINTS)
            errors[at][code] = errors[at].get(code, 0) + 1
    return [
        {
            "time": now - (POINTS - 1 - n) * STEP,
            "slots_processing": round(slots[n]),
            "slots_total": total,
            "requests_waiting": round(waiting[n]),
            "oldest_wait_seconds": round(min(waiting[n], 2.1), 1),
            "requests": round(rates[n] * STEP),
            "ttfb_p50": round(p50[n], 3) if fleet.agents else None,
            "ttfb_p95": round(p95[n], 3) if fleet.agents else None,
            "errors": errors[n],
            "prompt_tokens": round(rates[n] * STEP) * 900,
            "cached_tokens": round(rates[n] * STEP * 900 * min(1.0, shares[n])),
        }
        for n in range(POINTS)
    ]


def decisions(fleet: Scene, now: float) -> list[dict[str, Any]]:
    """Why the last requests went where they went, the newest first."""
    random = Random(13)
    serving = [a for a in fleet.agents if a.state in ("ready", "full")]
    found: list[dict[str, Any]] = []
    for n in range(100 if serving else 0):
        there, other = random.choice(serving), random.choice(serving)
        tokens, share = random.randrange(200, 9000), random.choice((0.0, 0.5, 0.9, 0.97))
        cost = tokens * (1 - share) / 900
        compared = f"It cost {cost:.1f} s there, and {cost + 1.4:.1f} s at the next best."
        owner = "Nobody had more of its prompt." if share else "Nobody had any of its prompt."
        found.append(
            {
                "at": now - 1.7 * n,
                "request_id": f"r{n}",
                "model": there.models[0],
                "agent": there.agent_name,
                "why": "prefix" if share else "new",
                "reason": f"{owner} {compared}",
                "waited_seconds": 0.0,
                "prompt_tokens": tokens,
                "cached_tokens": round(tokens * share),
                "most_cached_tokens": round(tokens * share),
                "cost_seconds": cost,
                "next_agent": other.agent_name,
                "next_cost_seconds": cost + 1.4,
            }
        )
    return found


class _Changing(Pretended):
    """A made-up fleet; every agent in use starts or ends an answer once a second."""

    def __init__(self, fleet: Scene) -> None:
        super().__init__(fleet.agents, fleet.waiting, fleet.oldest)
        self.points = lambda: points(fleet, time.time())
        self.decisions = decisions(fleet, time.time())
        self.born -= fleet.uptime
        self.random = Random(3)

    def change(self) -> None:
        """One second's changes."""
        changed = []
        for a in self.agents.values():
            if a.state not in ("ready", "full"):
                continue
            others = a.foreign_busy + a.client_left
            step = self.random.choice((-1, 0, 1))
            ours = max(a.promised, min(a.slots_total - others, a.in_flight + step))
            state = "full" if ours + others >= a.slots_total else "ready"
            now = attrs.evolve(a, in_flight=ours, slots_processing=ours + others, state=state)
            changed.append(now)
        self.tell(*changed)


class _UntilClosed(Protocol):
    """Ends with whoever started this."""

    def connectionLost(self, reason: object = None) -> None:
        reactor.stop()


def main(words: list[str]) -> None:
    """Serve a scene."""
    api = _Changing(scene(words[0], time.time()))
    if "--live" in words:
        LoopingCall(api.change).start(1.0, now=False)
    try:  # the usual port, which pictures show
        port = reactor.listenTCP(8085, Site(api), interface="127.0.0.1")
    except CannotListenError:
        port = reactor.listenTCP(0, Site(api), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    StandardIO(_UntilClosed(), reactor=reactor)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
