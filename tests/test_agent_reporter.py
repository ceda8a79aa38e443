"""Tests for paddler.agent.reporter."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from paddler import __version__
from paddler.agent.reporter import LONGEST_PAUSE, ReportingService, pause_after, report_of
from paddler.agent.settings import AgentSettings
from paddler.agent.status import LlamaStatus
from paddler.calls import Answer, NoAnswer
from paddler.values import Address, Model, Report
from tests.agent_fakes import REFUSED, SILENT, FakeCall, agent_settings

SETTINGS = agent_settings()
POST = f"/api/v1/agent_status_update/{SETTINGS.agent_id}"
LEAVE = f"/api/v1/agents/{SETTINGS.agent_id}"
MODEL = Model("m", ("chat",), meta={"n_params": 5})
WELL = LlamaStatus(slots_total=2, slots_busy=1, sampled_at=0.0, n_ctx=512, models=(MODEL,))


class ReportOfTests(SynchronousTestCase):
    """What a report says of a status."""

    def test_everything(self) -> None:
        """Every field has its place, and the balancer can read it."""
        report = report_of(SETTINGS, attrs.evolve(WELL, sampled_at=8.0), 9.5)
        self.assertEqual(
            report,
            Report(
                agent_name="one",
                external=Address("10.0.0.1", 8088),
                interval_s=1.0,
                slots_total=2,
                slots_busy=1,
                slots_age_s=1.5,
                n_ctx=512,
                models=("m", "chat"),
                model_details=(MODEL,),
                version=__version__,
            ),
        )
        self.assertEqual(Report.from_json(report.to_json()), report)

    def test_no_sample(self) -> None:
        """Without a sample there is no age."""
        status = LlamaStatus(sleeping=True, issues=("no_slots",))
        report = report_of(SETTINGS, status, 1e6)
        self.assertEqual((report.slots_busy, report.slots_age_s), (None, 0.0))
        self.assertEqual((report.sleeping, report.issues), (True, ("no_slots",)))


class PauseAfterTests(SynchronousTestCase):
    """Pauses between tries."""

    def pause(self, failures: int, drawn: float = 1.0, **how: Any) -> float:
        usual = {"refused": False, "interval": 1.0, **how}
        return pause_after(failures, jitter=lambda: drawn, **usual)

    def test_doubles(self) -> None:
        """From the interval up to the longest pause."""
        pauses = [self.pause(failures) for failures in (1, 2, 3, 4, 5, 50, 5000)]
        self.assertEqual(pauses, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0])

    def test_jitter(self) -> None:
        """Half of it is drawn."""
        self.assertEqual(self.pause(3, 0.0), 2.0)
        self.assertEqual(self.pause(3, 0.5), 3.0)

    def test_refused(self) -> None:
        """A balancer that is being restarted has everybody back within two intervals."""
        for failures in range(1, 100):
            self.assertLess(self.pause(failures, refused=True), 2.0)
            self.assertGreaterEqual(self.pause(failures, 0.0, refused=True), 0.5)

    def test_long_interval(self) -> None:
        """A long interval does not make tries rare."""
        self.assertEqual(self.pause(1, interval=60.0), 1.0)
        self.assertEqual(self.pause(99, interval=60.0, refused=True), LONGEST_PAUSE)


class ReportingServiceTests(SynchronousTestCase):
    """When reports are sent, and what is made of the answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.call = FakeCall({POST: Answer(200), LEAVE: Answer(200)})
        self.in_use: list[int] = []
        self.service = ReportingService(
            self.clock, self.call, SETTINGS, lambda: 1.0, self.in_use.append, self.contact
        )
        self.contacts: list[bool] = []
        self.service.startService()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)
        self.addCleanup(self.stop)

    def contact(self) -> None:
        self.contacts.append(isinstance(self.call.answers[POST], Answer))

    def note(self, event: Any) -> None:
        if event.get("log_namespace", "").endswith("ReportingService"):
            self.lines.append(formatEvent(event))

    def stop(self) -> None:
        if self.service.running:
            self.successResultOf(self.service.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @property
    def sent(self) -> list[Report]:
        return [Report.from_json(body) for body in self.call.bodies if body]

    def test_nothing_to_say(self) -> None:
        """Before the first status there is no report, and nobody to take leave of."""
        self.clock.pump([1.0] * 5)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.call.asked, [])

    def test_each_interval(self) -> None:
        """The first report goes at once, then one at each interval."""
        self.service.tell(WELL)
        self.assertEqual(self.call.asked, [("POST", POST)])
        self.clock.pump([0.5] * 6)
        self.assertEqual([report.slots_age_s for report in self.sent], [0.0, 1.0, 2.0, 3.0])
        self.assertEqual(self.lines, ["the balancer at 127.0.0.1:8085 takes reports"])

    def test_slots_in_use(self) -> None:
        """What the balancer says of its own use is passed on; an answer without it says nothing."""
        for body, slots in ((b'{"slots_in_use":3}', 3), (b"{}", 0), (b"", 0), (b'{"x":', 0)):
            self.call.answers[POST] = Answer(200, body)
            self.service.tell(WELL)
            self.clock.advance(1)
            self.assertEqual(self.in_use[-1], slots)

    def test_news_at_once(self) -> None:
        """News do not wait, and the interval begins anew with them."""
        self.service.tell(WELL)
        self.clock.advance(0.4)
        self.service.tell(attrs.evolve(WELL, issues=("unreachable",)))
        self.assertEqual(self.sent[-1].issues, ("unreachable",))
        self.clock.advance(0.9)
        self.assertEqual(len(self.sent), 2)
        self.clock.advance(0.1)
        self.assertEqual(len(self.sent), 3)

    def test_busy_slots_wait(self) -> None:
        """Busy slots go with the next report."""
        self.service.tell(WELL)
        self.service.tell(attrs.evolve(WELL, slots_busy=2, sampled_at=0.5))
        self.assertEqual(len(self.sent), 1)
        self.clock.advance(1.0)
        self.assertEqual(self.sent[-1].slots_busy, 2)

    def test_never_two(self) -> None:
        """News during a report go right after it."""
        self.call.answers[POST] = slow = Deferred[Any]()
        self.service.tell(WELL)
        self.service.tell(LlamaStatus(issues=("loading",)))
        self.service.tell(LlamaStatus(issues=("unreachable",)))
        self.clock.advance(5.0)
        self.assertEqual(len(self.sent), 1)
        self.call.answers[POST] = Answer(200)
        slow.callback(Answer(200))
        self.assertEqual([report.issues for report in self.sent], [(), ("unreachable",)])

    def test_slow_answer(self) -> None:
        """The interval is counted from the report's beginning."""
        self.call.answers[POST] = slow = Deferred[Any]()
        self.service.tell(WELL)
        self.clock.advance(0.7)
        self.call.answers[POST] = Answer(200)
        slow.callback(Answer(200))
        self.clock.advance(0.29)
        self.assertEqual(len(self.sent), 1)
        self.clock.advance(0.02)
        self.assertEqual(len(self.sent), 2)

    def test_balancer_away_and_back(self) -> None:
        """One line when it is lost and one when it is found; no try is early, news or not."""
        self.service.tell(WELL)
        self.call.answers[POST] = REFUSED
        self.clock.pump([1.0] * 10)
        tries = len(self.sent)
        self.assertLess(tries, 9)
        self.service.tell(LlamaStatus(issues=("unreachable",)))
        self.assertEqual(len(self.sent), tries)
        self.call.answers[POST] = Answer(200)
        self.clock.advance(2.0)
        self.assertEqual(self.sent[-1].issues, ("unreachable",))
        self.assertEqual(
            self.lines,
            [
                "the balancer at 127.0.0.1:8085 takes reports",
                "the balancer at 127.0.0.1:8085 does not take reports: it refuses connections; "
                "trying again",
                "the balancer at 127.0.0.1:8085 takes reports again",
            ],
        )

    def test_balancer_silent(self) -> None:
        """Tries become rare, but never rarer than every ten seconds."""
        self.call.answers[POST] = SILENT
        self.service.tell(WELL)
        self.clock.pump([1.0] * 15)
        self.assertEqual(len(self.sent), 5)
        self.clock.pump([1.0] * 100)
        self.assertEqual(len(self.sent), 15)
        self.assertEqual(len(self.lines), 1)

    def test_refusals_are_named(self) -> None:
        """What the balancer says of a report is in the log, once and on one line."""
        self.call.answers[POST] = Answer(
            401, b'{"error":{"code":401,"message":"no such\\n token","type":"unauthorized"}}'
        )
        self.service.tell(WELL)
        self.clock.pump([1.0] * 30)
        self.call.answers[POST] = Answer(400, b"slots_total: Expected `int`")
        self.clock.pump([1.0] * 30)
        self.assertEqual(
            [line.partition("reports: ")[2] for line in self.lines],
            [
                "it answers 401, 'no such token'; trying again",
                "it answers 400, 'slots_total: Expected `int`'; trying again",
            ],
        )

    def test_odd_refusal(self) -> None:
        """Whatever the balancer answers, it is one line."""
        for body in (b"", b"\xff\x00", b'{"error":3}', b"[]", b"x" * 5000):
            self.call.answers[POST] = Answer(500, body)
            self.service.tell(WELL)
            self.clock.advance(10.0)
        self.assertEqual(len(self.lines), 5)
        self.assertTrue(all(line.isprintable() and len(line) < 400 for line in self.lines))

    def test_report_that_fails(self) -> None:
        """A failure is logged, and the next report comes."""
        self.call.answers[POST] = failing = Deferred[Any]()
        self.service.tell(WELL)
        failing.errback(RuntimeError("oops"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.call.answers[POST] = Answer(200)
        self.clock.advance(1.0)
        self.assertEqual(len(self.sent), 2)

    def move(self, host: str = "10.0.0.9") -> AgentSettings:
        """The llama-server is elsewhere from now on."""
        moved = agent_settings(external=Address(host, 8088))
        self.call.answers[f"/api/v1/agent_status_update/{moved.agent_id}"] = Answer(200)
        self.service.move(moved, self.call)
        return moved

    def told(self) -> list[tuple[str, str]]:
        """Which id reported which host."""
        return [
            (path.rpartition("/")[2], report.external.host)
            for (_, path), report in zip(self.call.asked, self.sent, strict=True)
        ]

    def test_move(self) -> None:
        """A new address is told at once under the old id, and then under its own."""
        self.service.tell(WELL)
        self.clock.advance(0.4)
        moved = self.move()
        old, new = SETTINGS.agent_id, moved.agent_id
        told = [(old, "10.0.0.1"), (old, "10.0.0.9"), (new, "10.0.0.9")]
        self.assertEqual(self.told(), told)
        self.clock.advance(0.9)
        self.assertEqual(len(self.sent), 3)
        self.clock.advance(0.1)
        self.assertEqual(self.told()[3:], told[2:])
        self.call.answers[f"/api/v1/agents/{new}"] = Answer(200)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.call.asked[-1], ("DELETE", f"/api/v1/agents/{new}"))

    def test_move_while_reporting(self) -> None:
        """A report under way ends first."""
        self.call.answers[POST] = slow = Deferred[Any]()
        self.service.tell(WELL)
        moved = self.move()
        self.call.answers[POST] = Answer(200)
        slow.callback(Answer(200))
        self.assertEqual(
            self.told()[1:], [(SETTINGS.agent_id, "10.0.0.9"), (moved.agent_id, "10.0.0.9")]
        )

    def test_move_before_the_first_report(self) -> None:
        """Who was never told the old address never hears of it."""
        moved = self.move()
        self.service.tell(WELL)
        self.assertEqual(self.told(), [(moved.agent_id, "10.0.0.9")])

    def test_move_while_the_balancer_is_away(self) -> None:
        """No try is early; the old id is the one that the balancer knows, or knew."""
        self.service.tell(WELL)
        self.call.answers[POST] = REFUSED
        self.clock.advance(1.0)
        self.clock.advance(0.5)
        tries = len(self.sent)
        moved = self.move()
        self.assertEqual(len(self.sent), tries)
        self.call.answers[POST] = Answer(200)
        self.clock.advance(2.0)
        told = self.told()[tries:]
        self.assertEqual(told[:2], [(SETTINGS.agent_id, "10.0.0.9"), (moved.agent_id, "10.0.0.9")])

    def test_stopped_within_a_move(self) -> None:
        """Leave is taken of the id that was said last."""
        self.service.tell(WELL)
        self.call.answers[POST] = Deferred[Any]()
        self.move()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.call.asked[-1], ("DELETE", LEAVE))

    def test_contact(self) -> None:
        """It is told when the balancer is lost and when it is found, once each."""
        self.service.tell(WELL)
        self.assertEqual(self.contacts, [])
        self.call.answers[POST] = REFUSED
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.contacts, [False])
        self.call.answers[POST] = Answer(200)
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.contacts, [False, True])

    def test_leave(self) -> None:
        """Stopping takes leave, and nothing is said after."""
        self.service.tell(WELL)
        self.call.answers[LEAVE] = slow = Deferred[Any]()
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.assertEqual(self.call.asked[-1], ("DELETE", LEAVE))
        self.assertEqual(self.call.limits[-1], 1.0)
        self.service.tell(LlamaStatus(issues=("unreachable",)))
        slow.callback(Answer(200))
        self.successResultOf(stopped)
        self.clock.advance(10.0)
        self.assertEqual(len(self.call.asked), 2)
        self.assertEqual(self.lines[-1], "took leave of the balancer")

    def test_stopped_while_reporting(self) -> None:
        """A report under way is given up first."""
        given_up: list[bool] = []
        self.call.answers[POST] = Deferred(lambda _: given_up.append(True))
        self.service.tell(WELL)
        self.successResultOf(self.service.stopService())
        self.assertEqual(given_up, [True])
        self.assertEqual(self.call.asked, [("POST", POST), ("DELETE", LEAVE)])

    def test_leave_not_taken(self) -> None:
        """A balancer that is away does not hold the stop."""
        self.call.answers.update({POST: REFUSED, LEAVE: NoAnswer("timeout", "no answer")})
        self.service.tell(WELL)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.lines[-1], "could not take leave of the balancer: no answer")
