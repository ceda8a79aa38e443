"""What the dashboard makes of what it is told, tried in its own modules in a real Chromium."""

from __future__ import annotations

import time
from typing import Any

import attrs

from paddler.terminal import words
from paddler.terminal.agent import Agent, Prompts
from paddler.terminal.saying import prompts_of
from tests.paging import PageCase

__all__ = ["HistoryTests", "PromptsTests", "SayingTests", "WordsTests"]

#: Has one of the page's modules, by its name, as the first argument of what follows.
_MODULE = """
const [name, given, done] = arguments;
import(new URL(`dashboard/${name}.js`, document.baseURI)).then(module => done((%s)(module, given)));
"""
_WORDS = """({ ISSUES, ...words }) => {
  const whole = ([issue, advice]) => [issue, { ...advice, fix: advice.fix('{port}') }];
  return { ...words, ISSUES: Object.fromEntries(Object.entries(ISSUES).map(whole)) };
}"""
_MERGE = """({ History }, told) => {
  const history = new History();
  for (const times of told) history.merge({ points: times.map(time => ({ time, n: 1 })) });
  return history.columns(p => p.n);
}"""

#: What the page's modules make of agents and a queue.
_SAY = """
const [agents, queue, done] = arguments;
const load = name => import(new URL(`dashboard/${name}.js`, document.baseURI));
Promise.all(['scene', 'fleet', 'verdict', 'cells'].map(load)).then(([s, f, v, c]) => {
  const scene = new s.Scene();
  scene.hear(0);
  scene.replaceAgents(agents.map((a, n) => ({ ...a, agent_id: `id${n}` })));
  scene.setQueue({ limit: 1000, ...queue });
  const facts = f.facts(scene.agents.values(), scene.now());
  const first = agents[0];
  const reason = first && f.issueOf(first, scene.now());
  done({
    sentence: v.verdict(scene, facts, Date.now() / 1000).parts.map(p => p[0]).join(''),
    more: v.verdict(scene, facts, Date.now() / 1000).more,
    cells: [...'opfliu'].map(k => facts[k]),
    words: first && [f.word(first), c.ratio(first), f.trouble(first, scene.now())],
    reason: reason && f.adviceFor(reason),
  });
});
"""


def agent(state: str, busy: int, issue: str = "") -> dict[str, Any]:
    """An agent of four slots as the API shows one."""
    found = {"issue": issue, "since": time.time() - 5, "seen_by": "agent"}
    return {
        "agent_name": "gpu",
        "external_llamacpp_addr": "10.0.0.1:8088",
        "state": state,
        "issues": [found] if issue else [],
        "slots_total": 4,
        "slots_processing": busy,
        "in_flight": busy,
        "promised": 0,
        "foreign_busy": 0,
        "client_left": 0,
        "models": [],
        "quarantined_until": None,
        "draining": state == "draining",
        "last_update": time.time(),
    }


class SayingTests(PageCase):
    """Sentences, words and counts."""

    async def say(
        self,
        agents: list[dict[str, Any]],
        waiting: int = 0,
        oldest: float = 0,
        models: dict[str, int] | None = None,
    ) -> Any:
        """The verdict on these agents; a state and, with a colon, an issue stand for one."""
        queue = {
            "requests_waiting": waiting,
            "oldest_wait_seconds": oldest,
            "models": models or {},
        }
        return await self.do(lambda: self.browser.driver.execute_async_script(_SAY, agents, queue))

    async def test_models(self) -> None:
        """Where there are several models, or one is wanted that nobody has, it says which."""
        await self.open()
        await self.sees("#live", "Live")
        m, n = [{**agent("full", 4), "models": [name, f"{name}-alias"]} for name in "mn"]
        for agents, models, told in (
            ([m], {"m": 2, "m-alias": 1}, None),
            ([m], {"m": 2, "x": 5}, "Waiting: 5 for `x`, which no agent has; 2 for `m`."),
            ([m, n], {"n-alias": 1}, "Waiting: 1 for `n-alias`."),
            ([], {"`x`": 1}, "Waiting: 1 for `'x'`, which no agent has."),
            (
                [m, n],
                {name: number for number, name in enumerate("mnopq", 1)},
                "Waiting: 5 for `q`, which no agent has; 4 for `p`, which no agent has; "
                "3 for `o`, which no agent has; and for 2 more models.",
            ),
            ([m, n], {}, None),
        ):
            said = (await self.say(agents, sum(models.values()), 1, models))["more"]
            self.assertTrue(said.endswith(told) if told else "Waiting:" not in said, (said, told))

    async def test_verdicts(self) -> None:
        """One sentence, the worst news first."""
        await self.open()
        await self.sees("#live", "Live")
        ready, full = agent("ready", 1), agent("full", 4)
        bad = agent("unreachable", 0, "unreachable")
        for agents, waiting, oldest, sentence in (
            ([], 0, 0, "No agents yet."),
            ([], 3, 12, "No agents yet. 3 requests waiting, the oldest for 12 s."),
            ([bad], 0, 0, "No agent can take a request. Nobody is waiting."),
            ([bad, ready], 0, 0, "1 agent needs attention. Nobody is waiting."),
            (
                [bad, bad, full],
                37,
                41,
                "2 agents need attention. 37 requests waiting, the oldest for 41 s.",
            ),
            (
                [full],
                9,
                0.2,
                "Full: 4 of 4 slots busy. 9 requests waiting, the oldest for under 1 s.",
            ),
            ([ready, full], 0, 0, "5 of 8 slots busy. Nobody is waiting."),
            (
                [ready, agent("loading", 0, "loading")],
                0,
                0,
                "1 of 4 slots busy. Nobody is waiting.",
            ),
            ([ready, agent("ready", 2, "timeout")], 0, 0, "1 agent needs attention."),
            ([agent("draining", 2)], 0, 0, "No agent can take a request."),
            ([agent("sleeping", 0)], 0, 0, "0 of 4 slots busy."),
        ):
            said = await self.say(agents, waiting, oldest)
            self.assertTrue(said["sentence"].startswith(sentence), (said, sentence))
            total = sum(a["slots_total"] for a in agents)
            self.assertEqual(sum(said["cells"]), total)
            self.assertEqual(sum(said["cells"][:4]), sum(a["slots_processing"] for a in agents))

    async def test_running_in_trouble(self) -> None:
        """Answers that still run on a server in trouble are counted; the rest is out."""
        await self.open()
        await self.sees("#live", "Live")
        said = await self.say([agent("quarantined", 3, "quarantined")])
        self.assertEqual(said["cells"], [3, 0, 0, 0, 0, 1])
        self.assertEqual(said["words"], ["Quarantined", "3 / 4", "warn"])

    async def test_drained_and_stopped(self) -> None:
        """A server that was drained may be stopped: that is no trouble."""
        await self.open()
        await self.sees("#live", "Live")
        stopped = {**agent("unreachable", 0, "unreachable"), "draining": True}
        said = await self.say([stopped, agent("ready", 1)])
        self.assertEqual(said["sentence"], "1 of 4 slots busy. Nobody is waiting.")
        self.assertEqual(said["words"], ["Drained", "– / 4", ""])

    async def test_one_reason(self) -> None:
        """Of several issues the one behind the state counts, and what its agent says of it."""
        await self.open()
        await self.sees("#live", "Live")

        def both(state: str, *found: tuple[str, str]) -> dict[str, Any]:
            since = time.time() - 5
            issues = [{"issue": i, "since": since, "seen_by": by} for i, by in found]
            return {**agent(state, 0), "issues": issues}

        for one, said in (
            (
                both("unreachable", ("unreachable", "balancer"), ("unreachable", "agent")),
                ["Unreachable", "bad", "unreachable for its agent"],
            ),
            (
                both("unreachable", ("quarantined", "balancer"), ("bad_json", "agent")),
                ["Not llama-server?", "bad", "bad_json"],
            ),
            (
                both("unreachable", ("unreachable", "balancer"), ("unauthorized", "agent")),
                ["Unreachable", "bad", "unreachable"],
            ),
            (
                both("stale", ("stale", "balancer"), ("unreachable", "agent")),
                ["Silent", "warn", "stale"],
            ),
            (
                both("loading", ("quarantined", "balancer"), ("loading", "agent")),
                ["Loading model", "", None],
            ),
        ):
            told = await self.say([one])
            self.assertEqual([told["words"][0], told["words"][2], told["reason"]], said)

    async def test_served_in_spite(self) -> None:
        """A server whose key is refused but that is served is amber, and red when it is not."""
        await self.open()
        await self.sees("#live", "Live")
        served = await self.say([agent("ready", 1, "unauthorized")])
        self.assertEqual(served["words"], ["Ready", "1 / 4", "warn"])
        unserved = await self.say([agent("unreachable", 0, "unauthorized")])
        self.assertEqual(unserved["words"], ["Key refused", "– / 4", "bad"])


class ModuleCase(PageCase):
    """One of the page's modules."""

    async def run_in(self, module: str, script: str, given: Any = None) -> Any:
        """What a function makes of a module and this."""
        await self.open()
        await self.sees("#live", "Live")
        driver = self.browser.driver
        return await self.do(driver.execute_async_script, _MODULE % script, module, given)


class WordsTests(ModuleCase):
    """The page and the terminal say the same of the same."""

    async def test_as_in_the_terminal(self) -> None:
        """States, slots, and all kinds of trouble with what to do."""
        page = await self.run_in("words", _WORDS)

        def plain(text: str) -> str:
            return text.replace("`", "").replace("\u2019", "'")

        self.assertEqual(page["STATES"], dict(words.STATES))
        self.assertEqual(page["SHARPER"], dict(words.SHARPER))
        self.assertEqual([word for _, word, _ in page["CELLS"]], list(words.CELLS.values()))
        self.assertEqual(page["LOADING_LONG"], words.LOADING_LONG)
        for said, word in ((page["BLOCKED"], words.BLOCKED), (page["SERVED"], words.SERVED)):
            self.assertEqual(plain(said).lower(), f"{word}.".lower())
        theirs = {**words.ISSUES, "unreachable for its agent": words.UNREACHABLE_FOR_AGENT}
        self.assertEqual(set(page["ISSUES"]), set(theirs))
        for issue, advice in theirs.items():
            said = page["ISSUES"][issue]
            for name in ("short", "title", "why", "todo", "fix"):
                self.assertEqual(plain(said[name]), getattr(advice, name), (issue, name))
            self.assertEqual(said.get("bad", False), advice.severe, issue)
            self.assertEqual(said.get("whole", False), advice.says_all, issue)


class PromptsTests(ModuleCase):
    """Prompts in words."""

    async def test_as_in_the_terminal(self) -> None:
        """The page and the terminal say the same of an agent's prompts, known or not."""
        for told in (
            Prompts(),
            Prompts(1000, 0, 9.94, None),
            Prompts(1000, 999, None, 9.96),
            Prompts(987_654, 123_456, 12_345.6, 24.4),
        ):
            given = {"prompts": attrs.asdict(told)}
            said = await self.run_in("fleet", "({ ofPrompts }, a) => ofPrompts(a)", given)
            self.assertEqual(said, prompts_of(Agent("id", prompts=told)))
        said = await self.run_in("fleet", "({ ofPrompts }, a) => ofPrompts(a)", {"prompts": None})
        self.assertEqual(said, prompts_of(Agent("id")))


class HistoryTests(ModuleCase):
    """What charts are drawn from."""

    async def test_columns(self) -> None:
        """A gap wherever points are missing; old ones go; what a restart forgot is kept."""
        for told, times, values in (
            ([], [], []),
            ([[]], [], []),
            ([[5, 10, 15]], [5, 10, 15], [1, 1, 1]),
            ([[5, 10, 30, 35]], [5, 10, 15, 30, 35], [1, 1, None, 1, 1]),
            ([[5, 10], [], [40]], [5, 10, 15, 40], [1, 1, None, 1]),
            ([[5, 10], [905]], [10, 15, 905], [1, None, 1]),
            ([[5, 10], [10, 15]], [5, 10, 15], [1, 1, 1]),
            ([[5000, 5005], [20, 25]], [20, 25], [1, 1]),
        ):
            found = await self.run_in("history", _MERGE, told)
            self.assertEqual(found, [times, values], told)
