"""`examples/cloudwatch/` and `examples/statsd-exporter/`: what becomes of the gauges."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.admission import Admission
from paddler.balancer.limits import BodyBudget
from paddler.balancer.metrics import MetricsText
from paddler.balancer.settings import BalancerOptions, BalancerSettings
from paddler.balancer.statsd import gauges
from paddler.balancer.tallies import Tallies
from paddler.scheduling.policies import IdleSlots
from paddler.scheduling.scheduler import Scheduler
from paddler.values import Address, Report
from tests.commands import ROOT

__all__ = ["CloudWatchTests", "StatsdExporterTests"]

_EXAMPLES = ROOT / "examples"


def _settings(*words: str) -> BalancerSettings:
    """A balancer's."""
    options = BalancerOptions()
    options.environment = {}
    options.parseOptions(list(words))
    return options.settings()


class CloudWatchTests(SynchronousTestCase):
    """`amazon-cloudwatch-agent.json`."""

    def test_address(self) -> None:
        """It listens where a balancer reports to, and is told nothing that it does not know."""
        text = (_EXAMPLES / "cloudwatch" / "amazon-cloudwatch-agent.json").read_text()
        config: dict[str, Any] = json.loads(text)
        self.assertEqual(set(config), {"//", "metrics"})
        # Within these the agent's schema allows nothing else.
        self.assertLessEqual(
            set(config["metrics"]), {"namespace", "append_dimensions", "metrics_collected"}
        )
        listener = config["metrics"]["metrics_collected"]["statsd"]
        statsd = _settings("--statsd-enable").statsd
        assert statsd is not None
        self.assertEqual(listener["service_address"], f"{statsd.host}:{statsd.port}")
        for name in ("metrics_collection_interval", "metrics_aggregation_interval"):
            self.assertGreaterEqual(listener.pop(name), statsd.interval)
        self.assertEqual(set(listener), {"service_address", "metric_separator"})


class StatsdExporterTests(SynchronousTestCase):
    """`mapping.yaml`."""

    def setUp(self) -> None:
        text = (_EXAMPLES / "statsd-exporter" / "mapping.yaml").read_text()
        self.text = text
        self.config: dict[str, Any] = YAML(typ="safe").load(text)
        clock = Clock()
        scheduler = Scheduler(IdleSlots(), Random(1), 1, 3, 10.0)
        self.admission = Admission(clock, scheduler, 60.0, BodyBudget())
        metrics = MetricsText(clock, self.admission, Tallies(self.admission.states))
        asked = metrics.get()
        while not asked.called:
            clock.advance(0)
        exposed = self.successResultOf(asked).decode()
        self.exposed = {
            sample.name
            for family in text_string_to_metric_families(exposed)
            for sample in family.samples
        }

    def mapped(self, name: str, kind: str = "gauge") -> tuple[str, dict[str, str]]:
        """What one becomes: `*` is one component, `$1` what the first one was."""
        for rule in self.config["mappings"]:
            if rule["match_metric_type"] != kind:
                continue
            pattern = r"\.".join("([^.]*)" if w == "*" else w for w in rule["match"].split("."))
            found = re.fullmatch(pattern, name)
            if found is not None:
                filled = (
                    re.sub(r"\$(\d)", lambda n: found[int(n[1])], text)  # noqa: B023
                    for text in (rule["name"], *rule.get("labels", {}).values())
                )
                return next(filled), dict(zip(rule.get("labels", {}), filled, strict=True))
        raise AssertionError(f"{name} meets no rule")

    def test_names(self) -> None:
        """Gauges are called as /metrics calls them; the one that means something else is not."""
        names = list(gauges(self.admission))
        self.assertGreater(len(names), 4)
        for prefix, labels in (("paddler", {}), ("paddler.eu", {"balancer": "eu"})):
            statsd = _settings("--statsd-enable", f"--statsd-prefix={prefix}").statsd
            assert statsd is not None
            for name in names:
                mapped = f"paddler_{name}"
                self.assertEqual(self.mapped(f"{statsd.prefix}.{name}"), (mapped, labels))
                self.assertEqual(mapped in self.exposed, name != "requests_buffered", mapped)
        self.assertIn("paddler_requests_buffered_total", self.exposed)
        self.assertIn("paddler_requests_buffered_total", self.text)

    def test_models(self) -> None:
        """What is told by model gets a label for that."""
        report = Report("one", Address("h", 1), 1.0, 1, models=("m.gguf",))
        self.admission.report("one", report)
        names = {name for name in gauges(self.admission) if name.startswith("models.")}
        self.assertEqual(
            names, {f"models.m_gguf.{word}" for word in ("requests_waiting", "demand")}
        )
        for name in names:
            mapped = f"paddler_{name.rpartition('.')[2]}"
            labels = {"model": "m_gguf"}
            self.assertEqual(self.mapped(f"paddler.{name}"), (mapped, labels))
            both = {"balancer": "eu", **labels}
            self.assertEqual(self.mapped(f"paddler.eu.{name}"), (mapped, both))
            self.assertIn(mapped, self.exposed)

    def test_prompts(self) -> None:
        """What is told by agent is called as /metrics calls it; all together is the sum."""
        for prefix, more in (("paddler", {}), ("paddler.eu", {"balancer": "eu"})):
            labels = {**more, "agent": "gpu_1"}
            for name in ("prompt_tokens_per_second", "answer_tokens_per_second"):
                mapped = self.mapped(f"{prefix}.agents.gpu_1.{name}")
                self.assertEqual(mapped, (f"paddler_{name}", labels))
            for source in ("evaluated", "cached"):
                told = {**labels, "source": source}
                mapped = self.mapped(f"{prefix}.agents.gpu_1.prompt_tokens.{source}", "counter")
                self.assertEqual(mapped, ("paddler_prompt_tokens_total", told))
                name = f"{prefix}.prompt_tokens.{source}"
                self.assertEqual(self.mapped(name, "counter"), ("dropped", {}))

    def test_command(self) -> None:
        """A balancer reports to the port that its head has the exporter listen on."""
        words = re.search(r"paddler balancer (.*)", self.text)
        assert words is not None
        statsd = _settings(*words[1].split()).statsd
        assert statsd is not None
        self.assertIn(f"--statsd.listen-udp={statsd.host}:{statsd.port}", self.text)
        self.assertGreater(float(self.config["defaults"]["ttl"].removesuffix("s")), statsd.interval)
