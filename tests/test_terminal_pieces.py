"""`paddler.terminal`: figures and glyphs, from which all else is made; and the options."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.cells import cell_len
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.figures import (
    clean,
    clip,
    columns_of,
    count,
    cut,
    many,
    pad,
    plain,
    port_in,
    seconds,
    span,
    waited,
    wrap,
)
from paddler.terminal.glyphs import ASCII, BLOCKS, columns, sparkline
from paddler.terminal.settings import DashboardOptions
from paddler.values import Address

__all__ = ["FigureTests", "GlyphTests", "SettingsTests"]


class FigureTests(SynchronousTestCase):
    """Numbers, times and names."""

    def test_seconds(self) -> None:
        """A time that is looked at closely has two digits, or three."""
        for value, expected in (
            (None, "none"),
            (float("nan"), "none"),
            (-1.0, "0 ms"),
            (0.0, "0 ms"),
            (0.38, "380 ms"),
            (0.9996, "1.0 s"),
            (9.4, "9.4 s"),
            (9.96, "10 s"),
            (41.2, "41 s"),
            (119.6, "120 s"),
            (1300.0, "1,300 s"),
        ):
            self.assertEqual(seconds(value), expected)

    def test_span(self) -> None:
        """A time that passes is told in its two largest units."""
        for value, expected in (
            (0.9, "0 s"),
            (89.9, "89 s"),
            (130.0, "2 min"),
            (7200.0, "2 h 0 min"),
            (11100.0, "3 h 5 min"),
            (532800.0, "6 d 4 h"),
        ):
            self.assertEqual(span(value), expected)

    def test_waited(self) -> None:
        """How long somebody waits has no digits that dance."""
        self.assertEqual([waited(s) for s in (0.38, 6.9, 100)], ["under 1 s", "6 s", "1 min"])

    def test_many(self) -> None:
        """One is one, and thousands have commas; a limit has the decimals that it was given."""
        self.assertEqual([many(n, "agent") for n in (1, 2000)], ["1 agent", "2,000 agents"])
        self.assertEqual([count(n) for n in (60.0, 0.5, 1200.0)], ["60", "0.5", "1,200"])

    def test_fits(self) -> None:
        """What is clipped, cut, filled or wrapped never has more columns than it may."""
        for text in (
            "gpu-01",
            "llama-3.1-8b-instruct-q5",
            "日本語の名前です",
            "é́x" * 9,
            "",
            "a b c",
            "\x1b[2Jx\x00",
            "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
            "\u0e1c\u0e39\u0e49 \u0915\u094d\u0937\u093f \u1100\u1161",
        ):
            for width in range(20):
                self.assertLessEqual(columns_of(clip(text, width)), width)
                self.assertLessEqual(columns_of(cut(text, width)), width)
                self.assertEqual(columns_of(pad(text, width)), width)
                self.assertEqual(columns_of(pad(text, width, right=True)), width)
                if width > 1:
                    self.assertTrue(all(columns_of(line) <= width for line in wrap(text, width)))
        self.assertEqual(clip("llama-3.1-8b-instruct-q5", 18), "llama-3.1-8b…ct-q5")
        self.assertEqual(cut("one two three", 9), "one two…")

    def test_clean(self) -> None:
        """What steers a terminal is shown, what terminals don't agree on is left out."""
        for text, shown in (
            ("gpu-01", "gpu-01"),
            ("\x1b]52;c;aGk=\x07", "?]52;c;aGk=?"),
            ("a\u202eb\u2066c\u200bd", "a?b?c?d"),
            ("\u2601\ufe0f\U0001f44d\U0001f3fd", "\u2601\U0001f44d"),
            ("\U0001f1e9\U0001f1ea", "DE"),
            ("e" + "\u0301" * 50, "e\u0301\u0301"),
            ("\u65e5\u672c", "\u65e5\u672c"),
        ):
            self.assertEqual(clean(text), shown)
            self.assertEqual(columns_of(text), cell_len(shown))

    def test_plain(self) -> None:
        """ASCII of as many columns."""
        self.assertEqual(plain("gpu \u65e5e\u0301"), "gpu ??e")

    def test_wrap(self) -> None:
        """Lines are broken at blanks, and a word only where it must be."""
        self.assertEqual(wrap("the cat and the dog", 8), ["the cat", "and the", "dog"])
        self.assertEqual(wrap("a abcdefgh b", 4), ["a", "abcd", "efgh", "b"])

    def test_port(self) -> None:
        """A port is found in an address and in an endpoint's description."""
        for text, port in (
            ("10.0.0.1:8088", "8088"),
            ("[::1]:81", "81"),
            ("tcp:8086:interface=127.0.0.1", "8086"),
            ("ssl:port=443:privateKey=x", "443"),
            ("unix:/run/paddler", ""),
        ):
            self.assertEqual(port_in(text), port)


class GlyphTests(SynchronousTestCase):
    """Columns and cells."""

    def test_sparkline(self) -> None:
        """The largest fills its cell, nothing is the lowest mark, a gap is blank."""
        self.assertEqual(sparkline([0, 1, 2, None, 8], 8, 6, BLOCKS), " ▁▁▂ █")
        self.assertEqual(sparkline([0, 8], 8, 2, ASCII), "_#")
        self.assertEqual(sparkline([0, 0], 0, 2, BLOCKS), "▁▁")

    def test_gathered(self) -> None:
        """Of many values a column shows the largest of its own, so that no peak is lost."""
        values = [0.0] * 100
        values[37] = 8.0
        self.assertEqual(sparkline(values, 8, 10, BLOCKS).index("█"), 3)

    def test_columns(self) -> None:
        """A chart has as many lines as it should, filled from below, and all of its width."""
        self.assertEqual(columns([4, 8, 12], 12, 3, 3, BLOCKS), ["  █", " ██", "███"])
        self.assertEqual(columns([4, None], 8, 4, 1, BLOCKS), ["▄▄  "])
        self.assertEqual(columns([], 8, 4, 1, BLOCKS), ["    "])

    def test_logarithmic(self) -> None:
        """On a logarithmic scale what is a hundred times less can still be told from nothing."""
        values = [0.0001, 0.01, 0.1, 1.0]
        self.assertEqual(columns(values, 1.0, 4, 1, BLOCKS, 3), ["▁▃▅█"])
        self.assertEqual(columns(values, 1.0, 4, 1, BLOCKS), ["▁▁▁█"])

    def test_told_apart(self) -> None:
        """In both sets every kind of slot has its own character."""
        for glyphs in (BLOCKS, ASCII):
            self.assertEqual(len(set(glyphs.cells.values())), 6)
            self.assertEqual(len(set(glyphs.marks.values())), 7)
        self.assertEqual("".join(ASCII.cells.values()), "#+x~.?")


class SettingsTests(SynchronousTestCase):
    """The options."""

    def parsed(self, *words: str) -> DashboardOptions:
        """Options of these words, and nothing of the environment."""
        options = DashboardOptions()
        options.environment = {}
        options.parseOptions(words)
        return options

    def test_defaults(self) -> None:
        """Without options it is this machine's balancer."""
        settings = self.parsed().settings()
        self.assertEqual(settings.management, Address("127.0.0.1", 8085))
        self.assertEqual((settings.token, settings.ascii), (None, False))

    def test_underscore(self) -> None:
        """A name with an underscore is as good as any, but for https."""
        self.assertEqual(self.parsed("--management-host=a_b").settings().management.host, "a_b")
        options = self.parsed("--management-host=a_b", "--management-scheme=https")
        with self.assertRaisesRegex(UsageError, "--management-host: got 'a_b'; with https"):
            options.settings()

    def test_all(self) -> None:
        """Each option has its place, and the token is in no picture of them."""
        path = Path(tempfile.mkdtemp()) / "token"
        self.addCleanup(path.parent.rmdir)
        path.write_text("secret\n")
        self.addCleanup(path.unlink)
        settings = self.parsed(
            "--management-host=b",
            "--management-port=1",
            "--management-scheme=https",
            f"--management-token-file={path}",
            "--ascii",
        ).settings()
        self.assertEqual(settings.management, Address("b", 1, "https"))
        self.assertEqual((settings.token, settings.ascii), ("secret", True))
        self.assertNotIn("secret", repr(settings))
