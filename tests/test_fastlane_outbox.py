"""What is written in one turn of the loop goes out at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.fastlane.outbox import Outbox


class _Loop:
    """Keeps what is to be called at the end of the turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def end_turn(self) -> None:
        soon, self.soon = self.soon, []
        for call in soon:
            call()


class _Transport:
    """Notes what it is given, and what is done while it is."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.written = b""
        self.closing = False
        self._then = then

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.written += data
        self._then()


class OutboxTests(SynchronousTestCase):
    """Writes of a turn."""

    def setUp(self) -> None:
        """An outbox."""
        self.loop = _Loop()
        self.outbox = Outbox(cast(Any, self.loop))

    def test_at_the_end(self) -> None:
        """All goes out when the turn ends, in its order, asked for once."""
        one, two = _Transport(), _Transport()
        for transport, data in ((one, b"a"), (two, b"b"), (one, b"c")):
            self.outbox.put(transport, data)
        self.assertEqual((one.written, two.written, len(self.loop.soon)), (b"", b"", 1))
        self.loop.end_turn()
        self.assertEqual((one.written, two.written), (b"ac", b"b"))

    def test_before_its_end(self) -> None:
        """What is sent at once is not sent again."""
        one = _Transport()
        self.outbox.put(one, b"a")
        self.outbox.send()
        self.assertEqual(one.written, b"a")
        self.loop.end_turn()
        self.assertEqual(one.written, b"a")

    def test_closed(self) -> None:
        """What was cut meanwhile gets nothing more, and keeps nobody from theirs."""
        one, two = _Transport(), _Transport()
        self.outbox.put(one, b"a")
        self.outbox.put(two, b"b")
        one.closing = True
        self.loop.end_turn()
        self.assertEqual((one.written, two.written), (b"", b"b"))

    def test_while_it_is_sent(self) -> None:
        """What a write brings about goes out in the next turn."""
        two = _Transport()
        one = _Transport(then=lambda: self.outbox.put(two, b"b"))
        self.outbox.put(one, b"a")
        self.loop.end_turn()
        self.assertEqual(two.written, b"")
        self.loop.end_turn()
        self.assertEqual(two.written, b"b")
