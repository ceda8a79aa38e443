"""Helps: complete, in order, and no wider than the terminal."""

from __future__ import annotations

import re

from twisted.python.usage import Options
from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.settings import AgentOptions
from paddler.balancer.settings import BalancerOptions
from paddler.coercions import duration, port, text
from paddler.demo import Options as DemoOptions
from paddler.options import Option, PaddlerOptions
from paddler.terminal.settings import DashboardOptions
from paddler.usage_text import Section, usage_text

__all__ = ["CommandsTests", "LayoutTests"]

_COMMANDS = (AgentOptions, BalancerOptions, DashboardOptions, DemoOptions)


def _blocks(text: str) -> dict[str, str]:
    """The parts of a help by their headings."""
    return dict(re.findall(r"^(\S.*):\n((?:  .*\n?)+)", text, re.M))


class LayoutTests(SynchronousTestCase):
    """One small help."""

    table = (
        Option("port", port, 80, "Where it listens.", heading="Listening"),
        Option("a-name-that-is-rather-long", text, None, "A name."),
        Option("wait", duration, 60.0, "How long it waits." + " It waits." * 9, heading="Waiting"),
    )

    def test_whole(self) -> None:
        """Columns are aligned, long texts are wrapped, and what is long gets its own line."""
        more = (Section("Exit status", (("0", "it went well"), ("1", "it didn't"))),)
        self.assertEqual(
            usage_text("Usage: try [options]", "Try things.", self.table, more, 60),
            """\
Usage: try [options]

Try things.

Listening:
  --port=PORT              Where it listens. [default: 80]
  --a-name-that-is-rather-long=TEXT
                           A name.

Waiting:
  --wait=DURATION          How long it waits. It waits. It
                           waits. It waits. It waits. It
                           waits. It waits. It waits. It
                           waits. It waits. [default: 60s]

This command:
  --help                   Show this and exit.
  --version                Show Paddler's version and exit.

Values:
  DURATION  500ms, 60s, 2m or 1h; a bare number is seconds

Environment:
  PADDLER_PORT gives --port, and so on: PADDLER_ and an
  option's name in capitals, with underscores. The command
  line wins.

Exit status:
  0  it went well
  1  it didn't
""",
        )

    def test_wide(self) -> None:
        """With room for it, everything stands beside its option."""
        text = usage_text("Usage: try", "", self.table, (), 100)
        self.assertIn("  --a-name-that-is-rather-long=TEXT  A name.\n", text)
        self.assertIn("  --port=PORT                        Where it", text)

    def test_narrow(self) -> None:
        """A terminal too narrow for two columns gets what fits into forty."""
        text = usage_text("Usage: try", "", self.table, (), 1)
        self.assertEqual(text, usage_text("Usage: try", "", self.table, (), 41))


class CommandsTests(SynchronousTestCase):
    """The help of each command."""

    def test_everything(self) -> None:
        """Each option is there once, under a heading, with its shape and its default."""
        for of in _COMMANDS:
            self.assertTrue(of.table[0].heading, of.command)
            blocks = _blocks(of().getUsage(80))
            joined = "\n".join(blocks.values())
            for option in of.table:
                self.assertEqual(len(re.findall(rf"^  --{option.name}=\S+", joined, re.M)), 1)
                if option.default_text is not None:
                    self.assertIn(f"[default: {option.default_text}]", " ".join(joined.split()))
            headings = [option.heading for option in of.table if option.heading]
            self.assertEqual(len(headings), len(set(headings)))
            self.assertEqual([h for h in blocks if h in headings], headings)
            self.assertIn("Environment", blocks)

    def test_shapes(self) -> None:
        """No value is told of as just some text, and none of a shape that nobody explains."""
        for of in _COMMANDS:
            text = of().getUsage(80)
            self.assertNotIn("=TEXT", text)
            for shape in ("HOST", "DURATION", "SIZE", "ENDPOINT", "true|false"):
                used = f"={shape}" in text
                self.assertEqual(f"\n  {shape} " in text, used, f"{of.command}: {shape}")

    def test_width(self) -> None:
        """No line is as wide as the terminal, so that none is broken where it should not be."""
        for of in _COMMANDS:
            for width in (60, 80, 100, 120):
                for line in of().getUsage(width).splitlines():
                    self.assertLess(len(line), width, line)

    def test_services(self) -> None:
        """Signals, exit codes and an example, which names options that are there."""
        for of in (AgentOptions, BalancerOptions):
            blocks = _blocks(of().getUsage(80))
            for word in ("SIGTERM", "SIGHUP", "SIGUSR1"):
                self.assertIn(word, blocks["Signals"])
            self.assertEqual(
                re.findall(r"^  (\d+) ", blocks["Exit status"], re.M), ["0", "1", "143"]
            )
            known = {option.name for option in of.table} | {"logfile", "pidfile"}
            named = set(re.findall(r"--([a-z-]+)", blocks["Examples"]))
            self.assertTrue(named and named <= known, named)

    def test_synopsis(self) -> None:
        """Under twistd it is said how twistd's own options go with it."""
        options: PaddlerOptions = BalancerOptions()
        self.assertTrue(options.getUsage(80).startswith("Usage: paddler balancer [options]\n"))
        options.parent = Options()
        synopsis = "Usage: twistd [twistd options] paddler-balancer [options]\n"
        self.assertTrue(options.getUsage(80).startswith(synopsis))
