"""`paddler.terminal.screen`: a thousand agents as a map, and a past with gaps."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.fleet import Issue, Point
from paddler.terminal.lines import text_of
from paddler.terminal.screen import draw
from tests.terminal_scenes import NOW, agent, fleet_of, picture, scene

__all__ = ["HeaderTests", "ManyTests"]


class ManyTests(SynchronousTestCase):
    """A thousand agents."""

    def setUp(self) -> None:
        self.agents = [
            agent(n, agent_name=f"gpu-{n:04}", in_flight=n % 4, models=(f"model-{n % 2}",))
            for n in range(1000)
        ]
        self.agents[500] = attrs.evolve(
            self.agents[500], state="unreachable", issues=(Issue("no_slots", NOW - 5),)
        )

    def test_map(self) -> None:
        """Above 200 the map comes by itself: by model, one character each, ordered by name."""
        drawn = draw(scene(fleet_of(self.agents)), 80, 24)
        lines = [text_of(line) for line in drawn.lines]
        head = next(n for n, line in enumerate(lines) if line.startswith("model-0"))
        self.assertIn("500 agents, 1 in trouble", lines[head])
        self.assertTrue(lines[head + 1].startswith("·▄·▄·▄"), lines[head + 1])
        self.assertEqual(sum(line.count("✕") for line in lines[head:]), 1)
        self.assertEqual(drawn.grid[1][:3], ("id0000", "id0002", "id0004"))

    def test_rows_all_the_same(self) -> None:
        """The switch shows rows, the one in trouble first."""
        lines = picture(scene(fleet_of(self.agents), map=False), 80, 24)
        self.assertIn("gpu-0500", next(line for line in lines if line.startswith(">")))
        self.assertTrue(any("of 1,000" in line for line in lines))

    def test_same_place(self) -> None:
        """A square stays where it is when others change."""
        before = draw(scene(fleet_of(self.agents)), 80, 24).grid
        self.agents[3] = attrs.evolve(self.agents[3], state="full", in_flight=4)
        self.assertEqual(draw(scene(fleet_of(self.agents)), 80, 24).grid, before)


class HeaderTests(SynchronousTestCase):
    """Parts of the header."""

    def test_gaps(self) -> None:
        """Points that are missing leave a gap in the charts."""
        fleet = fleet_of([agent(1)]).with_history(
            [Point(time=NOW - age, slots_processing=4.0) for age in (0, 5, 25, 30)]
        )
        self.assertEqual(
            [point.slots_processing for point in fleet.history],
            [4.0, 4.0, None, None, None, 4.0, 4.0],
        )
        chart = picture(scene(fleet), 160, 50)[8][:38]
        self.assertEqual(len(chart.split()), 1)
