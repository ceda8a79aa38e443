"""What `twistd` says of Paddler's two commands, and they of themselves."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler import __version__
from paddler.agent.settings import AgentOptions
from paddler.balancer.settings import BalancerOptions
from paddler.options import PaddlerOptions
from tests.commands import Finished, python
from tests.twistds import TWISTD

__all__ = ["CommandsTests"]

_COMMANDS: tuple[tuple[str, type[PaddlerOptions]], ...] = (
    ("paddler-agent", AgentOptions),
    ("paddler-balancer", BalancerOptions),
)


def _twistd(*words: str, columns: int = 80) -> Finished:
    return python(*TWISTD[1:], *words, more={"COLUMNS": str(columns)})


class CommandsTests(SynchronousTestCase):
    """Words on real command lines."""

    def assert_line(self, line: str, *words: str) -> None:
        """twistd with these words ends with this one line."""
        ended = _twistd(*words)
        self.assertEqual((ended.code, ended.out, ended.err), (1, "", line + "\n"))

    def test_list(self) -> None:
        """twistd's own help has a line for each."""
        ended = _twistd("--help")
        self.assertEqual((ended.code, ended.err), (0, ""))
        self.assertRegex(ended.out, r"paddler-agent +Report one llama\.cpp server's slots")
        self.assertRegex(ended.out, r"paddler-balancer +Share llama\.cpp servers by their free")

    def test_help(self) -> None:
        """Each has its own, as wide as the terminal, which says where twistd's options go."""
        for command, of in _COMMANDS:
            ended = _twistd(command, "--help", columns=90)
            self.assertEqual((ended.code, ended.err), (0, ""))
            lines = ended.out.splitlines()
            self.assertEqual(lines[0], f"Usage: twistd [twistd options] {command} [options]")
            # What is wrapped by words comes near to it.
            self.assertIn(max(map(len, lines)), range(80, 90))
            for option in of.table:
                self.assertIn(f"\n  --{option.name}=", ended.out)

    def test_version(self) -> None:
        """The version is Paddler's."""
        for command, _ in _COMMANDS:
            ended = _twistd(command, "--version")
            self.assertEqual((ended.code, ended.out), (0, f"paddler {__version__}\n"))

    def test_no_such_option(self) -> None:
        """One line names it."""
        self.assert_line("--nonsense: no such option; see --help", "paddler-agent", "--nonsense")
        self.assert_line(
            "--agent-expire: no such option; did you mean --agent-expiry?",
            "paddler-balancer",
            "--agent-expire=3",
        )

    def test_completion(self) -> None:
        """zsh, which asks twistd, is told every option with what may follow it."""
        for command, of in _COMMANDS:
            ended = _twistd(command, "--", "--_shell-completion", "zsh:3")
            self.assertEqual((ended.code, ended.err), (0, ""))
            for option in of.table:
                self.assertIn(f"--{option.name}=[{option.help}]:", ended.out)
            self.assertIn("[Show Paddler's version and exit.]", ended.out)
            self.assertIn("]:HOST:_hosts", ended.out)
            self.assertIn(']:FILE (*):_files -g "*"', ended.out.replace("\\", ""))
            self.assertIn("]:http|https:(http https)", ended.out)
