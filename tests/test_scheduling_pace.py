"""How fast llama-servers are taken to be."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.facts import Facts
from paddler.scheduling.pace import HALF, HOLD, LOOKS, SPEED, TELLING, Paces
from paddler.scheduling.slots import Upstream
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
        paces.ended(self.a, HOLD * 3)
        self.assertAlmostEqual(paces.hold(paces.of(self.c)), HOLD * 2)

    def test_clock_set_back(self) -> None:
        """Who had something to do before the clock was set back is not busy until then."""
        paces, pace, now = self.paces, self.paces.of(self.a), 10_000.0
        paces.sent(self.a, 10 * SPEED, now)
        paces.answers(self.a, 10 * SPEED, now + 10.0)
        paces.sent(self.c, 2 * SPEED, now + 10.0)
        paces.sent(self.b, SPEED, now - 3600.0)
        self.assertEqual(pace.until, now - 3600.0)
        self.assertEqual(paces.of(self.c).until, now - 3598.0)

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
        for odd in (0.0, 5e-324, 1e-9, 1e9):
            self.paces.learn(self.a, Facts(0, 500, 9, odd, odd))
        self.assertIsNone(self.paces.of(self.a).speed)
        self.assertIsNone(self.paces.of(self.a).answer_speed)

    def test_short_prompts(self) -> None:
        """Next turns of chats, which are slow for how few tokens they have, say little."""
        for evaluated, speed in [(60, 150.0), (1800, 600.0), *[(60, 150.0)] * 5, (1700, 600.0)]:
            self.paces.learn(self.a, Facts(0, evaluated, 10, speed, 20.0))
        self.assertGreater(self.paces.of(self.a).speed or 0.0, 550.0)

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


class SilenceTests(SynchronousTestCase):
    """Speeds of which nothing is heard: Note [Silence]."""

    def setUp(self) -> None:
        self.paces = Paces()
        self.slow, *self.others = (new_upstream(report(name)) for name in "abc")
        self.now = 1000.0

    def say(self, upstream: Upstream, speed: float) -> None:
        """An answer says how fast it was."""
        self.paces.learn(upstream, Facts(0, 500, 10, speed, 20.0))

    def go_on(self, seconds: float) -> None:
        """The others are sent something every second, and answer."""
        for _ in range(round(seconds)):
            self.now += 1.0
            for other in self.others:
                self.paces.sent(other, 100.0, self.now)
                self.paces.answers(other, 100.0, self.now)
                self.say(other, 500.0)

    def test_silence(self) -> None:
        """Who was slow once is taken to be as the others are after some minutes of silence."""
        pace = self.paces.of(self.slow)
        self.go_on(1)
        self.say(self.slow, 5.0)
        self.go_on(LOOKS)
        self.assertEqual(self.paces.speed(pace), 5.0)
        for minutes, least, most in ((1, 120.0, 250.0), (5, 420.0, 490.0), (20, 499.0, 500.0)):
            self.go_on(60 * minutes)
            self.assertTrue(least < self.paces.speed(pace) < most, (minutes, pace.speed))
        self.assertEqual(pace.measured, 5.0)
        self.assertAlmostEqual(self.paces.unknown, 500.0, places=0)

    def test_heard_again(self) -> None:
        """What is heard after a silence counts the more, unless it is slow for a moment."""
        self.say(self.slow, 5.0)
        self.go_on(10 * HALF)
        self.say(self.slow, 400.0)
        self.assertGreater(self.paces.of(self.slow).measured or 0.0, 390.0)
        self.go_on(10 * HALF)
        self.say(self.slow, 5.0)
        self.assertGreater(self.paces.of(self.slow).measured or 0.0, 300.0)

    def test_news(self) -> None:
        """Who is slow, and says so now and then, is known to be."""
        for _ in range(60):
            self.say(self.slow, 100.0)
            self.go_on(LOOKS)
            self.assertEqual(self.paces.of(self.slow).speed, 100.0)

    def test_all_silent(self) -> None:
        """After a night in which nobody was heard all are alike."""
        self.go_on(1)
        self.say(self.slow, 5.0)
        self.now += 100 * HALF
        self.go_on(1)
        pace = self.paces.of(self.slow)
        self.assertAlmostEqual(self.paces.speed(pace), (500.0 + 500.0 + 5.0) / 3, places=1)
        self.assertEqual(pace.measured, 5.0)
