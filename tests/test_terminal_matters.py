"""`paddler.terminal`: what needs attention, the connection in words, and all words there."""

from __future__ import annotations

from typing import get_args

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler import values
from paddler.scheduling.slots import State
from paddler.scheduling.views import AgentView
from paddler.terminal.agent import Agent, Issue
from paddler.terminal.fleet import Counts, Queue
from paddler.terminal.matters import fleet_matters, matters
from paddler.terminal.scene import Link
from paddler.terminal.words import ISSUES, STATES
from tests.terminal_scenes import NOW, agent, fleet_of, troubled, troubled_fleet

__all__ = ["LinkTests", "MatterTests", "WordsTests"]


class MatterTests(SynchronousTestCase):
    """What needs attention."""

    def test_each_kind_once(self) -> None:
        """Each kind is there once, severe ones first, with all its agents and its remedy."""
        keys = [
            agent(n, "unreachable", issues=(Issue("unauthorized", NOW - n),)) for n in (21, 20, 22)
        ]
        found = matters([*troubled(), *keys], NOW)
        self.assertEqual(
            [(matter.title, matter.who) for matter in found],
            [
                ("llama-server wants a key", ("gpu-03", "gpu-20", "gpu-21", "gpu-22")),
                ("llama-server does not answer", ("gpu-05",)),
                ("Left out after failures", ("gpu-07",)),
                ("An agent has gone silent", ("gpu-10",)),
            ],
        )
        self.assertEqual(found[0].fix, "--local-llamacpp-api-key-file FILE")
        self.assertEqual(found[0].since, NOW - 20)
        self.assertEqual([matter.severe for matter in found], [True, True, False, False])

    def test_unknown_issue(self) -> None:
        """An issue that this version does not know is shown as it came."""
        odd = agent(1, "unreachable", issues=(Issue("melted", NOW),))
        self.assertEqual([m.title for m in matters([odd], NOW)], ["melted"])

    def test_fleet(self) -> None:
        """Waiting too long and a full buffer are matters of the fleet."""
        fleet = troubled_fleet()
        found = fleet_matters(fleet, Counts.of(fleet.agents.values(), NOW), NOW)
        self.assertEqual(
            [(m.title, m.aside, m.fix) for m in found],
            [
                (
                    "Requests wait too long",
                    "oldest 41 s of 60 s",
                    "bring back the agents below, or start about 8 more like them",
                )
            ],
        )
        turned_away = fleet_of([agent(1, "full")], queue=Queue(10, 0, 1.0, 10))
        counts = Counts.of(turned_away.agents.values(), NOW)
        self.assertEqual(
            [m.title for m in fleet_matters(turned_away, counts, NOW)], ["Requests are turned away"]
        )


class LinkTests(SynchronousTestCase):
    """The connection in a sentence."""

    def test_sentences(self) -> None:
        """It says since when, why, when it is tried again, and which option gives a token."""
        lost = Link(ever=True, since=NOW - 8, retry_at=NOW + 3, problem="x")
        cases = (
            (lost, "Connection lost 8 s ago, trying again in 3 s."),
            (Link(), "Connecting."),
            (
                Link(retry_at=NOW + 2, problem="it refuses connections"),
                "No connection, trying again in 2 s: it refuses connections.",
            ),
            (
                attrs.evolve(lost, refused="no token"),
                "The balancer wants a token: give it with --management-token-file FILE.",
            ),
            (
                attrs.evolve(lost, refused="wrong token"),
                "The balancer refused the token that --management-token-file gave.",
            ),
        )
        for link, expected in cases:
            self.assertEqual(link.sentence(NOW), expected)


class WordsTests(SynchronousTestCase):
    """The words stand for all that the API says."""

    def test_all_issues(self) -> None:
        """Every issue that an agent can report has its advice."""
        self.assertEqual(set(ISSUES), set(get_args(values.Issue)))

    def test_all_states(self) -> None:
        """Every state of the scheduler has its word."""
        self.assertEqual(set(STATES), set(get_args(State)))

    def test_same_fields(self) -> None:
        """An agent has the fields that the balancer shows, and no others."""
        self.assertEqual(
            [field.name for field in attrs.fields(Agent)],
            [field.name for field in attrs.fields(AgentView)],
        )
