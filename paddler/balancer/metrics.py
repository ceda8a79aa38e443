"""What Prometheus reads.

Note [Rendered in pieces]. A thousand agents have some thousand series, which take the
library longer to write down than a streamed token may wait. So all numbers are taken at one
moment, and written down a piece at a time, with a turn of the reactor between two pieces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import get_args

import attrs
from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UntypedMetricFamily,
)
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from paddler.balancer.admission import Admission
from paddler.balancer.answers import INTERNAL_ERROR, send_json
from paddler.balancer.tallies import BOUNDS, Histogram, Tallies
from paddler.scheduling.slots import State

__all__ = ["CONTENT_TYPE", "MetricsText"]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
#: Seconds for which a text serves whoever asks.
FRESH = 1.0
#: Series in a piece: some two milliseconds' work.
PIECE = 250


@attrs.define(eq=False)
class MetricsText:
    """The text that Prometheus scrapes.

    :param clock: the time.
    :param admission: where the fleet's numbers come from.
    :param tallies: the counts of requests.
    """

    _log = Logger()

    _clock: IReactorTime
    _admission: Admission
    _tallies: Tallies
    _text: bytes = attrs.field(default=b"", init=False)
    _taken_at: float | None = attrs.field(default=None, init=False)
    #: Who asked while it is written; None: it is not.
    _waiting: list[Deferred[bytes]] | None = attrs.field(default=None, init=False)

    def get(self) -> Deferred[bytes]:
        """The text, at most a second old."""
        now = self._clock.seconds()
        waiting: Deferred[bytes] = Deferred()
        if self._waiting is not None:
            self._waiting.append(waiting)
        elif self._taken_at is not None and 0 <= now - self._taken_at < FRESH:
            return succeed(self._text)
        else:
            self._taken_at, self._waiting = now, [waiting]
            Deferred.fromCoroutine(self._write()).addBoth(self._written)
        return waiting

    def send(self, request: Request) -> None:
        """Answer with the text, a little later."""
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def written(text: bytes) -> None:
            if not gone:
                _send(request, text)

        def failed(failure: Failure) -> None:
            self._log.failure("while writing the metrics", failure)
            if not gone:
                send_json(request, INTERNAL_ERROR, 500)

        self.get().addCallbacks(written, failed)

    async def _write(self) -> bytes:
        pieces = []
        for piece in _pieces(self._admission, self._tallies):
            pieces.append(piece)
            await deferLater(self._clock, 0.0)
        self._text = b"".join(pieces)
        return self._text

    def _written(self, result: bytes | Failure) -> None:
        waiting, self._waiting = self._waiting or (), None
        if isinstance(result, Failure):
            self._taken_at = None
        for deferred in waiting:
            deferred.callback(result)


def _send(request: Request, text: bytes) -> None:
    request.setHeader(b"content-type", CONTENT_TYPE)
    request.setHeader(b"content-length", b"%d" % len(text))
    request.write(text)
    request.finish()


#: A family that may be large: its kind, name, help and labels, and their values with its own.
_Large = tuple[
    type[CounterMetricFamily] | type[GaugeMetricFamily],
    str,
    str,
    tuple[str, ...],
    Sequence[tuple[tuple[str, ...], float]],
]


@attrs.frozen
class _Families(Collector):
    """What the library writes down at a time."""

    families: tuple[Metric, ...]

    def collect(self) -> tuple[Metric, ...]:
        """As it asks for them."""
        return self.families


def _pieces(admission: Admission, tallies: Tallies) -> Iterator[bytes]:
    """The text; all numbers are those of the moment in which the first piece is asked for."""
    states = admission.states()
    tallies.keep(states)
    large = list(_by_agent(admission, tallies))
    yield generate_latest(_Families((*_of_fleet(admission, states), *_of_requests(tallies))))
    for kind, name, documentation, labels, rows in large:
        for begin in range(0, len(rows), PIECE):
            family = kind(name, documentation, labels=labels)
            for row, value in rows[begin : begin + PIECE]:
                family.add_metric(row, value)
            text = generate_latest(_Families((family,)))
            # Its help and its type stand before a family once.
            yield text.split(b"\n", 2)[2] if begin else text


def _by_agent(admission: Admission, tallies: Tallies) -> Iterator[_Large]:
    """What has series for each agent."""
    yield (
        CounterMetricFamily,
        "paddler_requests_total",
        "Requests that have ended, by the status that was sent (0: none was, as the client had "
        "gone; other: none of HTTP's) and the agent whose server had the request (empty: none had, "
        "the balancer answered).",
        ("code", "agent"),
        list(tallies.requests.items()),
    )
    prompts = tallies.prompts.items()
    yield (
        CounterMetricFamily,
        "paddler_prompt_tokens_total",
        "Tokens of prompts, by whether the agent's server had to evaluate them or had them in its "
        "cache, as its answers say.",
        ("source", "agent"),
        [(("evaluated", agent), tokens) for agent, (tokens, _) in prompts]
        + [(("cached", agent), tokens) for agent, (_, tokens) in prompts],
    )
    paces = admission.paces().items()
    yield (
        GaugeMetricFamily,
        "paddler_prompt_tokens_per_second",
        "Tokens of a prompt that the agent's server evaluates in a second, as learnt.",
        ("agent",),
        [((agent,), pace.measured) for agent, pace in paces if pace.measured is not None],
    )
    yield (
        GaugeMetricFamily,
        "paddler_answer_tokens_per_second",
        "Tokens of one answer that the agent's server makes in a second, as learnt.",
        ("agent",),
        [((agent,), pace.answer_speed) for agent, pace in paces if pace.answer_speed is not None],
    )


def _of_fleet(admission: Admission, states: Mapping[str, State]) -> Iterator[Metric]:
    """What the scheduler knows."""
    fleet, queue = admission.fleet(), admission.queue()
    gauge = GaugeMetricFamily
    yield gauge("paddler_agents", "Agents.", fleet.agents)
    # A gauge, but promtool wants counters alone to end in _total.
    yield UntypedMetricFamily("paddler_slots_total", "Slots of all agents.", fleet.slots_total)
    yield gauge("paddler_slots_idle", "Slots that can be granted now.", fleet.slots_idle)
    yield gauge("paddler_slots_processing", "Slots in use, by whomever.", fleet.slots_processing)
    loads = admission.demands()
    yield _by_model(
        "paddler_requests_waiting",
        "Requests in the buffer: in all without a label, and by the model that they wait for.",
        fleet.requests_waiting,
        {model: load.requests_waiting for model, load in loads.items()},
    )
    yield _by_model(
        "paddler_demand",
        "Slots that would be in use if no request had to wait: in all without a label, and by "
        "model.",
        fleet.slots_processing + fleet.requests_waiting,
        {model: load.demand for model, load in loads.items()},
    )
    yield gauge(
        "paddler_oldest_wait_seconds",
        "How long the first in the buffer has waited; 0 when nobody waits.",
        queue.oldest_wait_seconds,
    )
    yield CounterMetricFamily(
        "paddler_requests_buffered_total",
        "Requests that have sat in the buffer.",
        admission.ever_buffered,
    )
    upstreams = gauge("paddler_upstreams", "llama-servers by state.", labels=("state",))
    counts = Counter(states.values())
    for state in get_args(State):
        upstreams.add_metric((state,), counts[state])
    yield upstreams


def _by_model(name: str, documentation: str, total: int, models: Mapping[str, int]) -> Metric:
    """A gauge in all, and for each model."""
    family = GaugeMetricFamily(name, documentation, total)
    for model, value in models.items():
        family.add_sample(name, {"model": model}, value)
    return family


def _of_requests(tallies: Tallies) -> Iterator[Metric]:
    """What has become of requests, but for the one family that may be large."""
    retries = CounterMetricFamily(
        "paddler_retries_total",
        "Requests that were sent to another llama-server, by what the one before had done.",
        labels=("reason",),
    )
    for reason, count in tallies.retries.items():
        retries.add_metric((reason,), count)
    yield retries
    disconnects = CounterMetricFamily(
        "paddler_client_disconnects_total",
        "Clients that left before their answer was whole, by where their request was.",
        labels=("phase",),
    )
    for phase, count in tallies.disconnects.items():
        disconnects.add_metric((phase,), count)
    yield disconnects
    yield _histogram(
        "paddler_queue_wait_seconds",
        "Time in the buffer of requests that want a slot; 0 for one that was served at once.",
        tallies.queue_wait,
    )
    yield _histogram(
        "paddler_time_to_first_byte_seconds",
        "Time from the arrival of a request that wants a slot to its answer's first byte.",
        tallies.first_byte,
    )
    yield _histogram(
        "paddler_request_duration_seconds",
        "Time from a request's arrival to its end.",
        tallies.duration,
    )


def _histogram(name: str, documentation: str, histogram: Histogram) -> Metric:
    bounds = (*map(str, BOUNDS), "+Inf")
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(name, documentation, buckets, histogram.sum)
