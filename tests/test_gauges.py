"""Every gauge, StatsD's and Prometheus', beside the truth after each of a thousand events."""

from __future__ import annotations

from random import Random

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.admission import Admission
from paddler.balancer.metrics import MetricsText
from paddler.balancer.statsd import gauges
from paddler.balancer.tallies import Tallies
from paddler.errors import QueueFull, Stopping, WaitedTooLong
from paddler.scheduling.lines import Waiter
from paddler.scheduling.policies import IdleSlots
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease
from paddler.scheduling.trust import Fault
from paddler.values import Address, Report
from tests.accounting import ended

__all__ = ["GaugesTests"]

_AGENTS = 6
_LIMIT, _TIMEOUT = 8, 20.0
_FAULTS: tuple[Fault, ...] = ("refused", "died", "loading", "error")


class GaugesTests(SynchronousTestCase):
    """A fleet, requests, and an account of both that is kept here and asks nobody."""

    def setUp(self) -> None:
        self.random = Random(7)
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        scheduler = Scheduler(IdleSlots(), Random(1), _LIMIT, 3, 10.0)
        self.admission = Admission(self.clock, scheduler, _TIMEOUT)
        self.tallies = Tallies(self.admission.states)
        self.metrics = MetricsText(self.clock, self.admission, self.tallies)
        #: By agent: slots that it reported, those that others hold, and when.
        self.fleet: dict[str, tuple[int, int, float]] = {}
        self.leases: dict[Lease, Waiter] = {}
        self.left: dict[str, int] = {}
        self.waiting: dict[Waiter, Deferred[Lease]] = {}
        #: Those who sat in the buffer since StatsD's last report, and ever.
        self.sat: set[Waiter] = set()
        self.ever_sat: set[Waiter] = set()
        self.ended: dict[tuple[str, str], int] = {}

    # What happens.

    def request(self) -> None:
        """A request comes."""
        waiter = self.admission.waiter(self.random.choice((1, 1, 1, 2)))
        self.expect(waiter, self.admission.acquire(waiter))

    def expect(self, waiter: Waiter, coming: Deferred[Lease]) -> None:
        """Its lease is here, or comes, or it is turned away."""
        granted: list[Lease] = []

        def came(lease: Lease) -> None:
            granted.append(lease)
            self.waiting.pop(waiter, None)
            self.leases[lease] = waiter

        def came_not(failure: object) -> None:
            granted.append(failure)  # type: ignore[arg-type]
            self.waiting.pop(waiter, None)
            failure.trap(QueueFull, WaitedTooLong, Stopping, CancelledError)  # type: ignore[attr-defined]

        coming.addCallbacks(came, came_not)
        if not granted:
            self.waiting[waiter] = coming
            self.sat.add(waiter)
            self.ever_sat.add(waiter)

    def client_leaves(self) -> None:
        """A client that waits goes."""
        if self.waiting:
            self.random.choice(list(self.waiting.values())).cancel()

    def end(self) -> None:
        """An answer ends."""
        if self.leases:
            lease, _ = self.pick()
            self.admission.release(lease)
            name, code = lease.upstream.name, self.random.choice((200, 400))
            self.tallies.finished(ended(agent=name, code=code))
            key = (name, str(code))
            self.ended[key] = self.ended.get(key, 0) + 1

    def fail_over(self) -> None:
        """A server fails a request, which goes back to its place."""
        if self.leases:
            lease, waiter = self.pick()
            fault = self.random.choice(_FAULTS)
            if self.clock.seconds() - waiter.arrived_at < _TIMEOUT:
                self.expect(waiter, self.admission.again(waiter, lease, fault, waiter, "it failed"))
            else:
                self.admission.fault(lease.upstream, fault, waiter, "it failed", lease)

    def pick(self) -> tuple[Lease, Waiter]:
        """A request that runs, and no more is in our account."""
        lease = self.random.choice(list(self.leases))
        return lease, self.leases.pop(lease)

    def report(self) -> None:
        """An agent reports what runs at its server: ours and perhaps others'."""
        agent = f"a{self.random.randrange(_AGENTS)}"
        total, others = self.random.choice((1, 2, 4)), self.random.choice((0, 0, 1))
        busy = self.own(agent) + others
        self.clock.advance(1.0)  # so that the sample can be told from what came before it
        self.admission.report(agent, self.told(agent, total, busy))
        self.fleet[agent] = total, others, self.clock.seconds()

    def told(self, agent: str, total: int, busy: int) -> Report:
        """An agent's report."""
        return Report(agent, Address(agent, 1), 5.0, total, slots_busy=busy)

    def leave(self) -> None:
        """An agent says goodbye."""
        if self.fleet and self.random.random() < 0.3:
            agent = self.random.choice(list(self.fleet))
            self.admission.leave(agent)
            del self.fleet[agent]

    def drain(self) -> None:
        """An agent is drained or resumed."""
        if self.fleet:
            agent = self.random.choice(list(self.fleet))
            self.admission.drain(agent, self.random.random() < 0.5)

    def time_passes(self) -> None:
        """Some seconds."""
        self.clock.advance(self.random.choice((0.1, 1.0, 3.0)))

    # What is true.

    def own(self, agent: str) -> int:
        """Slots that our requests hold there."""
        return sum(
            lease.slots for lease in self.leases if str(lease.upstream.address) == f"{agent}:1"
        )

    def truth(self) -> dict[str, int]:
        """What StatsD must be told, by our own account; idle slots as the states allow."""
        for agent, (_, _, heard) in list(self.fleet.items()):
            if self.clock.seconds() >= heard + 3.5 * 5.0 + 60.0:
                del self.fleet[agent]
        used = {agent: self.own(agent) + self.fleet[agent][1] for agent in self.fleet}
        states = self.admission.states()
        assert set(states) == set(self.fleet)
        return {
            "slots_idle": sum(
                max(0, self.fleet[agent][0] - used[agent])
                for agent in self.fleet
                if states[agent] == "ready"
            ),
            "slots_processing": sum(used.values()),
            "slots_total": sum(total for total, _, _ in self.fleet.values()),
            "requests_buffered": len(self.sat),
            "requests_waiting": len(self.waiting),
            "agents": len(self.fleet),
        }

    def scraped(self) -> dict[tuple[str, ...], float]:
        """Every series of Prometheus', anew."""
        self.metrics._taken_at = None
        scraping = self.metrics.get()
        self.clock.advance(0)
        text = self.successResultOf(scraping).decode()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def check_statsd(self) -> None:
        """A report of StatsD's is true; the period for which it counts requests is over."""
        self.assertEqual(gauges(self.admission), self.truth())
        self.sat = set(self.waiting)

    def check_prometheus(self) -> None:
        """What Prometheus scrapes is true."""
        truth = self.truth()
        shown = self.scraped()
        for name in set(truth) - {"requests_buffered"}:
            self.assertEqual(shown[f"paddler_{name}",], truth[name], name)
        self.assertEqual(shown["paddler_requests_buffered_total",], len(self.ever_sat))
        demand = truth["slots_processing"] + truth["requests_waiting"]
        self.assertEqual(shown["paddler_demand",], demand)
        oldest = min((waiter.arrived_at for waiter in self.waiting), default=self.clock.seconds())
        waited = shown["paddler_oldest_wait_seconds",]
        self.assertLess(abs(waited - (self.clock.seconds() - oldest)), 1e-6)
        states = list(self.admission.states().values())
        for key, value in shown.items():
            if key[0] == "paddler_upstreams":
                self.assertEqual(value, states.count(key[1]), key)  # type: ignore[arg-type]
        self.ended = {key: count for key, count in self.ended.items() if key[0] in self.fleet}
        requests = {key[1:]: v for key, v in shown.items() if key[0] == "paddler_requests_total"}
        told = {tuple(sorted(key)): value for key, value in requests.items()}
        self.assertEqual(told, {tuple(sorted(key)): n for key, n in self.ended.items()})

    def test_thousand_events(self) -> None:
        """Whatever happens, every gauge is what it says."""
        self.drive(1)

    def test_thousand_events_with_fewer_reports(self) -> None:
        """A report tells what happened since the one before, some events ago."""
        self.drive(7)

    def drive(self, period: int) -> None:
        """A thousand events, with a report of StatsD's after each so many."""
        events = {
            self.request: 30,
            self.end: 14,
            self.fail_over: 5,
            self.client_leaves: 3,
            self.report: 12,
            self.leave: 3,
            self.drain: 3,
            self.time_passes: 14,
        }
        waited = failed = 0
        chosen = self.random.choices(list(events), list(events.values()), k=1000)
        for number, event in enumerate(chosen):
            event()
            self.check_prometheus()
            if number % period == 0:
                self.check_statsd()
            waited += bool(self.waiting)
            failed += event == self.fail_over
        self.assertGreater(min(waited, failed, len(self.ever_sat)), 30)
        self.admission.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
