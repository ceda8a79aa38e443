"""`paddler.terminal.screen`: pictures of made-up fleets, as text."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.guide import first_steps
from paddler.terminal.scene import Link, Scene
from paddler.terminal.screen import draw
from tests.terminal_scenes import NOW, agent, fleet_of, picture, scene, troubled_fleet

__all__ = ["LostTests", "PictureTests"]

#: The drawing of twelve agents, four in trouble, on the usual terminal.
_DRAWING = """\
paddler  llm.example.internal:8085                                live  14:03:20
4 agents need attention. 37 requests waiting, the oldest for 41 s.
█ 28 answering  ▄ 1 promised  ▒ 1 foreign  ░ 1 client left  · 0 idle  ? 33 out
███████████████████████████████████▄▒░??????????????????????????????????????????
wait 37/1000 ▃▄▅▅▆▇▇█ oldest 41/60 s              5.8 req/s  p50 9.4 s  p95 38 s
── needs attention: 4 agents ───────────────────────────────── newest 9 s ago ──
✕ gpu-03   wants a key   --local-llamacpp-api-key-file FILE
✕ gpu-05   no answer     llama-server --host 0.0.0.0 --port 8088
! gpu-07   left out, one request tries it in 17 s
! gpu-10   silent        systemctl status paddler-agent
── agents: 12 ───────────────────────────────────────────────────── 1-9 of 12 ──
   AGENT    STATE                BUSY  SLOTS     MODEL               REPORT
>✕ gpu-03   Key refused           –/8  ????????  qwen3-8b-q4_k_m     on time
 ✕ gpu-05   Unreachable, 2 min    –/4  ????      gemma-3-12b-it-q4   on time
 ! gpu-07   Quarantined, 17 s     –/8  ????????  llama-3.1-8b…ct-q5  on time
 ! gpu-10   Silent                –/4  ????      llama-3.1-8b…ct-q5  4.2 s ago
 v gpu-08   Draining, 3 left      3/4  ███?      gemma-3-12b-it-q4   on time
 ■ gpu-01   Full                  4/4  ████      llama-3.1-8b…ct-q5  on time
 ■ gpu-02   Full                  4/4  ███▄      gemma-3-12b-it-q4   on time
 ■ gpu-04   Full                  8/8  ██████▒░  llama-3.1-8b…ct-q5  on time
 ■ gpu-06   Full                  4/4  ████      qwen3-8b-q4_k_m     on time
────────────────────────────────────────────────────────────────────────────────
gpu-03  401 from llama-server: slots unknown, nothing is sent there. c: copy fix
/ filter  tab trouble  enter details  d drain  r resume  s sort   ? help  q quit
""".splitlines()


def _styles(shown: Scene, width: int = 80, height: int = 24) -> list[set[str]]:
    """The styles that each line has, but for those of blanks."""
    drawn = draw(shown, width, height).lines
    return [{style for text, style in line if text.strip()} for line in drawn]


class PictureTests(SynchronousTestCase):
    """Sizes that were drawn."""

    def test_usual(self) -> None:
        """80 columns and 24 lines."""
        lines = [line.rstrip() for line in picture(scene(troubled_fleet()), 80, 24)]
        self.assertEqual(lines, _DRAWING)

    def test_large(self) -> None:
        """160 columns and 50 lines: charts, remedies by kind, addresses, and all agents."""
        lines = picture(scene(troubled_fleet(), details=True), 160, 50)
        self.assertEqual(len(lines), 50)
        self.assertIn("version 1.0.0, up 6 d 4 h", lines[0])
        self.assertTrue(lines[2].startswith("31 of 31 slots busy. 33 slots out of reach."))
        self.assertTrue(lines[3].startswith("██████") and lines[3].endswith("??????"))
        self.assertIn("█ 28 answering    ▄ 1 promised    ▒ 1 foreign", lines[4])
        self.assertEqual(
            [lines[6][n : n + 38].split("  ")[0] for n in (0, 40, 80, 120)],
            ["Slots in use", "Waiting", "Requests", "First byte p95"],
        )
        self.assertIn("5.8 a second", lines[6])
        self.assertIn("38 s  (p50 9.4 s)", lines[6])
        self.assertEqual(lines[10].count("15 min ago"), 4)
        self.assertTrue(lines[11].startswith("Errors in 15 min: 502 x 4, 504 x 2  "))
        self.assertTrue(lines[11].endswith("  L log scale   w 5 min"))
        self.assertIn("needs attention: 4 agents", lines[12])
        self.assertIn("requests wait too long", lines[13])
        self.assertIn("start about 8 more like them", lines[13])
        self.assertIn("llama-server does not answer", lines[15])
        self.assertIn("gpu-05, for 2 min", lines[15])
        self.assertIn("sorted by trouble, then name", lines[18])
        for word in ("ADDRESS", "MODEL", "REPORT", "IN FLIGHT"):
            self.assertIn(word, lines[19])
        self.assertIn("10.0.4.13:8088", lines[31])
        opened = next(n for n, line in enumerate(lines) if "enter closes" in line)
        self.assertGreater(opened, 32)
        self.assertIn("llama-server wants a key. It refused the agent", lines[opened + 1])
        self.assertEqual(lines[opened + 4].strip(), "--local-llamacpp-api-key-file FILE")
        self.assertIn("Last error: GET http://127.0.0.1:8088/slots: 401", lines[opened + 7])
        self.assertIn("c copy the fix", lines[49])

    def test_narrow(self) -> None:
        """60 columns: without bar, models and reports, and with shorter words."""
        lines = picture(scene(troubled_fleet()), 60, 20)
        text = "\n".join(lines)
        for word in ("answering", "MODEL", "REPORT", "on time", "qwen"):
            self.assertNotIn(word, text)
        self.assertIn("4 agents need attention. 37 waiting, oldest 41 s.", lines[1])
        self.assertIn("   AGENT    STATE                BUSY  SLOTS", lines[9])
        self.assertTrue(lines[10].startswith(">✕ gpu-03   Key refused           –/8  ????????"))

    def test_low(self) -> None:
        """40 columns and 10 lines: the verdict and the list."""
        lines = picture(scene(troubled_fleet()), 40, 10)
        self.assertEqual(lines[0].rstrip(), "4 agents need attention. 37 waiting.")
        self.assertTrue(lines[1].startswith(">✕ gpu-03"))
        self.assertTrue(lines[9].startswith(" ■ gpu-06") or lines[9].startswith(" ■ gpu-04"))

    def test_low_and_asked(self) -> None:
        """There, too, a question has the last line."""
        shown = scene(troubled_fleet(), asked="drain", about="id0001")
        self.assertTrue(picture(shown, 80, 8)[7].startswith("Drain gpu-01? 4 running answers"))

    def test_ascii(self) -> None:
        """With plain characters all of it is ASCII, names too."""
        fleet = troubled_fleet()
        named = attrs.evolve(fleet.agents["id0003"], agent_name="日本", models=("émile",))
        shown = scene(fleet.changed([named], []), ascii=True, details=True)
        for width, height in ((80, 24), (160, 50), (40, 10)):
            text = "\n".join(picture(shown, width, height))
            self.assertTrue(text.isascii(), text)
        self.assertIn(
            "# 28 answering  + 1 promised  x 1 foreign  ~ 1 client left  . 0 idle", text80()
        )

    def test_marked(self) -> None:
        """The marked row has a sign before it and is in reverse video."""
        styles = _styles(scene(troubled_fleet(), selected="id0010"))
        lines = picture(scene(troubled_fleet(), selected="id0010"), 80, 24)
        row = next(n for n, line in enumerate(lines) if line.startswith(">"))
        self.assertIn("gpu-10", lines[row])
        self.assertTrue(all("reverse" in style for style in styles[row]))
        self.assertFalse(any("reverse" in style for style in styles[row + 1]))

    def test_own_colours(self) -> None:
        """Colours are the terminal's own sixteen, and no background is set."""
        for style in set().union(*_styles(scene(troubled_fleet()), 160, 50)):
            for word in style.split():
                self.assertIn(
                    word,
                    ("bold", "dim", "reverse", "red", "green", "yellow", "magenta", "bright_blue"),
                )

    def test_calm(self) -> None:
        """With nothing wrong nothing needs attention, and nobody waits is said in words."""
        fleet = fleet_of([agent(1), agent(2, "full")])
        text = "\n".join(picture(scene(fleet), 80, 24))
        self.assertNotIn("attention", text)
        self.assertIn("wait none", text)
        self.assertIn("4 of 8 slots busy. Nobody is waiting.", text)
        self.assertIn(">✓ gpu-01   Ready", text)

    def test_empty(self) -> None:
        """Without agents there are the commands that make the first."""
        lines = picture(scene(fleet_of([])), 80, 24)
        text = "\n".join(line.rstrip() for line in lines)
        self.assertIn("No agents yet.", lines[1])
        self.assertIn("llama-server -m model.gguf --host 0.0.0.0 --port 8088 --parallel 4", text)
        self.assertIn("paddler agent --management-host llm.example.internal", text)
        self.assertIn("curl http://llm.example.internal:8086/v1/chat/completions", text)
        for width in range(30, 160):
            lines = picture(scene(fleet_of([])), width, 50)
            parts = [line.strip() for line in lines if line.startswith("    ")]
            shown = " ".join(parts).replace(" \\ ", " ")
            for _, command in first_steps(scene(fleet_of([]))):
                if max(map(len, command)) < width - 7:
                    self.assertIn(" ".join(command), shown, width)
        self.assertIn("Listening for agents.", text)

    def test_help(self) -> None:
        """The help tells of every key, at the usual size."""
        text = "\n".join(picture(scene(troubled_fleet(), help=True), 80, 24))
        for word in ("drain", "resume", "copy", "sort", "map", "ASCII", "quit", "filter"):
            self.assertIn(word if word != "filter" else "/ ", text)


def text80() -> str:
    """The usual picture with plain characters."""
    return "\n".join(picture(scene(troubled_fleet(), ascii=True), 80, 24))


class LostTests(SynchronousTestCase):
    """Without a connection."""

    LOST = Link(
        ever=True,
        since=NOW - 8,
        heard_at=NOW - 8,
        retry_at=NOW + 3,
        problem="it refuses connections",
    )

    def test_lost(self) -> None:
        """The second line says so, what was known is kept, and dim."""
        shown = scene(troubled_fleet(), self.LOST)
        lines = picture(shown, 80, 24)
        self.assertIn("not connected", lines[0])
        self.assertEqual(lines[1].rstrip(), "Connection lost 8 s ago, trying again in 3 s.")
        self.assertEqual(lines[2:22], [line.ljust(80) for line in _DRAWING[2:22]])
        told = "how things stood at 14:03:12. Last try: it refuses connections."
        self.assertEqual(lines[22].rstrip(), f"This is {told}")
        self.assertEqual(picture(shown, 160, 50)[2].rstrip(), f"Below is {told}")
        for styles in _styles(shown)[2:]:
            self.assertEqual(styles, {"dim"})

    def test_never_had_one(self) -> None:
        """At the start there is a clear line and what to look at."""
        shown = scene(fleet_of([]), Link(retry_at=NOW + 1, problem="it refuses connections"))
        lines = picture(shown, 80, 24)
        self.assertEqual(
            lines[1].rstrip(), "No connection, trying again in 1 s: it refuses connections."
        )
        self.assertIn("curl http://llm.example.internal:8085/health", "".join(lines))

    def test_token(self) -> None:
        """Without a token it is said which option gives it."""
        shown = scene(fleet_of([]), Link(problem="401", refused="no token"))
        self.assertIn("--management-token-file FILE", picture(shown, 80, 24)[1])
