"""Tests for paddler.agent.llamacpp: every form of answer that llama-server has had."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.llamacpp import (
    Health,
    Props,
    Slots,
    read_health,
    read_models,
    read_props,
    read_slots,
)
from paddler.calls import Answer, NoAnswer
from paddler.values import Address, Model, Report
from tests.agent_fakes import LOADING, OK, REFUSED, SILENT


def answer(status: int, body: Any) -> Answer:
    return Answer(status, json.dumps(body).encode())


GARBAGE = (b"", b"<html>", b"\xff\xfe", b"nul", b"[" * 100_000, b"3", b'"ok"', b'{"status":3}')
KEY_REFUSED = answer(
    401,
    {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}},
)


class ReadHealthTests(SynchronousTestCase):
    """Answers to /health."""

    def test_ok(self) -> None:
        """Since August 2024 it says ok and nothing else."""
        self.assertEqual(read_health(OK), Health())

    def test_counts(self) -> None:
        """Until then it counted the slots."""
        body = {"status": "ok", "slots_idle": 1, "slots_processing": 3}
        self.assertEqual(read_health(answer(200, body)), Health(None, 4, 3))

    def test_all_busy(self) -> None:
        """All slots busy is in order, with 503 as in February 2024 and with 200 as later."""
        body = {"status": "no slot available", "slots_idle": 0, "slots_processing": 2}
        for status in (200, 503):
            self.assertEqual(read_health(answer(status, body)), Health(None, 2, 2))

    def test_loading(self) -> None:
        """Both forms of loading."""
        for loading in (LOADING, answer(503, {"status": "loading model"})):
            self.assertEqual(read_health(loading), Health("loading"))

    def test_bad_status(self) -> None:
        """Another status than a llama-server's."""
        for wrong in (
            answer(500, {"status": "error", "error": "Model failed to load"}),
            answer(404, {"error": {"message": "File Not Found"}}),
            Answer(503, b"<html>no backend"),
            answer(503, {"error": {"message": "something else"}}),
            Answer(302),
        ):
            self.assertEqual(read_health(wrong), Health("bad_status"))

    def test_not_llama_server(self) -> None:
        """200, and not what llama-server says."""
        for body in (*GARBAGE, b'{"status":"UP"}', b"{}"):
            self.assertEqual(read_health(Answer(200, body)), Health("bad_json"))

    def test_key_wanted(self) -> None:
        """Something in between wants a key even here."""
        self.assertEqual(read_health(KEY_REFUSED), Health("unauthorized"))

    def test_silence(self) -> None:
        """Each way not to answer."""
        self.assertEqual(read_health(REFUSED), Health("unreachable"))
        self.assertEqual(read_health(NoAnswer("lost")), Health("unreachable"))
        self.assertEqual(read_health(SILENT), Health("timeout"))
        self.assertEqual(read_health(NoAnswer("garbled")), Health("bad_status"))


class ReadSlotsTests(SynchronousTestCase):
    """Answers to /slots."""

    def test_never_used(self) -> None:
        """A fresh server's slots have few fields."""
        slot = {"id": 0, "n_ctx": 2048, "speculative": False, "is_processing": False}
        self.assertEqual(
            read_slots(answer(200, [slot, {**slot, "id": 1}])),
            Slots(total=2, busy=0, n_ctx=2048, tasks=(None, None)),
        )

    def test_today(self) -> None:
        """Only `is_processing` tells busy: an idle slot keeps its last task."""
        idle = {
            "id": 0,
            "n_ctx": 512,
            "is_processing": False,
            "id_task": 7,
            "params": {"n_predict": 1},
            "next_token": [{"has_next_token": True, "n_decoded": 6}],
        }
        busy = {**idle, "id": 1, "is_processing": True, "id_task": 9}
        self.assertEqual(
            read_slots(answer(200, [idle, busy])),
            Slots(total=2, busy=1, n_ctx=512, tasks=(7, 9)),
        )

    def test_december_2024(self) -> None:
        """`next_token` an object, sampling fields at the top, idle `id_task` -1."""
        slots = [
            {"id": 0, "id_task": -1, "is_processing": False, "next_token": {"n_decoded": 0}},
            {"id": 1, "id_task": 4, "is_processing": True, "temperature": 0.8, "prompt": "x"},
        ]
        self.assertEqual(read_slots(answer(200, slots)), Slots(total=2, busy=1, tasks=(-1, 4)))

    def test_february_2024(self) -> None:
        """`state` and `task_id`; later states above 1 are busy as well."""
        slots = [
            {"id": 0, "task_id": -1, "state": 0, "n_ctx": 256, "prompt": ""},
            {"id": 1, "task_id": 3, "state": 1, "n_ctx": 256, "prompt": "x"},
            {"id": 2, "task_id": 5, "state": 3, "n_ctx": 256, "prompt": "y"},
        ]
        self.assertEqual(
            read_slots(answer(200, slots)), Slots(total=3, busy=2, n_ctx=256, tasks=(-1, 3, 5))
        )

    def test_not_offered(self) -> None:
        """Turned off, not known, or a router's."""
        for status, message in (
            (501, "This server does not support slots endpoint. Start it with `--slots`"),
            (404, "File Not Found"),
            (400, "model name is missing from the request"),
        ):
            wrong = answer(status, {"error": {"code": status, "message": message}})
            self.assertEqual(read_slots(wrong), Slots("slots_disabled"))

    def test_key_refused(self) -> None:
        """A wrong key, or none."""
        self.assertEqual(read_slots(KEY_REFUSED), Slots("unauthorized"))
        self.assertEqual(read_slots(Answer(403)), Slots("unauthorized"))

    def test_empty(self) -> None:
        """A list without slots."""
        self.assertEqual(read_slots(Answer(200, b"[]")), Slots("no_slots"))

    def test_not_llama_server(self) -> None:
        """200, and not a list of slots."""
        for body in (*GARBAGE, b'{"error":{}}', b'[{"id":0}]', b'[{"is_processing":"no"}]'):
            self.assertEqual(read_slots(Answer(200, body)), Slots("bad_json"))

    def test_other_status(self) -> None:
        """Loading again, and what is none of this."""
        self.assertEqual(read_slots(LOADING), Slots("loading"))
        self.assertEqual(read_slots(Answer(500)), Slots("bad_status"))

    def test_silence(self) -> None:
        """Silence says nothing."""
        self.assertIsNone(read_slots(SILENT))


class ReadPropsTests(SynchronousTestCase):
    """Answers to /props."""

    def test_today(self) -> None:
        """What a server that can sleep says."""
        props = read_props(
            answer(
                200,
                {
                    "default_generation_settings": {"params": {}, "n_ctx": 2048},
                    "total_slots": 4,
                    "model_alias": "tiny",
                    "media_marker": "m",
                    "endpoint_slots": False,
                    "is_sleeping": True,
                },
            )
        )
        assert props is not None
        self.assertEqual((props.slots_total, props.n_ctx, props.alias), (4, 2048, "tiny"))
        self.assertEqual((props.sleeping, props.router, props.offers_slots), (True, False, False))

    def test_before_sleep(self) -> None:
        """A version that knows no sleep does not say that it is awake."""
        body = {"default_generation_settings": {"n_ctx": 1}, "total_slots": 1, "chat_template": ""}
        props = read_props(answer(200, body))
        assert props is not None
        self.assertEqual((props.slots_total, props.sleeping, props.offers_slots), (1, None, None))

    def test_router(self) -> None:
        """A router has a role, and neither slots nor a context."""
        body = {
            "role": "router",
            "max_instances": 4,
            "model_alias": "llama-server",
            "default_generation_settings": {"params": None, "n_ctx": 0},
        }
        props = read_props(answer(200, body))
        assert props is not None
        self.assertEqual((props.router, props.slots_total, props.n_ctx), (True, None, None))

    def test_another_process(self) -> None:
        """Processes are told apart; the same one asleep is the same."""
        first = read_props(answer(200, {"media_marker": "a", "is_sleeping": False}))
        asleep = read_props(answer(200, {"media_marker": "a", "is_sleeping": True}))
        second = read_props(answer(200, {"media_marker": "b", "is_sleeping": False}))
        assert first and asleep and second
        self.assertEqual(first.process, asleep.process)
        self.assertNotEqual(first.process, second.process)

    def test_nothing_said(self) -> None:
        """Versions without it are in order; silence means nothing."""
        self.assertEqual(read_props(Answer(404)), Props())
        self.assertEqual(read_props(Answer(501)), Props())
        self.assertIsNone(read_props(SILENT))

    def test_wrong(self) -> None:
        """What is wrong has a name."""
        self.assertEqual(read_props(KEY_REFUSED), Props("unauthorized"))
        self.assertEqual(read_props(LOADING), Props("loading"))
        self.assertEqual(read_props(Answer(500)), Props("bad_status"))
        self.assertEqual(read_props(Answer(200, b"<html>")), Props("bad_json"))


class ReadModelsTests(SynchronousTestCase):
    """Answers to /v1/models and a router's /models."""

    def test_names_and_aliases(self) -> None:
        """Every model once, in order, with what it is called beside its id."""
        body = {
            "models": [{"name": "a", "capabilities": ["completion"]}],
            "data": [
                {"id": "a", "aliases": ["a", "b"], "meta": {"n_ctx": 9, "tree": {}}},
                {"id": "c", "aliases": [], "owned_by": "me", "status": {"value": "unloaded"}},
                {"id": "a"},
            ],
        }
        self.assertEqual(
            read_models(answer(200, body)),
            (
                Model("a", ("b",), capabilities=("completion",), meta={"n_ctx": 9}),
                Model("c", owned_by="me"),
            ),
        )

    def test_before_aliases(self) -> None:
        """Older versions have an id only."""
        self.assertEqual(read_models(answer(200, {"data": [{"id": "a"}]})), (Model("a"),))

    def test_limits(self) -> None:
        """Never more than a report may hold."""
        data = [{"id": "x" * 1025}, {"id": ""}, *({"id": str(n)} for n in range(5000))]
        models = read_models(answer(200, {"data": data})) or ()
        self.assertEqual([model.id for model in models], list(map(str, range(4096))))
        large = {
            "id": "m",
            "aliases": [str(n) for n in range(999)],
            "owned_by": "x" * 999,
            "meta": {"x" * 65: 1, **{str(n): n for n in range(99)}},
        }
        named = [{"name": "m", "capabilities": ["x" * 99] * 99}]
        (model,) = read_models(answer(200, {"data": [large], "models": named})) or ()
        told = Report("a", Address("h", 1), 1.0, 1, model_details=(model,))
        self.assertEqual(Report.from_json(told.to_json()), told)

    def test_nothing_said(self) -> None:
        """Whatever is not a list of models."""
        for outcome in (SILENT, KEY_REFUSED, Answer(200, b"{}"), Answer(200, b"x")):
            self.assertIsNone(read_models(outcome))
