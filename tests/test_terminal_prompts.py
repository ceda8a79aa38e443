"""What the terminal shows of prompts."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.views import PromptsView
from paddler.terminal.agent import Agent, Prompts
from paddler.terminal.past import History, Point
from tests.pretending import pretended_agent
from tests.terminal_scenes import NOW, agent, fleet_of, picture, scene

__all__ = ["PromptsTests"]

_KNOWN = Prompts(1000, 815, 812.3, 24.12)


class PromptsTests(SynchronousTestCase):
    """Where the balancer looks at prompts, and where it does not."""

    def screen(self, width: int, *prompts: Prompts | None, history: History | None = None) -> str:
        """A screen of agents with these, the first one's details open."""
        agents = [agent(n, prompts=each) for n, each in enumerate(prompts)]
        fleet = fleet_of(agents, history=history or History())
        return "\n".join(picture(scene(fleet, details=True, sort="name"), width, 40))

    def test_idle(self) -> None:
        """Nothing is there where nobody looks at prompts."""
        for width in (80, 110, 160):
            self.assertNotIn("cached", self.screen(width, None, None).lower())

    def test_unknown(self) -> None:
        """What is not known is said to be, in all and of each agent."""
        for width, lines in ((80, 2), (110, 4), (160, 4)):
            shown = self.screen(width, Prompts(), Prompts())
            self.assertIn("Cached: unknown of prompt tokens. Prompts: unknown.", shown)
            self.assertNotIn("0 %", shown)
            self.assertEqual(sum("unknown" in line for line in shown.split("\n")), lines, shown)

    def test_known(self) -> None:
        """In all over the time of the charts, and of each agent with its speeds."""
        points = [Point(NOW - 60 * n, prompt_tokens=100, cached_tokens=n) for n in range(14, 0, -1)]
        history = History((*points, Point(NOW, prompt_tokens=100, cached_tokens=0)))
        for width in (80, 110, 160):
            shown = self.screen(width, _KNOWN, None, history=history)
            told = "Cached: 82 % of prompt tokens. Prompts: 812 tokens/s. Answers: 24 tokens/s."
            self.assertIn(told, " ".join(shown.split()))
            self.assertIn("Cached: 7 % of prompts" if width >= 120 else "cached 7 %", shown)
            rows = [line for line in shown.split("\n") if "gpu-00" in line and "Ready" in line]
            self.assertEqual(["  82 %" in row for row in rows], [width >= 110], shown)
        minute = picture(
            scene(fleet_of([agent(1, prompts=_KNOWN)], history=history), minutes=1), 160, 40
        )
        self.assertIn("Cached: 0 % of prompts", "\n".join(minute))

    def test_from_the_api(self) -> None:
        """It is read as the balancer writes it."""
        for prompts in (None, PromptsView(10, 5, None, 2.5)):
            told = msgspec.json.encode(pretended_agent(1, prompts=prompts))
            read = msgspec.json.decode(told, type=Agent).prompts
            self.assertEqual(read, None if prompts is None else Prompts(10, 5, None, 2.5))
