"""Tests for paddler.agent.watching and paddler.agent.status."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.status import LlamaStatus, in_words
from paddler.agent.watching import LlamaWatch
from paddler.calls import Answer, NoAnswer
from paddler.values import Address, Model
from tests.agent_fakes import IDLE, LOADING, OK, PROPS, REFUSED, SILENT, FakeCall

BUSY = Answer(200, b'[{"is_processing":true,"n_ctx":512},{"is_processing":false}]')
ASLEEP = Answer(200, PROPS.body.replace(b"false", b"true"))
OLD_PROPS = Answer(200, b'{"total_slots":2,"default_generation_settings":{"n_ctx":2048}}')
MODELS = Answer(200, b'{"data":[{"id":"tiny","aliases":["t"]}]}')
TINY = (Model("tiny", ("t",)),)
NO_KEY = Answer(401, b'{"error":{"message":"Invalid API Key"}}')
ROUTER = Answer(200, b'{"role":"router","model_alias":"llama-server"}')


class LlamaWatchTests(SynchronousTestCase):
    """What is known after looks at a llama-server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.call = FakeCall({"/health": OK, "/props": PROPS, "/slots": IDLE, "/v1/models": MODELS})
        self.watch = LlamaWatch(self.clock, self.call, Address("llama_1", 8088), 1.0)
        self.lines: list[tuple[LogLevel, str]] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def note(self, event: Any) -> None:
        if event.get("log_namespace", "").endswith("LlamaWatch"):
            self.lines.append((event["log_level"], event["state"]))

    def look(self) -> LlamaStatus:
        looking = Deferred.fromCoroutine(self.watch.look())
        if not looking.called:
            self.clock.advance(0.5)
        status = self.successResultOf(looking)
        assert isinstance(status, LlamaStatus)
        return status

    def after(self, seconds: float, **answers: Answer | NoAnswer) -> LlamaStatus:
        self.call.answers.update({f"/{name}": answer for name, answer in answers.items()})
        self.clock.advance(seconds)
        return self.look()

    def test_in_order(self) -> None:
        """A look at a server that is well."""
        self.clock.advance(7)
        self.assertEqual(
            self.look(),
            LlamaStatus(slots_total=2, slots_busy=0, sampled_at=7.0, n_ctx=2048, models=TINY),
        )
        self.assertEqual(self.lines, [(LogLevel.info, "all is well, 2 slots")])

    def test_pace_of_questions(self) -> None:
        """/health and /props at each look, /slots every other, the models seldom."""
        self.call.answers["/slots"] = BUSY
        self.look()
        for _ in range(9):
            self.after(1.0)
        asked = [self.call.times(path) for path in ("/health", "/props", "/slots", "/v1/models")]
        self.assertEqual(asked, [10, 10, 5, 1])
        self.after(1.0)
        self.assertEqual(self.call.times("/v1/models"), 2)

    def test_slots_never_sooner_than_two_seconds(self) -> None:
        """However often looks are taken."""
        self.call.answers.update({"/slots": BUSY, "/props": OLD_PROPS})
        asked: list[float] = []
        for _ in range(100):
            before = self.call.times("/slots")
            self.after(0.1)
            if self.call.times("/slots") > before:
                asked.append(self.clock.seconds())
        pauses = [later - sooner for sooner, later in zip(asked, asked[1:], strict=False)]
        self.assertGreaterEqual(min(pauses), 2.0 - 1e-6)
        self.assertLess(max(pauses), 2.7)

    def test_sample_ages(self) -> None:
        """Between two samples the last one stands, with its time; an old one says nothing."""
        self.look()
        status = self.after(1.0)
        self.assertEqual((status.slots_busy, status.sampled_at), (0, 0.0))
        self.call.answers["/slots"] = SILENT
        self.after(1.5)
        status = self.after(3.0)
        self.assertEqual((status.slots_total, status.slots_busy), (2, None))
        self.assertEqual(status.issues, ())

    def test_refused(self) -> None:
        """One refused probe is enough; what it is stays known, what it does does not."""
        self.look()
        status = self.after(1.0, health=REFUSED)
        self.assertEqual(status.issues, ("unreachable",))
        self.assertEqual((status.slots_total, status.slots_busy), (2, None))
        self.assertEqual((status.n_ctx, status.models), (2048, TINY))
        self.after(1.0)
        status = self.after(1.0, health=OK)
        self.assertEqual((status.issues, status.slots_busy), ((), 0))
        self.assertEqual(
            self.lines,
            [
                (LogLevel.info, "all is well, 2 slots"),
                (LogLevel.warn, "it can't be reached (it refuses connections)"),
                (LogLevel.info, "all is well, 2 slots"),
            ],
        )

    def test_not_up_yet(self) -> None:
        """Nobody is there at the start."""
        self.call.answers["/health"] = REFUSED
        self.assertEqual(self.look(), LlamaStatus(issues=("unreachable",)))

    def test_loading(self) -> None:
        """While it loads nothing else is asked."""
        self.call.answers["/health"] = LOADING
        self.assertEqual(self.look(), LlamaStatus(issues=("loading",)))
        self.assertEqual(self.call.asked, [("GET", "/health")])

    def test_one_late_answer(self) -> None:
        """One answer that is late changes nothing, two in a row do, and one in time mends it."""
        first = self.look()
        self.assertEqual(self.after(1.0, health=SILENT), first)
        self.assertEqual(self.after(1.0).issues, ("timeout",))
        self.assertEqual(self.after(1.0).issues, ("timeout",))
        self.assertEqual(self.after(1.0, health=OK).issues, ())
        self.assertEqual(self.after(1.0, health=SILENT).issues, ())

    def test_first_answer_late(self) -> None:
        """With nothing known, one late answer is nothing to tell."""
        self.call.answers["/health"] = SILENT
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(self.watch.look())))
        self.assertEqual(self.look().issues, ("timeout",))

    def test_slow_slots(self) -> None:
        """An old version that answers /slots after the batch is not ill."""
        self.call.answers["/slots"] = SILENT
        status = self.look()
        self.assertEqual((status.slots_total, status.slots_busy, status.issues), (2, None, ()))

    def test_asleep(self) -> None:
        """Asleep, /slots is left alone and nothing is said of busy slots."""
        self.look()
        status = self.after(3.0, props=ASLEEP)
        self.assertEqual((status.sleeping, status.slots_busy, status.slots_total), (True, None, 2))
        for _ in range(60):
            self.after(1.0)
        self.assertEqual(self.call.times("/slots"), 1)
        self.assertFalse(self.after(1.0, props=PROPS).sleeping)
        self.assertEqual(self.call.times("/slots"), 2)
        self.assertEqual(self.lines[1:2], [(LogLevel.info, "all is well, 2 slots, asleep")])

    def test_falls_asleep_before_the_question(self) -> None:
        """A look that waits for the time of /slots looks again whether it sleeps."""
        self.look()
        self.clock.advance(2.0)
        looking = Deferred.fromCoroutine(self.watch.look())
        self.assertNoResult(looking)
        self.call.answers["/props"] = ASLEEP
        self.clock.advance(0.5)
        status = self.successResultOf(looking)
        assert isinstance(status, LlamaStatus)
        self.assertTrue(status.sleeping)
        self.assertEqual(self.call.times("/slots"), 1)

    def test_look_given_up(self) -> None:
        """A look that is cancelled while it waits leaves no timer."""
        self.look()
        self.clock.advance(2.0)
        looking = Deferred.fromCoroutine(self.watch.look())
        looking.cancel()
        self.failureResultOf(looking)
        self.assertEqual(self.call.times("/slots"), 1)

    def test_slots_not_offered(self) -> None:
        """Without /slots the capacity is from /props; it is tried again every half minute."""
        self.call.answers.update({"/slots": Answer(501), "/props": OLD_PROPS})
        status = self.look()
        self.assertEqual(status.issues, ("slots_disabled",))
        self.assertEqual((status.slots_total, status.slots_busy, status.n_ctx), (2, None, 2048))
        self.after(20.0)
        self.assertEqual(self.call.times("/slots"), 1)
        self.assertEqual(self.after(10.0, slots=IDLE).issues, ())

    def test_slots_said_not_to_be_offered(self) -> None:
        """What /props says need not be tried."""
        self.call.answers["/props"] = Answer(
            200, PROPS.body.replace(b'"endpoint_slots":true', b'"endpoint_slots":false')
        )
        self.assertEqual(self.look().issues, ("slots_disabled",))
        self.assertEqual(self.call.times("/slots"), 0)

    def test_key_refused(self) -> None:
        """A wrong key from the start: the capacity is not known."""
        self.call.answers.update({"/slots": NO_KEY, "/props": NO_KEY, "/v1/models": NO_KEY})
        self.assertEqual(self.look(), LlamaStatus(issues=("unauthorized",)))

    def test_key_refused_later(self) -> None:
        """A key that goes wrong: the capacity stays known."""
        self.look()
        status = self.after(5.0, slots=NO_KEY, props=NO_KEY)
        self.assertEqual((status.issues, status.slots_total), (("unauthorized",), 2))
        self.assertIsNone(status.slots_busy)

    def test_counts_of_health(self) -> None:
        """Where only /health counts, that is the capacity, and a sample."""
        counts = Answer(200, b'{"status":"ok","slots_idle":3,"slots_processing":1}')
        self.call = FakeCall({"/health": counts})
        self.watch = LlamaWatch(self.clock, self.call, Address("h", 1), 1.0)
        status = self.look()
        self.assertEqual((status.slots_total, status.slots_busy, status.sampled_at), (4, 1, 0.0))
        self.assertEqual(status.issues, ("slots_disabled",))

    def test_no_slots(self) -> None:
        """An empty list, and a capacity that nobody tells."""
        self.call.answers["/slots"] = Answer(200, b"[]")
        status = self.look()
        self.assertEqual((status.slots_total, status.issues), (0, ("no_slots",)))
        status = self.after(5.0, slots=Answer(404), props=Answer(404))
        self.assertEqual(status.issues, ("slots_disabled", "no_slots"))

    def test_not_llama_server(self) -> None:
        """What blocks comes first."""
        status = self.after(0.0, slots=Answer(200, b"{}"), props=Answer(404))
        self.assertEqual(status.issues, ("bad_json", "no_slots"))
        status = self.after(3.0, props=Answer(500))
        self.assertEqual(status.issues, ("bad_status", "bad_json", "no_slots"))

    def router(self, **loaded: bool) -> None:
        """The server is a router with these models, loaded or not."""
        models = []
        for name, there in loaded.items():
            status = {"value": "loaded" if there else "sleeping", "args": ["--parallel", "2"]}
            models.append({"id": name, "aliases": [], "status": status})
        body = json.dumps({"data": models}).encode()
        more = {"/props": ROUTER, "/slots": Answer(400), "/models": Answer(200, body)}
        self.call.answers.update({**more, "/v1/models": NO_KEY})

    def test_router(self) -> None:
        """A router's models come from /models; nothing is asked that would load or wake one."""
        self.router(a=False, b=False)
        status = self.look()
        models = (Model("a"), Model("b"))
        expected = LlamaStatus(2, slots_busy=0, sampled_at=0.0, models=models, router=True)
        self.assertEqual(status, expected)
        for _ in range(40):
            self.after(1.0)
        asked = {path for _, path in self.call.asked}
        self.assertEqual(asked, {"/health", "/props", "/models"})

    def test_router_with_a_model(self) -> None:
        """The slots of models that are loaded are read, and counted together."""
        self.router(a=True, b=False, **{"c/d": True})
        one_busy = Answer(200, b'[{"is_processing":true},{"is_processing":false}]')
        self.call.answers["/slots?model=a&autoload=false"] = one_busy
        self.call.answers["/slots?model=c%2Fd&autoload=false"] = one_busy
        status = self.look()
        self.assertEqual((status.slots_total, status.slots_busy, status.n_ctx), (2, 2, None))
        # One was unloaded meanwhile, and then does not answer.
        self.call.answers["/slots?model=a&autoload=false"] = Answer(400)
        status = self.after(2.0)
        self.assertEqual((status.slots_total, status.slots_busy, status.issues), (2, 1, ()))
        self.call.answers["/slots?model=a&autoload=false"] = SILENT
        self.assertEqual(self.after(2.0).sampled_at, 2.0)
        self.assertFalse([path for _, path in self.call.asked if "model=b" in path])

    def test_router_without_models(self) -> None:
        """A router that has no model, or does not say, has no slots."""
        self.router()
        self.assertEqual(self.look().issues, ("no_slots",))
        self.call.answers["/models"] = Answer(200, b"[]")
        self.assertEqual(self.after(2.0).slots_total, 0)

    def test_models_unknown(self) -> None:
        """Without a list of models there is the alias."""
        self.call.answers["/v1/models"] = Answer(404)
        self.assertEqual(self.look().models, (Model("tiny"),))

    def test_another_process(self) -> None:
        """A server that was replaced between two looks is looked at anew."""
        self.look()
        status = self.after(
            1.0, props=Answer(200, PROPS.body.replace(b'"a"', b'"b"').replace(b":2,", b":5,"))
        )
        self.assertEqual((status.slots_total, status.slots_busy), (5, None))
        self.assertEqual(self.call.times("/v1/models"), 2)


class LlamaStatusTests(SynchronousTestCase):
    """What is news."""

    def test_news(self) -> None:
        """Busy slots can wait for the next report; anything else can't."""
        status = LlamaStatus(2, 0, 1.0)
        self.assertEqual(status.news, LlamaStatus(2, 1, 2.0).news)
        for other in (
            LlamaStatus(3),
            LlamaStatus(2, sleeping=True),
            LlamaStatus(2, issues=("loading",)),
            LlamaStatus(2, models=(Model("m"),)),
            LlamaStatus(2, n_ctx=1),
        ):
            self.assertNotEqual(status.news, other.news)

    def test_words(self) -> None:
        """Each issue has words of its own."""
        self.assertEqual(in_words(LlamaStatus(1)), "all is well, 1 slot")
        self.assertEqual(
            in_words(LlamaStatus(issues=("unauthorized", "no_slots"))),
            "it refuses the API key; give the right one with --local-llamacpp-api-key-file; "
            "it has no slots that are known",
        )
