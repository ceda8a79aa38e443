"""`paddler.terminal.screen`: whatever the size and the names, something is shown that fits."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.agent import Issue, Prompts
from paddler.terminal.figures import columns_of
from paddler.terminal.fleet import Queue
from paddler.terminal.lines import text_of
from paddler.terminal.scene import Link
from paddler.terminal.screen import draw
from tests.terminal_scenes import NOW, agent, fleet_of, picture, scene, troubled_fleet

__all__ = ["RoomTests"]


class RoomTests(SynchronousTestCase):
    """Whatever the size, something is shown that fits."""

    def test_little(self) -> None:
        """What an operator did, and what is asked, is seen on the smallest screen; so are keys."""
        fleet = fleet_of([agent(1)])
        self.assertIn("Not drained.", picture(scene(fleet, note="Not drained."), 40, 8)[7])
        asked = picture(scene(fleet, asked="drain", about="id0001"), 40, 8)
        self.assertIn("The last one", asked[6])
        self.assertTrue(asked[7].rstrip().endswith("y/N"))
        typed = picture(scene(fleet, asked="filter", typed="a" * 50 + "the end"), 40, 8)
        self.assertIn("the end█", typed[7])
        for width, height in ((80, 24), (60, 18)):
            text = "".join(picture(scene(fleet, help=True), width, height))
            self.assertIn("keys", text)
            self.assertIn("suspends", text)

    def test_attention(self) -> None:
        """Where there is no room for a kind of trouble there is no head without one."""
        for height in range(12, 25):
            lines = picture(scene(troubled_fleet()), 80, height)
            for n, line in enumerate(lines):
                if "needs attention" in line:
                    self.assertIn("gpu-03", lines[n + 1])

    def test_aligned(self) -> None:
        """Remedies stand below one another, however many agents there are and whatever is wrong."""
        agents = [agent(n, "unreachable", issues=(Issue("bad_json", NOW),)) for n in range(12)]
        lines = picture(scene(fleet_of([*agents, troubled_fleet().agents["id0003"]])), 80, 24)
        first = next(n for n, line in enumerate(lines) if "needs attention" in line)
        at = lines[first + 1].index("curl ")
        self.assertEqual(lines[first + 2].index("--local"), at)

    def test_turned_away(self) -> None:
        """Also where there is little room it is said that requests are turned away."""
        fleet = fleet_of([agent(1, "full")], queue=Queue(1000, 0, 1.0, 1000))
        text = "\n".join(picture(scene(fleet), 80, 24))
        self.assertIn("✕ the buffer is full (1,000 of 1,000): new requests get 429", text)

    def test_nobody_listed(self) -> None:
        """Why no agent is listed is said."""
        for choices, told in (
            ({"trouble_only": True}, "No agent is in trouble; tab shows all."),
            ({"text": "x"}, "No agent matches; esc shows all."),
        ):
            self.assertIn(told, picture(scene(fleet_of([agent(1)]), **choices), 80, 24)[22])

    def test_any_size(self) -> None:
        """Every line is as wide as the screen, and there are as many as it has."""
        scenes = [
            scene(troubled_fleet()),
            scene(troubled_fleet(), details=True),
            scene(troubled_fleet(), help=True),
            scene(troubled_fleet(), map=True),
            scene(troubled_fleet(), asked="drain", about="id0001"),
            scene(troubled_fleet(), asked="filter", typed="gpu-1"),
            scene(troubled_fleet(), Link(ever=True, since=NOW - 8, retry_at=NOW + 3)),
            scene(fleet_of([]), Link(problem="it refuses connections")),
            scene(fleet_of([])),
            scene(fleet_of([agent(1, prompts=Prompts(9, 3, 1.0))]), details=True),
        ]
        for shown in scenes:
            for width in (1, 2, 7, 20, 39, 60, 79, 80, 99, 100, 119, 120, 131, 200):
                for height in (1, 2, 3, 5, 11, 12, 14, 20, 24, 29, 30, 50):
                    lines = picture(shown, width, height)
                    self.assertEqual(len(lines), height, (width, height))
                    self.assertEqual({columns_of(line) for line in lines}, {width})

    def test_the_marked_one_is_seen(self) -> None:
        """The list is scrolled to where the marked agent is, and no further."""
        fleet = fleet_of([agent(n) for n in range(60)])
        for selected in ("id0000", "id0030", "id0059"):
            lines = picture(scene(fleet, selected=selected, sort="name"), 80, 24)
            self.assertEqual(sum(line.startswith(">") for line in lines), 1)
        drawn = draw(scene(fleet, selected="id0030", sort="name"), 80, 24)
        stays = draw(scene(fleet, selected="id0029", sort="name", first=drawn.first), 80, 24)
        self.assertEqual(stays.first, drawn.first)

    def test_hits(self) -> None:
        """Each row tells which agent it shows."""
        drawn = draw(scene(troubled_fleet()), 80, 24)
        rows = {y: text_of(line) for y, line in enumerate(drawn.lines)}
        self.assertEqual(len(drawn.hits), 9)
        for y, (ids, _) in drawn.hits.items():
            self.assertIn(f"gpu-{ids[0][-2:]}", rows[y])

    def test_long_names(self) -> None:
        """A long name has room at the cost of the model's, and loses its middle at last."""
        long = "worker-in-the-cellar-number-17.example.internal:8088"
        fleet = fleet_of([agent(1, agent_name=long)])
        for width in (60, 80, 100, 160):
            row = next(x for x in picture(scene(fleet), width, 24) if x.startswith(">"))
            self.assertIn("worker", row)
            self.assertIn("8088", row)

    def test_usual_names(self) -> None:
        """Names that agents have without being given one are whole, at the cost of all else."""
        fleet = fleet_of([agent(1, agent_name="gpu-server-03:8088")])
        for width in (40, 60, 80, 100, 160):
            row = next(x for x in picture(scene(fleet), width, 24) if x.startswith(">"))
            self.assertIn("gpu-server-03:8088" if width > 40 else "gpu-server…:8088", row)

    def test_hostile_names(self) -> None:
        """What steers a terminal, or takes two columns or none, does no harm."""
        for name in ("\x1b[2Jevil", "‮gpu", "日本語の名前です", "e\u0301\u0301\u0301", "a\tb\nc"):
            fleet = fleet_of(
                [
                    agent(
                        1,
                        "unreachable",
                        agent_name=name,
                        models=(name,),
                        error=name,
                        issues=(Issue("bad_json", NOW),),
                    )
                ]
            )
            for choices in ({}, {"details": True}, {"map": True}):
                shown = scene(fleet, **choices)
                for width in (40, 80, 160):
                    lines = picture(shown, width, 24)
                    self.assertEqual({columns_of(line) for line in lines}, {width})
                    self.assertTrue(all(line.isprintable() for line in lines))

    def test_many_slots(self) -> None:
        """Many slots share the cells that there are; what is there at all can be seen."""
        fleet = fleet_of([agent(1, "ready", 256, in_flight=100, client_left=1)])
        row = next(x for x in picture(scene(fleet), 80, 24) if x.startswith(">"))
        self.assertIn("101/256  ███░····", row)
