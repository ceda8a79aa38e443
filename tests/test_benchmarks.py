"""The benchmarks' own parts: what they count and what they print. No time is judged here."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.events import SIZE, event, frame, read
from benchmarks.machine import Cores, cpu_seconds, resident_bytes, shape
from benchmarks.packages import ensure
from benchmarks.percentiles import percentile
from benchmarks.results import BASELINE, README, Results, into_readme
from benchmarks.rows import Goal, Plan, Row, compared
from benchmarks.table import table
from benchmarks.token_clients import Reader, Tally
from tests.commands import python

__all__ = ["ClientTests", "EventTests", "MachineTests", "RelayTests", "ResultTests", "TableTests"]

_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Prints what came of eight streams to their ends, and of four that were left.
_RELAY = """
import json
from benchmarks.machine import Cores, cpu_seconds
from benchmarks.stand import Stand
from benchmarks.token_clients import read_streams, watch_streams

with Stand(Cores(None, ())) as stand:
    proxy = stand.paddler(stand.token_server(4), 8, reactor={reactor!r})
    whole = read_streams(proxy.port, 8, 250)
    left = watch_streams(
        proxy.port, 4, 0.5, settle=0.1, delays=True, watch=lambda: cpu_seconds(proxy.pid)
    )
print(json.dumps({{
    "events": whole.events, "ended": whole.ended, "wrong": whole.wrong,
    "left": left.tally.events, "left_wrong": left.tally.wrong,
    "delays": len(left.tally.delays), "negative": min(left.tally.delays) <= 0,
    "cpu": left.watched,
}}))
"""


class RelayTests(SynchronousTestCase):
    """The server of tokens, a balancer and the clients, as the benchmark runs them."""

    def relay(self, reactor: str) -> None:
        """All events of all streams come, in their order."""
        ended = python("-W", "error", "-c", _RELAY.format(reactor=reactor))
        self.assertEqual((ended.code, ended.err), (0, ""))
        came = json.loads(ended.out)
        self.assertEqual((came["events"], came["ended"], came["wrong"]), (8 * 250, 8, 0))
        self.assertGreater(came["left"], 0)
        self.assertEqual(came["delays"], came["left"])
        self.assertEqual((came["left_wrong"], came["negative"]), (0, False))
        self.assertGreater(came["cpu"], 0)

    def test_fast_lane(self) -> None:
        """Through the fast lane."""
        self.relay("uvloop" if find_spec("uvloop") else "asyncio")

    def test_twisted_web(self) -> None:
        """Through twisted.web, on a reactor without a fast lane."""
        self.relay("epoll")


class EventTests(SynchronousTestCase):
    """Events on the wire."""

    def test_is_an_event(self) -> None:
        """One is a server-sent event with JSON in it, of one size, and is read again."""
        for number, stamp in ((0, 1), (99_999_999, 9 * 10**18)):
            made = event(number, stamp)
            self.assertEqual(len(made), SIZE)
            self.assertEqual(read(b"before" + made, 6), (number, stamp))
            start, _, end = made.partition(b"data: ")
            self.assertEqual((start, end[-2:]), (b"", b"\n\n"))
            self.assertEqual(json.loads(end)["object"], "chat.completion.chunk")
            self.assertEqual(frame(number, stamp), b"%x\r\n%b\r\n" % (SIZE, made))


class ClientTests(SynchronousTestCase):
    """What clients find wrong."""

    def told(self, *pieces: bytes) -> Tally:
        """What a client counts that is sent this, and is then cut off."""
        tally = Tally(delays=[])
        begun: list[None] = []
        reader = Reader(tally, b"", lambda: begun.append(None))
        for piece in pieces:
            reader.data_received(piece)
        reader.connection_lost(None)
        self.assertLessEqual(len(begun), 1)
        return tally

    def test_whole(self) -> None:
        """A whole stream has nothing wrong, however it is cut into pieces."""
        sent = _HEAD + frame(0, 1) + frame(1, 2) + frame(2, 3) + b"0\r\n\r\n"
        for size in (1, 7, SIZE, SIZE + 9, len(sent)):
            tally = self.told(*(sent[at : at + size] for at in range(0, len(sent), size)))
            self.assertEqual((tally.events, tally.ended, tally.wrong), (3, 1, 0), size)
            self.assertEqual(len(tally.delays or ()), 3)

    def test_wrong(self) -> None:
        """A gap, a repetition, a cut, a rest and an error are each counted."""
        first, end = _HEAD + frame(0, 1), b"0\r\n\r\n"
        for sent in (
            first + frame(2, 2) + end,
            first + frame(0, 1) + end,
            first,
            first + b"3\r\ndat\r\n" + end,
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        ):
            self.assertEqual(self.told(sent).wrong, 1, sent)


class MachineTests(SynchronousTestCase):
    """What is read of the machine."""

    def test_cores(self) -> None:
        """A proxy has a core to itself where there are two, and none is set aside of one."""
        two = Cores.of(range(2))
        self.assertEqual(two.words(proxy=True), ["taskset", "-c", "1"])
        self.assertEqual(two.words(proxy=False), ["taskset", "-c", "0"])
        self.assertEqual(Cores.of(range(4)).words(proxy=False), ["taskset", "-c", "0,1,2"])
        self.assertEqual(Cores.of([5]).words(proxy=True), [])

    def test_process(self) -> None:
        """A process has had time on a core and has memory; the machine has a shape."""
        pid = int(Path("/proc/self").readlink().name)
        self.assertGreater(cpu_seconds(pid), 0.01)
        self.assertGreater(resident_bytes(pid), 1_000_000)
        self.assertTrue(str(shape()["python"]).startswith(("CPython 3", "PyPy 3")))

    def test_nothing_missing(self) -> None:
        """What is there is not installed again."""
        ensure("sh")


class TableTests(SynchronousTestCase):
    """Rows and their table."""

    rows = (
        compared("rate", "/s", [30_000.0, 10.0, 25_000.0], [50_000.0] * 3, Goal(0.6, True)),
        compared("cost", "us", [1.5], [1.0], Goal(1.2)),
        Row("memory", "MB", 61.66, goal=Goal(80.0, of_ratio=False)),
        compared("added", "us", [1.0], [-1.0], Goal(3.0)),
    )

    def test_goals(self) -> None:
        """Medians are compared, and a goal that can't be judged is neither met nor missed."""
        self.assertEqual([row.ratio for row in self.rows], [0.5, 1.5, None, None])
        self.assertEqual([row.met for row in self.rows], [False, False, True, None])

    def test_table(self) -> None:
        """Each row is a line, beside what was recorded for it."""
        was = {"rate": Row("rate", "/s", 1.0, ratio=0.625), "memory": Row("memory", "MB", 55.0)}
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in table(self.rows, was).splitlines()
        ]
        self.assertEqual(
            lines[0][0:4] + lines[0][-1:], ["", "Paddler", "HAProxy", "ratio", "recorded"]
        )
        self.assertEqual(lines[2], ["rate", "25,000/s", "50,000/s", "0.50", ">= 0.6", "NO", "0.62"])
        self.assertEqual(lines[4], ["memory", "61.7 MB", "", "", "<= 80 MB", "yes", "55.0 MB"])
        self.assertEqual(lines[5][-1], "")
        self.assertNotIn("recorded", table(self.rows, {}))

    def test_percentiles(self) -> None:
        """A percentile is one of the figures, also of few."""
        self.assertEqual(percentile([3.0, 1.0, 2.0], 0.5), 2.0)
        self.assertEqual(percentile(list(range(200)), 0.99), 198)
        self.assertEqual(percentile([7.0], 0.99), 7.0)


class ResultTests(SynchronousTestCase):
    """Results in files."""

    def results(self) -> Results:
        return Results.now(shape(), Plan(), TableTests.rows)

    def test_kept(self) -> None:
        """What is written is read again, and what is not there is None."""
        path = Path(self.mktemp()) / "latest.json"
        self.assertIsNone(Results.read(path))
        results = self.results()
        results.write(path)
        found = Results.read(path)
        assert found is not None
        self.assertEqual(found.by_name(), results.by_name())
        self.assertEqual(json.loads(path.read_bytes())["rows"][0]["met"], False)

    def test_readme(self) -> None:
        """A new table takes the place of the old one; all else stays."""
        copy = Path(self.mktemp())
        text = README.read_text()
        copy.write_text(text)
        into_readme(self.results(), copy)
        into_readme(self.results(), copy)
        now = copy.read_text()
        self.assertEqual(now.count("| rate"), 1)
        for mark in ("<!-- results -->", "<!-- end of results -->"):
            self.assertEqual(now.count(mark), 1)
        self.assertEqual(now.partition("<!--")[0], text.partition("<!--")[0])
        self.assertEqual(now.rpartition("-->")[2], text.rpartition("-->")[2])

    def test_recorded(self) -> None:
        """The README has the results that later ones are compared with."""
        recorded = Results.read(BASELINE)
        assert recorded is not None
        self.assertIn(recorded.text(), README.read_text())
        self.assertGreater(len(recorded.rows), 15)
