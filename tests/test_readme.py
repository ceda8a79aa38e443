"""README.md: what it says of options and files is so."""

from __future__ import annotations

import re

from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.plugin import Options as AgentOptions
from paddler.balancer.plugin import Options as BalancerOptions
from paddler.demo import Options as DemoOptions
from paddler.options import Option, PaddlerOptions
from tests.commands import ROOT

__all__ = ["ReadmeTests"]


class ReadmeTests(SynchronousTestCase):
    """The text against the program."""

    def setUp(self) -> None:
        self.text = (ROOT / "README.md").read_text(encoding="utf-8")

    def table(self, title: str, of: type[PaddlerOptions]) -> list[tuple[Option, str]]:
        """The options that the README's table `title` names, each with its default there."""
        known = {option.name: option for option in of.table}
        rows = self.text.partition(f"| {title} | default |")[2].partition("\n\n")[0]
        found = []
        for row in re.findall(r"^\| (`--.*?) \| (.*?) \|", rows, re.M):
            names = re.findall(r"`--([a-z-]+)`", row[0])
            defaults = row[1].split(", ") if ", " in row[1] else [row[1]] * len(names)
            found += [(known[name], default) for name, default in zip(names, defaults, strict=True)]
        return found

    def test_options(self) -> None:
        """The tables name options that are there, with their defaults."""
        for title, of in (("balancer", BalancerOptions), ("agent", AgentOptions)):
            rows = self.table(title, of)
            self.assertGreater(len(rows), 5)
            for option, default in rows:
                self.assertEqual(default, option.default_text or "none", option.name)

    def test_every_option(self) -> None:
        """Whatever is written like an option anywhere is an option of Paddler's or twistd's."""
        tables = [*BalancerOptions.table, *AgentOptions.table, *DemoOptions.table]
        known = {option.name for option in tables} | {"help"}
        known |= {name.rstrip("=") for name in ServerOptions().longOpt}  # twistd's
        llamas = {"host", "port", "models-dir", "alias"}  # llama-server's own
        written = set(re.findall(r"--([a-z][a-z0-9-]+)", self.text))
        self.assertEqual(written - known - llamas, set())

    def test_files(self) -> None:
        """Files that it links to are there."""
        links = re.findall(r"\]\(((?!http)[^)]+)\)", self.text)
        self.assertGreater(len(links), 2)
        self.assertEqual([link for link in links if not (ROOT / link).exists()], [])
