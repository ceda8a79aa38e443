"""`paddler.terminal.screen`: a thousand agents as a map, and a past with gaps."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.agent import Issue
from paddler.terminal.fleet import Balancer
from paddler.terminal.lines import text_of
from paddler.terminal.past import History, Point
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
        points = [Point(time=NOW - age, slots_processing=4.0) for age in (300, 305, 600, 605)]
        fleet = fleet_of([agent(1)], history=History().told(points))
        self.assertEqual(fleet.history.column("slots_processing").count(4.0), 4)
        chart = picture(scene(fleet), 160, 50)[8][:38]
        self.assertEqual(len(chart.split()), 2)

    def test_windows(self) -> None:
        """Charts go back as far as is asked for, and so does the count of errors."""
        errors = ((NOW - 600, {"502": 1}), (NOW - 100, {"cut": 2}), (NOW, {}))
        points = [Point(time=time, slots_processing=1.0, errors=error) for time, error in errors]
        fleet = fleet_of([agent(1)], history=History().told(points))
        for minutes, told, marks in (
            (15, "Errors in 15 min: 502 x 1, cut short x 2", 3),
            (5, "Errors in 5 min: cut short x 2 ", 2),
            (1, "Errors in 1 min: none", 3),
        ):
            lines = picture(scene(fleet, minutes=minutes), 160, 50)
            self.assertTrue(lines[10].startswith(f"{minutes} min ago"))
            self.assertTrue(lines[11].startswith(told), lines[11])
            self.assertEqual(lines[9][:38].count("█") + lines[9][:38].count("▆"), marks)

    def test_lately(self) -> None:
        """A rate is of the last fifteen seconds, a first byte of the last minute with one."""
        points = [Point(time=NOW - 5 * n, requests=float(n), ttfb_p50=None) for n in range(6)]
        points[4] = attrs.evolve(points[4], ttfb_p50=1.5, ttfb_p95=2.5)
        history = History().told(points)
        self.assertEqual((history.rate, history.first_byte), (0.2, (1.5, 2.5)))
        self.assertEqual((History().rate, History().first_byte), (None, (None, None)))

    def test_set_back(self) -> None:
        """What is left from before a clock was set back is no more."""
        history = History().told([Point(time=NOW), Point(time=NOW + 500)])
        history = history.told([Point(time=NOW + 5)])
        self.assertEqual([point.time for point in history.points], [NOW, NOW + 5])

    def test_uptime(self) -> None:
        """How long a balancer runs grows between two looks at it."""
        fleet = fleet_of([agent(1)], balancer=Balancer("1.0", 5.0), balancer_at=NOW - 4)
        self.assertIn("version 1.0, up 9 s ", picture(scene(fleet), 160, 50)[0])

    def test_models(self) -> None:
        """Of a model's path its end is shown, of a name all of it."""
        for models, shown in (
            (("/srv/models/qwen.gguf",), "qwen.gguf"),
            (("org/qwen", "q"), "org/qwen +1"),
            (("/",), "/"),
            ((), ""),
        ):
            self.assertEqual(agent(1, models=models).model, shown)

    def test_many_digits(self) -> None:
        """With large numbers all kinds of slots still have a place in the legend."""
        busy = agent(1, "full", 6000, in_flight=3000, promised=1100, foreign_busy=1500)
        busy = attrs.evolve(busy, client_left=1500)
        fleet = fleet_of([busy, agent(2, "ready", 9000), agent(3, "stale", 33)])
        legend = picture(scene(fleet), 80, 24)[2]
        for told in ("█ 1900", "▄ 1100", "▒ 1500", "░ 1500", "· 9000", "? 33"):
            self.assertIn(told, legend)
