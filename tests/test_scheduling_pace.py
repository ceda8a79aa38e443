"""How fast llama-servers are taken to be."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.facts import Facts
from paddler.scheduling.pace import HOLD, SPEED, TELLING, Paces
from tests.scenes import new_upstream, report


class PaceTests(SynchronousTestCase):
    """`Paces`."""

    def setUp(self) -> None:
        self.paces = Paces()
        self.a, self.b, self.c = (new_upstream(report(name)) for name in "abc")

    def test_nothing_known(self) -> None:
        """Where nothing is known of anybody, all are alike."""
        pace = self.paces.of(self.a)
        self.assertEqual((self.paces.speed(pace), self.paces.hold(pace)), (SPEED, HOLD))

    def test_mean_of_the_fleet(self) -> None:
        """Of whom nothing is known is taken to be as fast as the others are, while they are."""
        paces = self.paces
        for upstream, speed in ((self.a, 100.0), (self.b, 300.0)):
            paces.learn(upstream, Facts(0, 500, 10, speed, 20.0))
        self.assertEqual(paces.speed(paces.of(self.a)), 100.0)
        self.assertEqual(paces.speed(paces.of(self.c)), 200.0)
        paces.forget(self.a)
        self.assertEqual(paces.speed(paces.of(self.c)), 300.0)
        paces.ended(self.a, HOLD * 21)
        self.assertAlmostEqual(paces.hold(paces.of(self.c)), HOLD * 2)

    def test_learns(self) -> None:
        """What answers say for long enough is believed."""
        paces = self.paces
        for speed in (100.0, 900.0):
            for _ in range(50):
                paces.learn(self.a, Facts(0, 500, 10, speed, speed / 10))
                paces.ended(self.a, speed)
            self.assertAlmostEqual(paces.speed(paces.of(self.a)) / speed, 1.0, places=2)
            self.assertAlmostEqual((paces.of(self.a).answer_speed or 0) * 10 / speed, 1.0, places=2)
        self.assertGreater(paces.hold(paces.of(self.a)), 800.0)

    def test_says_nothing(self) -> None:
        """A few tokens say nothing of the speed, nor does who doesn't say."""
        for facts in (Facts(500, TELLING - 1, 1, 5.0, 5.0), Facts(0, 500, 9), Facts(0, None, 9)):
            self.paces.learn(self.a, facts)
        # Others are computed with a speed.
        for odd in (0.0, 5e-324, 1e-9):
            self.paces.learn(self.a, Facts(0, 500, 9, odd, odd))
        self.assertIsNone(self.paces.of(self.a).speed)
        self.assertIsNone(self.paces.of(self.a).answer_speed)

    def test_without_a_prompt(self) -> None:
        """Of requests without a prompt one in a second is asked, of each server."""
        for now, asked in ((10.0, True), (10.2, False), (10.9, False), (11.1, True), (5.0, True)):
            self.assertEqual(self.paces.ask(self.a, now), asked, now)
        self.assertTrue(self.paces.ask(self.b, 5.0))

    def test_until(self) -> None:
        """Prompts are evaluated one after the other; no more is left than is on its way."""
        paces, pace = self.paces, self.paces.of(self.a)
        paces.sent(self.a, SPEED, 10.0)
        paces.sent(self.a, SPEED, 10.5)
        self.assertEqual(pace.until, 12.0)
        # It is quicker than was thought, and has one prompt more to evaluate.
        paces.answers(self.a, SPEED, 10.7)
        self.assertEqual(pace.until, 11.7)
        paces.answers(self.a, SPEED, 11.2)
        self.assertEqual(pace.until, 11.2)
        paces.answers(self.a, SPEED, 11.3)
        self.assertEqual((pace.until, pace.unanswered), (11.2, 0))
        paces.answers(self.b, SPEED, 11.0)
        paces.sent(self.a, SPEED, 20.0)
        self.assertEqual(pace.until, 21.0)
