"""Options: one table, one way to read them, one line for what doesn't fit."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from paddler.coercions import (
    boolean,
    choice,
    duration,
    host,
    host_or_key,
    listening_port,
    path_of_secret,
    port,
    positive,
    read_secret,
    size,
    text,
    whole,
)
from paddler.metadata import MetadataKey
from paddler.options import Option, PaddlerOptions


class CoercionTests(SynchronousTestCase):
    """From what was written to what was meant."""

    def test_good(self) -> None:
        """All the ways to write a value."""
        for coerce, raw, value in (
            (boolean, "true", True),
            (boolean, "YES", True),
            (boolean, "off", False),
            (boolean, "0", False),
            (duration, "500ms", 0.5),
            (duration, "60s", 60.0),
            (duration, "2m", 120.0),
            (duration, "1h", 3600.0),
            (duration, "1.5", 1.5),
            (duration, "0", 0.0),
            (port, "65535", 65535),
            (listening_port, "0", 0),
            (whole(0), "12", 12),
            (host, "paddler_balancer.example.com", "paddler_balancer.example.com"),
            (host, "::1", "::1"),
            (host, "[::1]", "::1"),
            (host, "10.0.0.1", "10.0.0.1"),
            (host_or_key, "10.0.0.1", "10.0.0.1"),
            (host_or_key, "aws:metadata:local-ipv4", MetadataKey("local-ipv4")),
            (choice("a", "b"), "b", "b"),
            (text, "a b", "a b"),
        ):
            self.assertEqual(coerce(raw), value, raw)

    def test_bad(self) -> None:
        """What fits is said for everything that doesn't."""
        for coerce, raw in (
            (boolean, ""),
            (boolean, "2"),
            (duration, ""),
            (duration, "5 s"),
            (duration, "-1"),
            (duration, "1d"),
            (duration, "inf"),
            (positive(duration), "0"),
            (port, "0"),
            (port, "65536"),
            (port, "http"),
            (port, "٣"),
            (whole(1), "-1"),
            (whole(1, 3), "4"),
            (host, ""),
            (host, "http://h"),
            (host, "h:80"),
            (host, "a b"),
            (host, "aws:metadata:local-ipv4"),
            (host, "a:b:c"),
            (host_or_key, "aws:metadata:"),
            (host_or_key, "aws:metadata:mac/"),
            (host_or_key, "a:b"),
            (choice("a", "b"), "c"),
            (text, " "),
            (text, "a\nb"),
        ):
            error = self.assertRaises(ValueError, coerce, raw)
            self.assertTrue(str(error), raw)

    def test_secrets(self) -> None:
        """A secret's file holds one line; everything else is refused, never shown."""
        path = Path(self.mktemp())
        self.assertIn("can be read", str(self.assertRaises(ValueError, path_of_secret, str(path))))
        path.write_text(" s3cret\n")
        self.assertEqual(read_secret(path_of_secret(str(path))), "s3cret")
        for content in (b"", b"\n", b"two words", b"two\nlines", b"\xff", "ü".encode()):
            path.write_bytes(content)
            error = self.assertRaises(ValueError, path_of_secret, str(path))
            self.assertNotIn("two", str(error))


class _Options(PaddlerOptions):
    command = "try"
    table = (
        Option("a-port", port, 80, "A port."),
        Option("some-flag", boolean, False, "A flag."),
        Option("name", text, None, "A name.", repeatable=False),
        Option("each", text, (), "Several.", repeatable=True),
        Option("key", choice("x"), None, "A secret.", secret=True),
        Option("wait", duration, 60.0, "A time."),
    )
    not_yet = frozenset(("later",))
    environment: ClassVar[dict[str, str]] = {}

    def postOptions(self) -> None:
        self.exclude("name", "each")


class ParsingTests(SynchronousTestCase):
    """Reading a command line and an environment."""

    def parse(self, *words: str, **environment: str) -> _Options:
        """Read them."""
        options = _Options()
        options.environment = environment
        options.parseOptions(words)
        return options

    def complaint(self, *words: str, **environment: str) -> str:
        """What is said of them; the command ends with 1 then."""
        error = self.assertRaises(SystemExit, self.parse, *words, **environment)
        self.assertIsInstance(error.code, str)
        self.assertNotIn("\n", error.code)
        return error.code

    def test_defaults(self) -> None:
        """Nothing given."""
        self.assertEqual(
            dict(self.parse()),
            {"a-port": 80, "some-flag": False, "name": None, "each": (), "key": None, "wait": 60.0},
        )

    def test_ways_to_write(self) -> None:
        """With an equals sign, as a word of its own, bare, repeated."""
        options = self.parse("--a-port=1", "--some-flag", "--each", "x", "--each=y", "--wait", "2m")
        self.assertEqual((options["a-port"], options["some-flag"]), (1, True))
        self.assertEqual((options["each"], options["wait"]), (("x", "y"), 120.0))
        self.assertEqual(options.given, {"a-port", "some-flag", "each", "wait"})

    def test_booleans(self) -> None:
        """A bare boolean is true, and a word after it belongs to it only if it is a boolean."""
        self.assertTrue(self.parse("--some-flag", "--name", "n")["some-flag"])
        self.assertFalse(self.parse("--some-flag", "off")["some-flag"])
        self.assertFalse(self.parse("--some-flag=No")["some-flag"])

    def test_environment(self) -> None:
        """The environment gives what the command line doesn't."""
        options = self.parse("--a-port=1", PADDLER_A_PORT="2", PADDLER_EACH="x, y")
        self.assertEqual((options["a-port"], options["each"]), (1, ("x", "y")))
        self.assertEqual(self.parse(PADDLER_SOME_FLAG="yes")["some-flag"], True)

    def test_kubernetes(self) -> None:
        """A service's own variable is no port; that is remarked once."""
        options = self.parse(PADDLER_A_PORT="tcp://10.0.0.1:80")
        self.assertEqual(options["a-port"], 80)
        (remark,) = options.remarks
        self.assertIn("PADDLER_A_PORT", remark)

    def test_complaints(self) -> None:
        """One line that names the option, what was given and what fits."""
        for words, named, also in (
            (("--a-port=x",), "--a-port", "'x'"),
            (("--a-port=x",), "--a-port", "1 to 65535"),
            (("--a-port",), "--a-port", "needs a value"),
            (("--a-port", "--some-flag"), "--a-port", "needs a value"),
            (("--a-prt=1",), "--a-prt", "did you mean --a-port"),
            (("--qqqqqq",), "--qqqqqq", "--help"),
            (("--later=1",), "--later", "not built into this version"),
            (("--some-flag=maybe",), "--some-flag", "true or false"),
            (("--a-port=1", "--a-port=2"), "--a-port", "twice"),
            (("stray",), "stray", "not an option"),
            (("-x",), "-x", "not an option"),
            (("--",), "--", "not an option"),
            (("--name=a", "--each=b"), "--name", "--each"),
        ):
            line = self.complaint(*words)
            self.assertTrue(line.startswith(named), line)
            self.assertIn(also, line)

    def test_complaints_of_the_environment(self) -> None:
        """The variable is named, as that is what was given."""
        self.assertTrue(self.complaint(PADDLER_A_PORT="x").startswith("PADDLER_A_PORT: got 'x'"))
        self.assertIn("not built", self.complaint(PADDLER_LATER="1"))

    def test_secret_is_not_repeated(self) -> None:
        """A wrong secret is not shown."""
        self.assertNotIn("hidden", self.complaint("--key=hidden"))

    def test_default_text(self) -> None:
        """A default is told as one would write it, and not at all where there is none."""
        for option, told in (
            (Option("a", port, 80, "."), "80"),
            (Option("a", boolean, False, "."), "false"),
            (Option("a", duration, 0.5, "."), "500ms"),
            (Option("a", positive(duration), 90.0, "."), "90s"),
            (Option("a", size, 2**26, "."), "64MiB"),
            (Option("a", text, None, ".", shown="as b"), "as b"),
            (Option("a", text, None, "."), None),
            (Option("a", text, (), ".", repeatable=True), None),
        ):
            self.assertEqual(option.default_text, told)
            self.assertEqual("[default:" in option.doc, told is not None)

    def test_help_and_version(self) -> None:
        """Both are printed, and end the command well."""
        for word, begins in (("--help", "Usage: try [options]\n"), ("--version", "paddler ")):
            with redirect_stdout(StringIO()) as printed:
                error = self.assertRaises(SystemExit, self.parse, word)
            self.assertEqual(error.code, 0)
            self.assertTrue(printed.getvalue().startswith(begins))
