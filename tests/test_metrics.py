"""Tests for paddler.balancer.metrics."""

from __future__ import annotations

from typing import Any, get_args

import attrs
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from paddler.balancer.admission import Admission
from paddler.balancer.metrics import MetricsText
from paddler.scheduling.slots import State
from paddler.scheduling.views import FleetView
from paddler.values import Address, Model
from tests.accounting import ended
from tests.managing import REPORT, Got, ManagementCase

__all__ = ["MetricsTests"]

#: Every family, by its name in the text.
_FAMILIES = {
    "paddler_agents": "gauge",
    "paddler_slots_idle": "gauge",
    "paddler_slots_processing": "gauge",
    "paddler_slots_total": "unknown",
    "paddler_requests_waiting": "gauge",
    "paddler_requests_buffered_total": "counter",
    "paddler_requests_total": "counter",
    "paddler_retries_total": "counter",
    "paddler_queue_wait_seconds": "histogram",
    "paddler_time_to_first_byte_seconds": "histogram",
    "paddler_request_duration_seconds": "histogram",
    "paddler_upstreams": "gauge",
    "paddler_demand": "gauge",
    "paddler_oldest_wait_seconds": "gauge",
    "paddler_client_disconnects_total": "counter",
}


class _Broken(Admission):
    """One with a mistake in it."""

    def fleet(self) -> FleetView:
        raise RuntimeError("secret insides")


class MetricsTests(ManagementCase):
    """`/metrics`."""

    def setUp(self) -> None:
        super().setUp()
        self.serve_metrics()

    def serve_metrics(self, token: str | None = None) -> None:
        """Serve them anew."""
        self.metrics = MetricsText(self.clock, self.admission, self.tallies)
        self.serve(token=token)

    def begin(self, **headers: str) -> Any:
        """Ask for them."""
        asking = self.treq.request("GET", "http://127.0.0.1:8085/metrics", headers=headers)
        self.treq.flush()
        return asking

    def scrape(self, **headers: str) -> Got:
        """The text."""
        asking = self.begin(**headers)
        self.turn()
        response = self.successResultOf(asking)
        return Got(
            response.code, response.headers, self.successResultOf(self.treq.content(response))
        )

    def turn(self) -> None:
        """Let what is due be done."""
        self.clock.advance(0)
        self.treq.flush()

    def values(self) -> dict[str, float]:
        """Every series, as it stands in the text, and its value; never an old one."""
        self.clock.advance(1.0)
        text = self.scrape().body.decode()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (each.rpartition(" ") for each in lines)}

    def test_models(self) -> None:
        """What waits and what is wanted is told of each model too, and in all without a label."""
        details = (Model('m"x', ("chat",)),)
        self.report(report=attrs.evolve(REPORT, slots_busy=0, slots_total=1, model_details=details))
        lease = self.successResultOf(self.acquire())
        for model in ("chat", None):
            self.admission.acquire(self.admission.waiter(1, model)).addErrback(lambda _: None)
        values = self.values()
        self.assertEqual(values["paddler_requests_waiting"], 2)
        self.assertEqual(values['paddler_requests_waiting{model="m\\"x"}'], 1)
        self.assertEqual(values["paddler_demand"], 3)
        self.assertEqual(values['paddler_demand{model="m\\"x"}'], 2)
        self.admission.stop()
        self.admission.release(lease)

    def test_families(self) -> None:
        """The contract's names, each with a type and a help, each once."""
        self.report()
        self.tallies.finished(ended(agent="one"))
        got = self.scrape()
        self.assertEqual(got.header("content-type"), "text/plain; version=0.0.4; charset=utf-8")
        text = got.body.decode()
        families = {}
        for family in text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            self.assertNotIn(name, families)
            self.assertTrue(family.documentation.endswith("."), name)
            families[name] = family.type
        self.assertEqual(families, _FAMILIES)

    def test_without_agents(self) -> None:
        """All that can be known without an agent is told, as 0."""
        values = self.values()
        self.assertEqual({v for n, v in values.items()}, {0.0})
        for state in get_args(State):
            self.assertIn(f'paddler_upstreams{{state="{state}"}}', values)
        for phase in ("waiting", "prefill", "streaming"):
            self.assertIn(f'paddler_client_disconnects_total{{phase="{phase}"}}', values)
        for reason in ("refused", "died", "loading", "error"):
            self.assertIn(f'paddler_retries_total{{reason="{reason}"}}', values)

    def test_load(self) -> None:
        """Slots, waiting requests and states."""
        self.report(report=attrs.evolve(REPORT, slots_total=2))
        lease = self.successResultOf(self.acquire())
        waits = self.acquire()
        self.clock.advance(2.0)
        values = self.values()
        wanted = {
            "paddler_agents": 1,
            "paddler_slots_idle": 0,
            "paddler_slots_processing": 2,
            "paddler_slots_total": 2,
            "paddler_requests_waiting": 1,
            "paddler_requests_buffered_total": 1,
            "paddler_demand": 3,
            "paddler_oldest_wait_seconds": 3,
            'paddler_upstreams{state="full"}': 1,
            'paddler_upstreams{state="ready"}': 0,
        }
        self.assertEqual({name: values[name] for name in wanted}, wanted)
        self.admission.release(lease)
        self.admission.release(self.successResultOf(waits))
        values = self.values()
        self.assertEqual(values["paddler_requests_waiting"], 0)
        self.assertEqual(values["paddler_requests_buffered_total"], 1)

    def test_requests(self) -> None:
        """What became of requests."""
        self.report()
        for request in (
            ended(agent="one", waited=0.3, first_byte=1.5, seconds=70.0),
            ended(agent=None, code=504, waited=60.0, first_byte=None, seconds=60.0),
            ended(agent="one", left="prefill", code=0, first_byte=None, seconds=9.0),
        ):
            self.tallies.finished(request)
        self.tallies.retried("refused")
        values = self.values()
        wanted = {
            'paddler_requests_total{agent="one",code="200"}': 1,
            'paddler_requests_total{agent="",code="504"}': 1,
            'paddler_requests_total{agent="one",code="0"}': 1,
            'paddler_retries_total{reason="refused"}': 1,
            'paddler_client_disconnects_total{phase="prefill"}': 1,
            'paddler_queue_wait_seconds_bucket{le="0.005"}': 1,
            'paddler_queue_wait_seconds_bucket{le="0.5"}': 2,
            'paddler_queue_wait_seconds_bucket{le="600.0"}': 3,
            'paddler_queue_wait_seconds_bucket{le="+Inf"}': 3,
            "paddler_queue_wait_seconds_count": 3,
            "paddler_queue_wait_seconds_sum": 60.3,
            'paddler_time_to_first_byte_seconds_bucket{le="2.5"}': 1,
            "paddler_time_to_first_byte_seconds_count": 1,
            "paddler_request_duration_seconds_sum": 139.0,
        }
        self.assertEqual({name: values[name] for name in wanted}, wanted)

    def test_gone(self) -> None:
        """An agent's series go with it, and not before."""
        self.report()
        self.tallies.finished(ended(agent="one"))
        series = 'paddler_requests_total{agent="one",code="200"}'
        self.assertIn(series, self.values())
        self.clock.advance(5.0)
        self.assertEqual(self.values()['paddler_upstreams{state="stale"}'], 1)
        self.assertIn(series, self.values())
        self.clock.advance(60.0)
        self.assertNotIn(series, self.values())
        # One of its requests was still running.
        self.tallies.finished(ended(agent="one"))
        self.assertNotIn(series, self.values())

    def test_odd_name(self) -> None:
        """An agent may be called anything."""
        name = 'a"b\\c d é'
        self.report(report=attrs.evolve(REPORT, agent_name=name))
        shown = self.agents()[0]["agent_name"]
        self.tallies.finished(ended(agent=shown))
        families = text_string_to_metric_families(self.scrape().body.decode())
        agents = [
            sample.labels["agent"]
            for family in families
            for sample in family.samples
            if sample.name == "paddler_requests_total"
        ]
        self.assertEqual(agents, [shown])

    def test_cached(self) -> None:
        """A text serves for a second, also one that is being written."""
        first, second = self.begin(), self.begin()
        self.report()
        self.turn()
        texts = []
        for asking in (first, second):
            texts.append(self.successResultOf(self.treq.content(self.successResultOf(asking))))
        self.clock.advance(0.9)
        texts.append(self.scrape().body)
        self.assertEqual(len(set(texts)), 1)
        self.clock.advance(0.1)
        self.assertIn(b"paddler_agents 1.0\n", self.scrape().body)

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not keep an old text."""
        self.scrape()
        self.report()
        self.clock.rightNow -= 3600
        self.assertIn(b"paddler_agents 1.0\n", self.scrape().body)

    def test_many(self) -> None:
        """A thousand agents' are written in pieces, and all of one moment."""
        for number in range(1000):
            address = Address(f"10.0.{number // 250}.{number % 250}", 8088)
            report = attrs.evolve(REPORT, agent_name=f"n{number}", external=address)
            self.admission.report(f"a{number}", report)
            for code in (200, 503):
                self.tallies.finished(ended(agent=f"n{number}", code=code))
        pauses: list[float] = []
        call_later = self.clock.callLater

        def counted(delay: float, *what: Any, **more: Any) -> IDelayedCall:
            pauses.append(delay)
            return call_later(delay, *what, **more)

        self.clock.callLater = counted  # type: ignore[method-assign]
        asking = self.begin()
        for number in range(1000):
            self.tallies.finished(ended(agent=f"n{number}"))
        self.admission.leave("a0")
        self.turn()
        self.assertEqual(pauses, [0.0] * 9)
        text = self.successResultOf(self.treq.content(self.successResultOf(asking))).decode()
        families = {f.name: f for f in text_string_to_metric_families(text)}
        self.assertEqual(families["paddler_agents"].samples[0].value, 1000)
        requests = families["paddler_requests"].samples
        self.assertEqual({sample.value for sample in requests}, {1.0})
        labels = {(sample.labels["agent"], sample.labels["code"]) for sample in requests}
        self.assertEqual((len(requests), len(labels)), (2000, 2000))
        self.assertEqual(text.count("# TYPE paddler_requests_total counter\n"), 1)

    def test_client_leaves(self) -> None:
        """One who asks and leaves harms nobody."""
        left, stays = self.begin(), self.begin()
        left.addErrback(lambda failure: None)
        left.cancel()
        self.treq.flush()
        self.turn()
        self.assertEqual(self.successResultOf(stays).code, 200)

    def test_token(self) -> None:
        """It is protected like the rest."""
        self.serve_metrics(token="s3cret")
        self.assertEqual(self.ask("GET", "/metrics").error, (401, "unauthorized"))
        self.assertEqual(self.scrape(Authorization="Bearer s3cret").code, 200)

    def test_disabled(self) -> None:
        """It can be turned off."""
        self.metrics = None
        self.serve()
        self.assertEqual(self.ask("GET", "/metrics").error, (404, "not_found"))

    def test_own_error(self) -> None:
        """A mistake of ours is logged and answered, and the next is tried anew."""
        good, self.admission = self.admission, _Broken(self.clock, self.scheduler, 60.0)
        self.serve_metrics()
        got = self.scrape()
        self.assertEqual(got.error, (500, "internal_error"))
        self.assertNotIn(b"secret", got.body)
        self.assertEqual(self.scrape().code, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.admission = good
        self.serve_metrics()
        waiting: Deferred[Any] = self.begin()
        self.turn()
        self.assertEqual(self.successResultOf(waiting).code, 200)
