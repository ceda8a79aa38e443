"""`paddler.terminal`: what is said of fleets and agents, as a table of cases."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.agent import Issue
from paddler.terminal.fleet import Counts, Fleet, Queue
from paddler.terminal.past import History, Point
from paddler.terminal.saying import (
    brief_of,
    detail_of,
    drain_question,
    drain_warning,
    fix_of,
    gist_of,
    meaning_of,
    report_of,
    state_of,
    summary,
    verdict,
)
from tests.terminal_scenes import NOW, agent, fleet_of, troubled, troubled_fleet

__all__ = ["AgentTests", "VerdictTests"]


def _said(fleet: Fleet, columns: int = 1000) -> str:
    counts = Counts.of(fleet.agents.values(), NOW)
    return verdict(fleet, counts, NOW, columns)[0]


def _waiting(count: int, oldest: float) -> Queue:
    return Queue(count, 0, oldest, 1000)


class VerdictTests(SynchronousTestCase):
    """The first sentence."""

    def test_worst_first(self) -> None:
        """It says the worst that is so, and always who waits."""
        nine = _waiting(9, 6.2)
        full = [agent(n, "full") for n in range(3)]
        cases = (
            (fleet_of([]), "No agents yet."),
            (
                fleet_of([], queue=_waiting(3, 12)),
                "No agents yet. 3 requests waiting, the oldest for 12 s.",
            ),
            (
                fleet_of([agent(1, "loading")]),
                "No agent can take a request. Nobody is waiting.",
            ),
            (
                troubled_fleet(),
                "4 agents need attention. 37 requests waiting, the oldest for 41 s.",
            ),
            (
                fleet_of([troubled()[4], *full]),
                "1 agent needs attention. Nobody is waiting.",
            ),
            (
                fleet_of(full, queue=nine),
                "Full: 12 of 12 slots busy. 9 requests waiting, the oldest for 6 s.",
            ),
            (
                fleet_of([agent(1, in_flight=1)], queue=_waiting(1, 0.38)),
                "1 of 4 slots busy. 1 request waiting, the oldest for under 1 s.",
            ),
            (fleet_of([agent(9), *full]), "12 of 16 slots busy. Nobody is waiting."),
        )
        for fleet, expected in cases:
            self.assertEqual(_said(fleet), expected)

    def test_shorter(self) -> None:
        """On a narrow screen the same is said with fewer words."""
        fleet = troubled_fleet()
        self.assertEqual(_said(fleet, 60), "4 agents need attention. 37 waiting, oldest 41 s.")
        self.assertEqual(_said(fleet, 40), "4 agents need attention. 37 waiting.")

    def test_how_bad(self) -> None:
        """Waiting is bad only after half the time that a request may wait."""
        for oldest, how in ((29.0, "warn"), (31.0, "bad")):
            fleet = fleet_of([agent(1, "full")], queue=_waiting(1, oldest))
            self.assertEqual(verdict(fleet, Counts.of(fleet.agents.values(), NOW), NOW)[1], how)

    def test_summary(self) -> None:
        """The sentence below it says what follows from the first."""
        late = _waiting(37, 41)
        full = [agent(n, "full") for n in range(3)]
        cases = (
            (fleet_of([]), "Requests wait for the first agent to join."),
            (
                fleet_of([], queue=_waiting(3, 12)),
                "They are answered as soon as an agent joins, within 60 s of asking; "
                "after that they fail with 504.",
            ),
            (
                fleet_of([troubled()[4], troubled()[2]]),
                "2 agents are in trouble; what to do is below.",
            ),
            (fleet_of([troubled()[4]]), "One agent is in trouble; what to do is below."),
            (
                fleet_of([agent(1, "loading")]),
                "1 loading model. A request may wait 60 s before it fails.",
            ),
            (
                troubled_fleet(),
                "31 of 31 slots busy. 33 slots out of reach. "
                "A request may wait 60 s before it fails.",
            ),
            (
                fleet_of([troubled()[4], *full]),
                "12 of 12 slots busy. 4 slots out of reach.",
            ),
            (fleet_of(full, queue=late), "A request may wait 60 s."),
            (
                fleet_of([agent(1), agent(2, "full"), agent(3, "draining", draining=True)]),
                "1 ready, 1 full, 1 draining.",
            ),
            (
                fleet_of([agent(1)], history=History((Point(NOW, oldest_wait_seconds=3.21),))),
                "1 ready. Longest wait in 15 minutes: 3.2 s.",
            ),
        )
        for fleet, expected in cases:
            self.assertEqual(summary(fleet, Counts.of(fleet.agents.values(), NOW)), expected)


class AgentTests(SynchronousTestCase):
    """One agent in a word or a line."""

    def test_states(self) -> None:
        """Each state has its word and its small print, which is shorter in a row."""
        said = {a.agent_name: (state_of(a), brief_of(a, NOW)) for a in troubled()}
        self.assertEqual(
            said,
            {
                "gpu-01": ("Full", ""),
                "gpu-02": ("Full", ""),
                "gpu-03": ("Key refused", ""),
                "gpu-04": ("Full", ""),
                "gpu-05": ("Unreachable", "2 min"),
                "gpu-06": ("Full", ""),
                "gpu-07": ("Quarantined", "17 s"),
                "gpu-08": ("Draining", "3 left"),
                "gpu-09": ("Full", ""),
                "gpu-10": ("Silent", ""),
                "gpu-11": ("Full", ""),
                "gpu-12": ("Loading model", ""),
            },
        )

    def test_details(self) -> None:
        """Where there is room the small print is a sentence's end."""
        tried = agent(1, "quarantined", quarantined_until=NOW - 1)
        served = agent(1, issues=(Issue("unauthorized", NOW),))
        for found, detail, brief in (
            (troubled()[4], "for 2 min", "2 min"),
            (troubled()[6], "back in 17 s", "17 s"),
            (troubled()[7], "3 answers left", "3 left"),
            (tried, "one request tries it next", "tried next"),
            (served, "wants a key", "wants a key"),
        ):
            self.assertEqual((detail_of(found, NOW), brief_of(found, NOW)), (detail, brief))

    def test_drained(self) -> None:
        """An agent that was drained is no trouble, even when it has been stopped since."""
        done = agent(1, "draining", draining=True)
        self.assertEqual((state_of(done), detail_of(done, NOW)), ("Drained", "safe to stop"))
        stale = (Issue("stale", NOW - 9, "balancer"),)
        stopped = attrs.evolve(done, state="stale", issues=stale)
        self.assertEqual((state_of(stopped), detail_of(stopped, NOW)), ("Drained", "stopped"))
        self.assertIsNone(stopped.trouble(NOW))

    def test_sleeping(self) -> None:
        """A sleeping one is woken by a request, so its slots can be used."""
        asleep = agent(1, "sleeping")
        self.assertEqual(detail_of(asleep, NOW), "wakes on demand")
        self.assertEqual(Counts.of([asleep], NOW).usable, 4)

    def test_report(self) -> None:
        """Reports are on time until they are missing."""
        self.assertEqual(report_of(agent(1, last_update=NOW - 2.9), NOW), "on time")
        self.assertEqual(report_of(troubled()[9], NOW), "4.2 s ago")

    def test_in_use_in_trouble(self) -> None:
        """What runs on an agent in trouble is counted, the rest is out of reach and not free."""
        cells = agent(1, "stale", 8, in_flight=3, promised=1).cells
        self.assertEqual(
            cells,
            {"answering": 2, "promised": 1, "foreign": 0, "left": 0, "idle": 0, "out": 5},
        )

    def test_served_in_spite_of_it(self) -> None:
        """Of an agent that is served all the same it is not said that nothing is sent there."""
        issue = Issue("unauthorized", NOW)
        served = agent(1, "ready", issues=(issue,))
        self.assertFalse(served.severe(NOW))
        self.assertIn("equests still go there", meaning_of(served, issue))
        blocked = attrs.evolve(served, state="unreachable")
        self.assertTrue(blocked.severe(NOW))
        self.assertIn("Nothing is sent there.", meaning_of(blocked, issue))
        self.assertIn("nothing is sent there.", gist_of(blocked, issue))

    def test_who_saw_it(self) -> None:
        """What to do about an unreachable one depends on who could not reach it."""
        told = {
            seen_by: meaning_of(agent(1), Issue("unreachable", NOW, seen_by))
            for seen_by in ("agent", "balancer")
        }
        self.assertIn("Not even its agent", told["agent"])
        self.assertIn("at the address it gives", told["balancer"])

    def test_behind_the_state(self) -> None:
        """With several issues the one behind the state is spoken of."""
        several = agent(
            1,
            "unreachable",
            issues=(
                Issue("quarantined", NOW, "balancer"),
                Issue("loading", NOW),
                Issue("bad_json", NOW),
            ),
        )
        issue = several.trouble(NOW)
        self.assertEqual(issue and issue.issue, "bad_json")
        self.assertEqual(state_of(several), "Not llama-server?")

    def test_nearer(self) -> None:
        """Of two who get no answer the agent is believed, which is beside the llama-server."""
        both = (Issue("unreachable", NOW, "balancer"), Issue("unreachable", NOW, "agent"))
        issue = agent(1, "unreachable", issues=both).trouble(NOW)
        assert issue is not None
        self.assertIn("Not even its agent", meaning_of(agent(1), issue))

    def test_no_issue(self) -> None:
        """A state that is trouble is trouble without an issue, too; others are not."""
        for state, expected in (("stale", "stale"), ("unreachable", "unreachable"), ("new", None)):
            issue = agent(1, state).trouble(NOW)
            self.assertEqual(issue and issue.issue, expected)

    def test_loading(self) -> None:
        """Loading a model is nobody's job before it has lasted ten minutes."""
        for ago, expected in ((599, None), (601, "loading")):
            loading = agent(1, "loading", issues=(Issue("loading", NOW - ago),))
            issue = loading.trouble(NOW)
            self.assertEqual(issue and issue.issue, expected)
            self.assertEqual(fix_of(loading, NOW) != "", expected is not None)

    def test_port(self) -> None:
        """The remedy names the port of that llama-server."""
        issues = (Issue("unreachable", NOW, "balancer"),)
        for address, port in (("10.0.0.1:9000", 9000), ("[::1]:81", 81), ("nonsense", 8088)):
            found = agent(1, "unreachable", external_llamacpp_addr=address, issues=issues)
            self.assertIn(f"--port {port}", fix_of(found, NOW))

    def test_drain_question(self) -> None:
        """The question says what ends and what stays; its end is never cut off."""
        fleet = troubled_fleet()
        first = fleet.agents["id0001"]
        self.assertEqual(
            drain_question(first, fleet, 80),
            "Drain gpu-01? 4 running answers finish, 24 of 28 slots stay. y/N",
        )
        self.assertEqual(drain_question(first, fleet, 50), "Drain gpu-01? 24 of 28 slots stay. y/N")
        for columns in range(12, 80):
            question = drain_question(attrs.evolve(first, agent_name="n" * 90), fleet, columns)
            self.assertTrue(question.endswith("? y/N"))
            self.assertLessEqual(len(question), columns)
        two = fleet_of([agent(1, in_flight=1), agent(2)])
        self.assertIn(
            "1 running answer finishes, 4 of 8 slots stay",
            drain_question(two.agents["id0001"], two, 80),
        )

    def test_drain_warning(self) -> None:
        """Of the last one that takes requests it is said, though answers run elsewhere, too."""
        last = (
            "This is the last agent taking requests. New ones will wait 60 s, then fail with 504."
        )
        busy = agent(2, "draining", in_flight=3, draining=True)
        silent = agent(3, "stale", in_flight=2, issues=(Issue("stale", NOW, "balancer"),))
        for others, waits, warning in (
            ([], 0, last),
            ([busy, silent], 0, last),
            ([agent(4)], 0, ""),
            ([agent(4, "full")], 1, "1 request is waiting already and will wait longer."),
        ):
            fleet = fleet_of([agent(1), *others], queue=_waiting(waits, 1.0))
            self.assertEqual(drain_warning(fleet.agents["id0001"], fleet, 100), warning)
            self.assertLessEqual(len(drain_warning(fleet.agents["id0001"], fleet, 40)), 50)
        self.assertEqual(drain_warning(silent, fleet_of([silent]), 100), "")
