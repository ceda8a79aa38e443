"""`paddler.terminal` and the dashboard page say the same of the same."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.agent import Issue, Prompts
from paddler.terminal.fleet import Counts, Fleet, Queue
from paddler.terminal.past import History, Point
from paddler.terminal.saying import drain_warning, summary
from paddler.terminal.scene import Link
from tests.commands import ROOT
from tests.terminal_scenes import NOW, agent, fleet_of, picture, scene, troubled_fleet

__all__ = ["SentenceTests"]

_STATIC = ROOT / "paddler" / "balancer" / "dashboard" / "static"
#: What the page's modules say, by their names, between what they fill in.
_SENTENCES = {
    "verdict": (
        "Nobody is waiting",
        " waiting, the oldest for ",
        "Connecting",
        "Connection lost ",
        "trying again in ",
        "No connection",
        "Below is how things stood at ",
        "No agents yet",
        "They are answered as soon as an agent joins, within ",
        " of asking; after that they fail with 504.",
        "Requests wait for the first agent to join.",
        " out of reach. ",
        " slots busy",
        "No agent can take a request",
        " attention",
        "A request may wait ",
        " s before it fails.",
        "Full: ",
        "One agent is",
        " agents are",
        " in trouble; what to do is below.",
        "Longest wait in 15 minutes: ",
    ),
    "attention": (
        "Requests are turned away",
        "Requests wait too long",
        " more like them",
        "oldest ",
    ),
    "fleet": (
        "Drained",
        "safe to stop",
        "stopped",
        " left",
        "back in ",
        "wakes on demand",
        "on time",
        " ago",
        "Cached: ",
        " of prompt tokens. Prompts: ",
        ". Answers: ",
        " tokens/s",
    ),
    "words": ("Cached", "of prompts"),
    "figures": ("unknown",),
    "drain": (
        "finishes",
        " slots stay",
        "This is the last agent taking requests. New ones will wait ",
        " s, then fail with 504.",
        " waiting already and will wait longer.",
        "That did not work: ",
    ),
}


def _said() -> str:
    """All that is said of many scenes."""
    full = [agent(n, "full") for n in range(3)]
    late = Queue(5, 0, 40.0, 5)
    once = History((Point(NOW, oldest_wait_seconds=3.0),))
    drained = agent(1, "draining", draining=True)
    fleets: list[Fleet] = [
        fleet_of([]),
        fleet_of([], queue=late),
        fleet_of(full, queue=late),
        fleet_of([agent(1, "loading")], queue=late),
        fleet_of([agent(1), agent(2, "sleeping")], history=once),
        fleet_of([drained, agent(2, in_flight=1)]),
        fleet_of([attrs.evolve(drained, state="stale", issues=(Issue("stale", NOW),))]),
        fleet_of([agent(1, "quarantined", issues=(Issue("quarantined", NOW),))]),
        fleet_of([troubled_fleet().agents[f"id000{n}"] for n in (3, 5)]),
        troubled_fleet(),
        fleet_of([agent(1, prompts=Prompts())]),
        fleet_of(
            [agent(1, prompts=Prompts(9, 3, 1.0, 1.0))],
            history=History((Point(NOW, prompt_tokens=9, cached_tokens=3),)),
        ),
    ]
    links = [
        Link(live=True, ever=True),
        Link(),
        Link(problem="x"),
        Link(ever=True, since=NOW - 3, problem="x"),
    ]
    lines = ["That did not work: x."]  # what the application says itself, with its own test
    for fleet in fleets:
        lines.append(summary(fleet, Counts.of(fleet.agents.values(), NOW)))
        for about in fleet.agents:
            lines.append(drain_warning(fleet.agents[about], fleet, 200))
            for choices in ({"asked": "drain", "about": about}, {"details": True}):
                lines += picture(scene(fleet, selected=about, **choices), 200, 50)
        for link in links:
            lines += picture(scene(fleet, link), 200, 50)
    return "\n".join(lines)


class SentenceTests(SynchronousTestCase):
    """Whole sentences; single words are compared where the page's modules run."""

    def test_same(self) -> None:
        """Both say these."""
        said = _said()
        for module, sentences in _SENTENCES.items():
            page = (_STATIC / f"{module}.js").read_text(encoding="utf-8")
            for sentence in sentences:
                self.assertIn(sentence, page, module)
                self.assertIn(sentence.rstrip().lower(), said.lower(), module)
