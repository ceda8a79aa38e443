"""`paddler.terminal.events`: events out of bytes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.events import LONGEST, EventReader, Unreadable

__all__ = ["EventReaderTests"]


class EventReaderTests(SynchronousTestCase):
    """`EventReader`."""

    def test_pieces(self) -> None:
        """However it is cut, the same events come out of it."""
        data = (
            b": comment\r\n\r\nevent: snapshot\r\ndata: {}\r\n\r\n"
            b"data:one\ndata: two\nid: 7\n\nevent: nothing\n\ndata: unfinished\n"
        )
        for size in (1, 2, 3, 7, 1000):
            reader = EventReader()
            pieces = (data[start : start + size] for start in range(0, len(data), size))
            found = [event for piece in pieces for event in reader.feed(piece)]
            self.assertEqual(found, [("snapshot", b"{}"), ("message", b"one\ntwo")])

    def test_endless(self) -> None:
        """What grows without end is given up, be it in one line or in many; much in all is not."""
        large = b"x" * (LONGEST // 8)
        for start, end in ((b"", b""), (b"data: ", b"\n"), (b"id: ", b"\n")):
            reader = EventReader()
            with self.assertRaises(Unreadable):
                for _ in range(9):
                    list(reader.feed(start + large + end))
        reader = EventReader()
        for _ in range(9):
            self.assertEqual(len(list(reader.feed(b"data: " + large + b"\n\n"))), 1)
