"""Made-up fleets for the terminal's dashboard, and screens as text."""

from __future__ import annotations

import time
from typing import Any

import attrs

from paddler.terminal.agent import Agent, Issue
from paddler.terminal.fleet import Balancer, Fleet, Queue
from paddler.terminal.lines import text_of
from paddler.terminal.ordering import Order, matching
from paddler.terminal.past import History, Point
from paddler.terminal.scene import Choices, Link, Scene
from paddler.terminal.screen import draw

__all__ = ["NOW", "agent", "fleet_of", "picture", "scene", "troubled", "troubled_fleet"]

NOW = 1_700_000_000.0

_MODELS = ("qwen3-8b-q4_k_m", "llama-3.1-8b-instruct-q5", "gemma-3-12b-it-q4")


def agent(number: int, state: str = "ready", total: int = 4, **more: Any) -> Agent:
    """An agent of made-up fleets; a full one answers in all of its slots."""
    more.setdefault("in_flight", total if state == "full" else 0)
    more.setdefault("models", (_MODELS[number % 3],))
    more.setdefault("last_update", NOW - 0.4)
    more.setdefault("external_llamacpp_addr", f"10.0.4.{number + 1}:8088")
    more.setdefault("agent_name", f"gpu-{number:02}")
    return Agent(f"id{number:04}", state=state, slots_total=total, **more)


def fleet_of(agents: list[Agent], **more: Any) -> Fleet:
    """A balancer that has these agents."""
    more.setdefault("balancer", Balancer("1.0.0", 532800.0, "10.0.0.5:8086", "10.0.0.5:8085"))
    more.setdefault("balancer_at", NOW)
    more.setdefault("queue", Queue(limit=1000))
    return Fleet(queue_at=NOW, **more).replaced(agents)


def troubled() -> list[Agent]:
    """Twelve agents, four of them in trouble."""
    return [
        agent(1, "full"),
        agent(2, "full", promised=1),
        agent(
            3,
            "unreachable",
            8,
            models=(_MODELS[0],),
            issues=(Issue("unauthorized", NOW - 300),),
            error='GET http://127.0.0.1:8088/slots: 401 {"error":{"message":"Invalid API Key"}}',
        ),
        agent(4, "full", 8, in_flight=6, foreign_busy=1, client_left=1),
        agent(5, "unreachable", issues=(Issue("unreachable", NOW - 130, "balancer"),)),
        agent(6, "full"),
        agent(
            7,
            "quarantined",
            8,
            quarantined_until=NOW + 17,
            issues=(Issue("quarantined", NOW - 9, "balancer"),),
        ),
        agent(8, "draining", in_flight=3, draining=True),
        agent(9, "full"),
        agent(10, "stale", last_update=NOW - 4.2, issues=(Issue("stale", NOW - 30, "balancer"),)),
        agent(11, "full"),
        agent(12, "loading", 8, issues=(Issue("loading", NOW - 20),)),
    ]


def troubled_fleet() -> Fleet:
    """Those twelve, with requests that wait and fifteen minutes of history."""
    points = [
        Point(
            time=NOW - 5 * (179 - i),
            slots_processing=20 + i % 12,
            slots_total=64,
            requests_waiting=float(max(0, i - 143)),
            requests=29.0 if i > 60 else None,
            ttfb_p50=9.4 if i > 60 else None,
            ttfb_p95=0.2 * i + 2.2 if i > 60 else None,
            errors={"502": 1} if i in (9, 99, 120, 140) else {"504": 2} if i == 150 else {},
        )
        for i in range(180)
    ]
    queue = Queue(37, 4000, 41.0, 1000)
    return fleet_of(troubled(), queue=queue, history=History(tuple(points)))


def scene(fleet: Fleet, link: Link | None = None, **choices: Any) -> Scene:
    """A scene of a fleet; these are the operator's choices, the first row is marked at first."""
    chosen = Choices(**choices)
    text = chosen.typed if chosen.asked == "filter" else chosen.text
    found = matching(fleet.agents.values(), text, chosen.trouble_only, NOW)
    listed = tuple(Order().of(found, chosen.sort, NOW))
    if not chosen.selected and listed:
        chosen = attrs.evolve(chosen, selected=listed[0].agent_id)
    return Scene(
        fleet=fleet,
        link=link or Link(live=True, ever=True),
        choices=chosen,
        listed=listed,
        now=NOW,
        local=NOW,
        clock=lambda at: time.strftime("%H:%M:%S", time.gmtime(at - 29400)),
        address="llm.example.internal:8085",
    )


def picture(shown: Scene, width: int, height: int) -> list[str]:
    """A screen's lines as text."""
    return [text_of(line) for line in draw(shown, width, height).lines]
