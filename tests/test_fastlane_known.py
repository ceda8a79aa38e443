"""Heads that are told by their bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.fastlane.known import Known
from paddler.balancer.fastlane.plain import BODY, PlainHeads
from paddler.headers import RequestHeaders

_HEAD = b"POST /completion HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\nX-One: 1\r\n\r\n"


class KnownTests(SynchronousTestCase):
    """A head is the same but for one number."""

    def known(self) -> Known:
        """One that was read with a body of 3 bytes."""
        known = Known.of(_HEAD % b"3" + b"abc")
        assert known is not None
        return known

    @given(st.integers(0, 999_999_999), st.binary(max_size=40))
    def test_found(self, size: int, rest: bytes) -> None:
        """Any length is found, whatever follows."""
        head = _HEAD % b"%d" % size
        self.assertEqual(self.known().find(head + rest), (len(head), size))

    def test_others(self) -> None:
        """Any other head, and what is no length, is not known; nor is half of one."""
        known, head = self.known(), _HEAD % b"3"
        for length in (b"", b" 3", b"3 ", b"+3", b"-3", b"3,3", b"3\r\nX: 1", b"1234567890"):
            self.assertIsNone(known.find(_HEAD % length), length)
        for end in range(len(head)):
            self.assertIsNone(known.find(head[:end]), end)
        for other in (head.lower(), head.replace(b"One", b"Two"), head.replace(b"h\r", b"i\r")):
            self.assertIsNone(known.find(other), other)

    def test_none(self) -> None:
        """A head without a length is none to be known; what stands in its body is not looked at."""
        self.assertIsNone(Known.of(b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\n\r\nContent-Length: 3\r\n"))

    def test_spelling(self) -> None:
        """However the name is written, and what follows its colon."""
        for name in (b"content-length:", b"CONTENT-LENGTH: \t ", b"Content-Length:  "):
            known = Known.of(b"HTTP/1.1 200 OK\r\n" + name + b"3\r\n\r\n")
            assert known is not None
            self.assertEqual(known.find(b"HTTP/1.1 200 OK\r\n" + name + b"17\r\n\r\n")[1:], (17,))


class PlainHeadsTests(SynchronousTestCase):
    """A connection's heads."""

    def setUp(self) -> None:
        """Take them all, and count how often it was asked for that."""
        self.asked: list[bytes] = []
        self.heads = PlainHeads(self.takes)

    def takes(self, uri: bytes, headers: RequestHeaders) -> bool:
        """Whether there is a server."""
        self.asked.append(uri)
        return uri != b"/props"

    def read(self, head: bytes, body: bytes) -> int | None:
        """Read a request; tells the length of its body."""
        found = self.heads.read(head + body)
        if found is None:
            return None
        self.assertEqual(found[0], len(head))
        if self.heads.parses:
            self.heads.pass_body(body)
        return found[1]

    def test_again(self) -> None:
        """The same head is judged once, other ones between are read for themselves."""
        other = _HEAD.replace(b"completion", b"infill")
        for size, head in ((3, _HEAD), (11, _HEAD), (0, _HEAD), (2, other), (4, _HEAD), (5, _HEAD)):
            self.assertEqual(self.read(head % b"%d" % size, b"x" * size), size)
            self.assertEqual(self.heads.headers.others[b"host"], [b"h"])
            self.assertEqual(self.heads.uri, head.split()[1])
        self.assertEqual(self.asked, [b"/completion", b"/infill", b"/completion"])

    def test_not_plain(self) -> None:
        """A known head does not make a body that is too large a plain one, nor another head."""
        for other in (_HEAD % b"%d" % (BODY + 1), _HEAD.replace(b"/completion", b"/props") % b"1"):
            self.heads = PlainHeads(self.takes)
            self.assertEqual(self.read(_HEAD % b"1", b"x"), 1)
            self.assertIsNone(self.heads.read(other))

    def test_closes(self) -> None:
        """Whether the connection is kept is told for each."""
        closing = _HEAD.replace(b"X-One: 1", b"Connection: close")
        self.read(_HEAD % b"1", b"x")
        self.assertTrue(self.heads.keeps)
        for body in (b"x", b""):
            self.heads = PlainHeads(self.takes)
            self.read(closing % b"%d" % len(body), body)
            self.assertFalse(self.heads.keeps)
