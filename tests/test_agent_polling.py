"""Tests for paddler.agent.polling."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.polling import PollingService


class PollingServiceTests(SynchronousTestCase):
    """When looks are taken, and what becomes of them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.looks = 0
        self.answer: Any = succeed("seen")
        self.told: list[str] = []
        self.service = PollingService[str](self.clock, 1.0, self.look, self.told.append)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def look(self) -> Awaitable[str | None]:
        self.looks += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        answer: Awaitable[str | None] = self.answer
        return answer

    def test_each_interval(self) -> None:
        """The first look is taken at once, then one at each interval."""
        self.service.startService()
        self.assertEqual(self.told, ["seen"])
        self.clock.pump([0.5] * 6)
        self.assertEqual(len(self.told), 4)
        self.successResultOf(self.service.stopService())

    def test_nothing_to_tell(self) -> None:
        """None is not told."""
        self.answer = succeed(None)
        self.service.startService()
        self.assertEqual((self.looks, self.told), (1, []))
        self.successResultOf(self.service.stopService())

    def test_never_two(self) -> None:
        """A slow look is not overtaken."""
        self.answer = Deferred()
        self.service.startService()
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.looks, 1)
        self.answer.callback("late")
        self.assertEqual(self.told, ["late"])
        self.answer = succeed("seen")
        self.clock.advance(1.0)
        self.assertEqual(self.told, ["late", "seen"])
        self.successResultOf(self.service.stopService())

    def test_failure(self) -> None:
        """A look that fails is logged, and the next one is taken."""
        self.answer = RuntimeError("oops")
        self.service.startService()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.answer = succeed("seen")
        self.clock.advance(1.0)
        self.assertEqual(self.told, ["seen"])
        self.successResultOf(self.service.stopService())

    def test_stopped_while_looking(self) -> None:
        """A look under way is given up, and nothing is told of it."""
        given_up: list[bool] = []
        self.answer = Deferred(lambda _: given_up.append(True))
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual((given_up, self.told), ([True], []))

    def test_stop_waits_for_the_look(self) -> None:
        """Stopping fires when the look has come to its end."""
        ending: Deferred[None] = Deferred()

        async def look() -> str | None:
            try:
                await Deferred[None]()
            except CancelledError:
                await ending
            return "too late"

        service = PollingService[str](self.clock, 1.0, look, self.told.append)
        service.startService()
        stopped = service.stopService()
        self.assertNoResult(stopped)
        ending.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.told, [])

    def test_look_now(self) -> None:
        """A look may be wanted earlier; the interval begins anew with it."""
        self.service.startService()
        self.clock.advance(0.5)
        self.service.look_now()
        self.assertEqual(self.looks, 2)
        self.clock.advance(0.9)
        self.assertEqual(self.looks, 2)
        self.clock.advance(0.1)
        self.assertEqual(self.looks, 3)
        self.successResultOf(self.service.stopService())

    def test_look_now_while_looking(self) -> None:
        """One look is under way: another follows it at once, and only one."""
        self.answer = Deferred()
        self.service.startService()
        self.service.look_now()
        self.service.look_now()
        self.assertEqual(self.looks, 1)
        first, self.answer = self.answer, succeed("again")
        first.callback("seen")
        self.assertEqual((self.looks, self.told), (2, ["seen", "again"]))
        self.clock.advance(1.0)
        self.assertEqual(self.looks, 3)
        self.successResultOf(self.service.stopService())

    def test_look_now_from_within(self) -> None:
        """Who is told may want another look at once."""
        self.service = PollingService[str](self.clock, 1.0, self.look, self.tell)
        self.service.startService()
        self.assertEqual(self.looks, 2)
        self.clock.advance(1.0)
        self.assertEqual(self.looks, 3)
        self.successResultOf(self.service.stopService())

    def tell(self, seen: str) -> None:
        self.told.append(seen)
        if len(self.told) == 1:
            self.service.look_now()

    def test_look_now_when_stopped(self) -> None:
        """One that does not run takes no look."""
        self.service.look_now()
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.service.look_now()
        self.assertEqual(self.looks, 1)

    def test_stopped_before_it_started(self) -> None:
        """There is nothing to stop."""
        self.assertIsNone(self.successResultOf(self.service.stopService()))

    def test_started_again(self) -> None:
        """It can be started after it was stopped."""
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.service.startService()
        self.assertEqual(self.looks, 2)
        self.successResultOf(self.service.stopService())
