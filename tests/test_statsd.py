"""Tests for paddler.balancer.statsd."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import FakeDatagramTransport
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.admission import Admission
from paddler.balancer.statsd import DATAGRAM, StatsdService, StatsdSettings, datagrams, gauges
from paddler.errors import PaddlerError
from paddler.facts import Facts
from paddler.scheduling.policies import IdleSlots, Prefix
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.toll import Toll
from paddler.values import Address, Model, Report
from tests.managing import lines_heard_by
from tests.test_dialing import Resolver

__all__ = ["DatagramTests", "GaugesTests", "StatsdServiceTests"]


class DatagramTests(SynchronousTestCase):
    """`datagrams`."""

    def test_one(self) -> None:
        """A few gauges fit into one."""
        self.assertEqual(list(datagrams("p.x", {"a": 1, "b": 0})), [b"p.x.a:1|g\np.x.b:0|g"])

    def test_many(self) -> None:
        """Many are spread over datagrams that are as full as they may be, and none is lost."""
        wanted = {f"gauge{n}": 10**9 + n for n in range(400)}
        sent = list(datagrams("p" * 200, wanted))
        self.assertTrue(all(DATAGRAM - 230 < len(each) <= DATAGRAM for each in sent[:-1]))
        lines = b"\n".join(sent).decode().split("\n")
        self.assertEqual(lines, [f"{'p' * 200}.{n}:{v}|g" for n, v in wanted.items()])

    def test_counters(self) -> None:
        """What is added to a counter says so."""
        self.assertEqual(list(datagrams("p", {"a": 3}, "c")), [b"p.a:3|c"])

    def test_none(self) -> None:
        """Of nothing there is none."""
        self.assertEqual(list(datagrams("p", {})), [])


class GaugesTests(SynchronousTestCase):
    """`gauges`."""

    def test_without_agents(self) -> None:
        """All are there when nobody is."""
        admission = self.admission()
        names = "slots_idle slots_processing slots_total requests_buffered requests_waiting agents"
        self.assertEqual(gauges(admission), dict.fromkeys(names.split(), 0))

    def test_models(self) -> None:
        """Each model has its own, by names that StatsD can read; nobody's waiting stays at 0."""
        admission = self.admission()
        models = (Model("org/m:Q4 x", ("chat",)), Model("org.m_Q4 x"))
        report = Report("one", Address("h", 1), 1.0, 1, slots_busy=0, model_details=models)
        admission.report("one", report)
        admission.acquire(admission.waiter(1, "chat"))
        waiting = admission.acquire(admission.waiter(1, "chat"))
        self.addCleanup(admission.stop)
        waiting.addErrback(lambda failure: None)
        told = {name: value for name, value in gauges(admission).items() if "models" in name}
        expected = {"models.org_m_Q4_x.requests_waiting": 1, "models.org_m_Q4_x.demand": 3}
        self.assertEqual(told, expected)
        waiting.cancel()
        self.assertEqual(gauges(admission)["models.org_m_Q4_x.requests_waiting"], 0)

    def test_load(self) -> None:
        """Slots in use, and those who wait or have waited."""
        admission = self.admission()
        admission.report("one", Report("one", Address("h", 1), 1.0, 2, slots_busy=0))
        lease = self.successResultOf(admission.acquire(admission.waiter(1)))
        admission.acquire(admission.waiter(1))
        self.assertEqual(gauges(admission)["requests_buffered"], 0)
        went, waits = [admission.acquire(admission.waiter(1)) for _ in range(2)]
        self.addCleanup(admission.stop)
        for waiting in (went, waits):
            waiting.addErrback(lambda failure: failure.check(PaddlerError, Exception))
        went.cancel()
        wanted = {
            "slots_idle": 0,
            "slots_processing": 2,
            "slots_total": 2,
            "requests_buffered": 2,
            "requests_waiting": 1,
            "agents": 1,
        }
        self.assertEqual(gauges(admission), wanted)
        admission.release(lease)
        wanted.update(requests_buffered=1, requests_waiting=0)
        self.assertEqual(gauges(admission), wanted)
        self.assertEqual(gauges(admission), {**wanted, "requests_buffered": 0})

    def test_speeds(self) -> None:
        """How fast each server is, where that is learnt, by names that StatsD can read."""
        scheduler = Scheduler(Prefix(), Random(1), 10, 3)
        admission = Admission(Clock(), scheduler, 60.0)
        for name in ("gpu.1:80", "other"):
            admission.report(name, Report(name, Address(name, 1), 1.0, 1, slots_busy=0))
        self.assertFalse([name for name in gauges(admission) if name.startswith("agents.")])
        upstream = next(u for u in scheduler._fleet.upstreams if u.name == "gpu.1:80")
        granting = scheduler._granting
        assert isinstance(granting, Toll)
        granting.paces.learn(upstream, Facts(10, 90, 5, 812.34, 24.0))
        told = {name: value for name, value in gauges(admission).items() if "second" in name}
        wanted = {"prompt_tokens_per_second": 812.3, "answer_tokens_per_second": 24.0}
        self.assertEqual(told, {f"agents.gpu_1_80.{name}": v for name, v in wanted.items()})

    def admission(self) -> Admission:
        """One with room for ten to wait."""
        clock = Clock()
        return Admission(clock, Scheduler(IdleSlots(), Random(1), 10, 3), 60.0)


class _Transport(FakeDatagramTransport):
    """One that may fail."""

    def __init__(self, reactor: _Reactor) -> None:
        super().__init__()
        self.reactor = reactor

    def write(self, packet: bytes, addr: Any = None) -> None:
        if self.reactor.broken is not None:
            raise self.reactor.broken
        self.reactor.sent.append((packet, addr))

    def stopListening(self) -> Any:
        self.reactor.open.remove(self)
        return self.reactor.closing


class _Reactor(Clock):
    """Time, names and UDP."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = Resolver(stats_d=["10.0.0.1"], six=["::1"])
        self.sent: list[tuple[bytes, Any]] = []
        self.open: list[_Transport] = []
        self.interfaces: list[str] = []
        self.broken: Exception | None = None
        self.unbound: Exception | None = None
        self.closing: Any = None

    def listenUDP(self, port: int, protocol: Any, interface: str) -> _Transport:
        assert port == 0
        if self.unbound is not None:
            raise self.unbound
        self.interfaces.append(interface)
        transport = _Transport(self)
        self.open.append(transport)
        protocol.makeConnection(transport)
        return transport


class StatsdServiceTests(SynchronousTestCase):
    """`StatsdService`."""

    def setUp(self) -> None:
        self.reactor = _Reactor()
        self.reads = 0
        self.added: dict[str, int] = {}
        self.service: StatsdService | None = None
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))
        self.addCleanup(self.stop)

    def stop(self) -> Deferred[None]:
        """Stop it, if it runs."""
        if self.service is None or not self.service.running:
            return succeed(None)
        return self.service.stopService()

    def start(self, host: str = "10.0.0.9") -> None:
        """One that runs."""
        settings = StatsdSettings(host, 8125, "p", 2.0)
        self.service = StatsdService(self.reactor, settings, self.read, self.add)
        self.service.startService()

    def read(self) -> dict[str, int]:
        """A gauge that tells how often it was read."""
        self.reads += 1
        return {"reads": self.reads}

    def add(self) -> dict[str, int]:
        """What was added since."""
        added, self.added = self.added, {}
        return added

    def sent_to(self) -> list[str]:
        """The addresses that something was sent to."""
        return [address[0] for _, address in self.reactor.sent]

    def test_reports(self) -> None:
        """At once, at each interval, and at the end; then its socket is closed."""
        self.start()
        self.reactor.pump([1.0] * 5)
        address = ("10.0.0.9", 8125)
        self.assertEqual(self.reactor.sent, [(b"p.reads:%d|g" % n, address) for n in (1, 2, 3)])
        self.assertEqual(self.reactor.interfaces, [""])
        self.successResultOf(self.stop())
        self.assertEqual(self.reactor.sent[3:], [(b"p.reads:4|g", address)])
        self.assertEqual(self.reactor.open, [])

    def test_adds(self) -> None:
        """Counters are told of once there is somewhere to tell it, so that nothing is lost."""
        self.added = {"more": 7}
        self.start("counting")
        self.reactor.pump([2.0] * 6)
        self.assertEqual(self.reactor.sent, [])
        self.reactor.nameResolver.names["counting"] = ["10.0.0.7"]
        self.reactor.pump([2.0] * 5)
        self.assertIn((b"p.more:7|c", ("10.0.0.7", 8125)), self.reactor.sent)

    def test_stop_waits_for_the_socket(self) -> None:
        """A stop is over once the socket is closed."""
        self.start()
        self.reactor.closing = Deferred()
        stopping = self.stop()
        self.assertNoResult(stopping)
        self.reactor.closing.callback(None)
        self.successResultOf(stopping)

    def test_name(self) -> None:
        """A name is looked up, and again from time to time; where it was serves meanwhile."""
        self.start("stats_d")
        self.reactor.pump([2.0] * 6)
        self.assertEqual(self.reactor.nameResolver.asked, ["stats_d", "stats_d"])
        self.reactor.nameResolver.names["stats_d"] = ["10.0.0.2"]
        self.reactor.pump([2.0] * 5)
        self.reactor.nameResolver.names["stats_d"] = []
        self.reactor.pump([2.0] * 6)
        self.assertEqual(list(dict.fromkeys(self.sent_to())), ["10.0.0.1", "10.0.0.2"])
        self.assertEqual(len(self.reactor.sent), 18)
        self.assertEqual(len(self.reactor.open), 1)

    def test_ipv6(self) -> None:
        """IPv6 needs a socket of its kind."""
        self.start("six")
        self.reactor.nameResolver.names["six"] = ["10.0.0.1"]
        self.reactor.pump([2.0] * 5)
        self.assertEqual(self.reactor.interfaces, ["::", ""])
        self.assertEqual(set(self.sent_to()), {"::1", "10.0.0.1"})

    def test_both_kinds(self) -> None:
        """Of both kinds of addresses one of IPv4 is taken: StatsD itself listens on no other."""
        self.reactor.nameResolver.names["both"] = ["::1", "10.0.0.5", "10.0.0.6"]
        self.start("both")
        self.assertEqual(self.sent_to(), ["10.0.0.5"])

    def test_turns(self) -> None:
        """Where a name's addresses take turns, gauges stay with the one they were sent to."""
        names = self.reactor.nameResolver.names
        names["turns"] = ["10.0.0.5", "10.0.0.6"]
        self.start("turns")
        names["turns"] = ["10.0.0.6", "10.0.0.5"]
        self.reactor.pump([2.0] * 10)
        self.assertEqual(set(self.sent_to()), {"10.0.0.5"})
        names["turns"] = ["10.0.0.7", "10.0.0.6"]
        self.reactor.pump([2.0] * 5)
        self.assertEqual(self.sent_to()[-1], "10.0.0.7")
        self.assertEqual(self.reactor.interfaces, [""])

    def test_stop_in_a_move(self) -> None:
        """A stop waits for the socket of an address that is no more as well."""
        self.start("six")
        self.reactor.nameResolver.names["six"] = ["10.0.0.1"]
        old = self.reactor.closing = Deferred()
        self.reactor.pump([2.0] * 5)
        self.assertEqual(self.reactor.interfaces, ["::", ""])
        self.reactor.closing = None
        stopping = self.stop()
        self.assertNoResult(stopping)
        old.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.open, [])

    def test_mistake(self) -> None:
        """A mistake in what is reported costs those reports, and no later ones."""
        self.start()
        assert self.service is not None

        def broken() -> dict[str, int]:
            raise RuntimeError("a mistake")

        self.service._read = broken
        self.reactor.pump([2.0] * 3)
        self.service._read = self.read
        self.reactor.pump([2.0] * 2)
        self.assertEqual(self.reads, 3)
        self.assertEqual(len(self.reactor.sent), 3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_slow_name(self) -> None:
        """While a name is looked up nothing waits, and it is not asked for twice."""
        self.start("slow")
        self.reactor.pump([2.0] * 20)
        self.assertEqual((self.reads, len(self.reactor.nameResolver.asked)), (0, 1))
        receiver = self.reactor.nameResolver.slow[0]
        Resolver(there=["10.0.0.3"]).resolveHostName(receiver, "there")
        self.reactor.pump([2.0])
        self.assertEqual(self.sent_to(), ["10.0.0.3"])

    def test_stop_while_a_name_is_slow(self) -> None:
        """A stop waits a second for a name, and then for nothing."""
        self.start("slow")
        stopping = self.stop()
        self.reactor.advance(0.9)
        self.assertNoResult(stopping)
        self.reactor.advance(0.1)
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.sent, [])

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not keep a name from being looked up."""
        self.start("stats_d")
        self.reactor.rightNow -= 3600
        assert self.service is not None
        self.service._report()
        self.assertEqual(len(self.reactor.nameResolver.asked), 2)

    def test_trouble(self) -> None:
        """Whatever goes wrong is survived, with one line when it begins and one when it ends."""
        lines = lines_heard_by(self)
        self.start()
        for trouble in (OSError(101, "Network is unreachable"), OSError("odd")):
            self.reactor.broken = trouble
            self.reactor.pump([2.0] * 3)
            self.reactor.broken = None
            self.reactor.pump([2.0] * 2)
        self.assertEqual(
            lines,
            [
                "can't report to StatsD at 10.0.0.9:8125: Network is unreachable",
                "reports to StatsD at 10.0.0.9:8125 go out again",
                "can't report to StatsD at 10.0.0.9:8125: odd",
                "reports to StatsD at 10.0.0.9:8125 go out again",
            ],
        )

    def test_unknown_name(self) -> None:
        """A name that nobody knows yet is said once."""
        lines = lines_heard_by(self)
        self.start("nobody")
        self.reactor.pump([2.0] * 12)
        wanted = ["can't report to StatsD at nobody:8125: no address found for its name"]
        self.assertEqual(lines, wanted)
        self.reactor.nameResolver.names["nobody"] = ["10.0.0.4"]
        self.reactor.pump([2.0] * 6)
        self.assertEqual(lines[1:], ["reports to StatsD at nobody:8125 go out again"])

    def test_no_socket(self) -> None:
        """Without a free descriptor there are no reports until there is one."""
        lines = lines_heard_by(self)
        self.reactor.unbound = CannotListenError("", 0, OSError(24, "Too many open files"))
        self.start()
        self.reactor.pump([2.0] * 2)
        self.reactor.unbound = None
        self.reactor.pump([2.0] * 2)
        self.assertEqual(len(self.reactor.sent), 2)
        self.assertEqual(len(lines), 2)
        self.assertIn("Too many open files", lines[0])
