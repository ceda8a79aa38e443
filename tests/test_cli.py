"""`paddler.cli`: the command's own texts, and what it does with words that don't fit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from paddler import __version__
from tests.commands import Finished, python, run_paddler

__all__ = ["HelpTests", "RefusalTests"]


class HelpTests(SynchronousTestCase):
    """Texts that were asked for."""

    def test_help(self) -> None:
        """`paddler --help` names every command and says how the version is shown."""
        ended = run_paddler("--help")
        self.assertEqual((ended.code, ended.err), (0, ""))
        for word in (
            "balancer",
            "agent",
            "demo",
            "dashboard",
            "--version",
            "twistd paddler-balancer",
        ):
            self.assertIn(word, ended.out)
        self.assertLess(max(map(len, ended.out.splitlines())), 80)

    def test_version(self) -> None:
        """The version is one line, of `paddler` and of each of its commands."""
        for words in ((), ("balancer",), ("agent",), ("dashboard",), ("demo",)):
            ended = run_paddler(*words, "--version")
            self.assertEqual((ended.code, ended.out), (0, f"paddler {__version__}\n"))

    def test_nothing(self) -> None:
        """Without a command the same help goes to the standard error, and the exit code is 1."""
        ended = run_paddler()
        self.assertEqual((ended.code, ended.out), (1, ""))
        self.assertEqual(ended.err, run_paddler("--help").out)

    def test_help_of_commands(self) -> None:
        """Each command has a help of its own, with its name and its options."""
        for command, option in (
            ("balancer", "--reverseproxy-port"),
            ("agent", "--external-llamacpp-host"),
            ("demo", "--servers"),
            ("dashboard", "--management-token-file"),
        ):
            ended = run_paddler(command, "--help")
            self.assertEqual((ended.code, ended.err), (0, ""))
            self.assertTrue(ended.out.startswith(f"Usage: paddler {command} "), ended.out)
            self.assertIn(option, ended.out)


class RefusalTests(SynchronousTestCase):
    """Whatever is wrong ends the command with one line and the exit code 1."""

    def assert_one_line(self, ended: Finished, says: str) -> None:
        """It ended with one line on the standard error that `says` is found in."""
        self.assertEqual((ended.code, ended.out), (1, ""), ended.err)
        self.assertRegex(ended.err, re.compile(r"\A[^\n]+\n\Z"))
        self.assertIn(says, ended.err)

    def check(self, words: Sequence[str], says: str) -> None:
        """Running `paddler` with these words ends so."""
        self.assert_one_line(run_paddler(*words), says)

    def test_unknown_command(self) -> None:
        """A word that is no command is named, with the command that it resembles."""
        self.check(["balancr"], "'balancr'; did you mean balancer?")
        self.check(["frobnicate"], "'frobnicate'; see paddler --help")
        self.check(["--management-port", "1"], "--management-port must come after a command")

    def test_dashboard_without_a_terminal(self) -> None:
        """The dashboard has no use for a pipe, and says where programs find its numbers."""
        self.check(
            ["dashboard", "--management-host", "h", "--management-port", "81"],
            "dashboard: needs a terminal for its input, output and errors; programs read http://h:81/api/v1/agents",
        )
        self.check(["dashboard", "--management-token-file", "/nowhere"], "a file that can be read")

    def test_dashboard_without_textual(self) -> None:
        """Where Textual is not installed, it is said what installs it."""
        hidden = "import sys; sys.modules['textual'] = None; from paddler.cli import main; main()"
        self.assert_one_line(
            python("-c", hidden, "dashboard"), "needs Textual; pip install 'paddler[dashboard]'"
        )

    def test_unknown_option(self) -> None:
        """An unknown option is named."""
        self.check(["balancer", "--reverseproxy-prot", "1"], "did you mean --reverseproxy-port?")
        self.check(["agent", "--management-prot", "1"], "did you mean --management-port?")
        self.check(["demo", "--serves", "1"], "did you mean --servers?")

    def test_bad_value(self) -> None:
        """A value that does not fit is repeated, with what would fit."""
        self.check(
            ["balancer", "--reverseproxy-port", "x"],
            "--reverseproxy-port: got 'x'; it needs a whole number",
        )
        self.check(["agent", "--management-port=0"], "--management-port: got '0'; it needs a whole")
        self.check(["demo", "--slots", "0"], "--slots: got '0'; it needs a whole number from 1")
        self.check(["demo", "--model", "/nowhere.gguf"], "--model: got '/nowhere.gguf'")
        self.check(["demo", "--llama-server", "/etc/passwd"], "a program that can be run")

    def test_bad_value_in_the_environment(self) -> None:
        """One from the environment is named by its variable."""
        ended = run_paddler("balancer", more={"PADDLER_REQUEST_BUFFER_SIZE": "many"})
        self.assert_one_line(ended, "PADDLER_REQUEST_BUFFER_SIZE: got 'many'")
