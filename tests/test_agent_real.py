"""The real agent, on real sockets, between a real llama-server and a small balancer."""

from __future__ import annotations

import json
import signal
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase

from paddler.agent.plugin import Options, makeService
from paddler.values import Address, Report, agent_id_for
from tests.listening import ListeningResource
from tests.llamas import RealLlama, fetch, until

reactor = cast(Any, _reactor)

COMPLETION = json.dumps({"prompt": "the cat and the dog", "n_predict": 1500, "seed": 1}).encode()


class Management(ListeningResource):
    """Keeps the reports that it is sent, as the balancer's management server would.

    :ivar reports: every report, with the time at which it came.
    :ivar asked: every request, as (method, path).
    """

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.said = b""
        self.tokens: set[str | None] = set()
        self.asked: list[tuple[str, str]] = []
        self.reports: list[tuple[float, Report]] = []

    def render(self, request: Any) -> bytes:
        self.asked.append((request.method.decode(), request.path.decode()))
        self.tokens.add(request.getHeader("authorization"))
        if request.method == b"POST":
            report = Report.from_json(request.content.read())
            self.reports.append((reactor.seconds(), report))
        request.setResponseCode(self.status)
        return self.said

    @property
    def last(self) -> Report:
        return self.reports[-1][1] if self.reports else Report("", Address("", 1), 1.0, 0)


class Names:
    """Knows every name as the loopback."""

    def resolveHostName(self, receiver: Any, name: str, *more: Any, **named: Any) -> Any:
        receiver.resolutionBegan(None)
        receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", 0))
        receiver.resolutionComplete()


class RealAgentTests(TestCase):
    """What the balancer is told, and what llama-server is asked."""

    timeout = 60

    def setUp(self) -> None:
        self.llama = RealLlama()
        self.addCleanup(self.llama.stop)
        self.management = Management()
        self.management.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.management.stop()))
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)
        self.agent: Any = None

    def note(self, event: Any) -> None:
        if event.get("log_namespace", "").startswith("paddler.agent."):
            self.lines.append(formatEvent(event))

    def start_agent(self, *words: str) -> None:
        options = Options()
        options.environment = {}
        options.parseOptions(
            [
                f"--local-llamacpp-port={self.llama.port}",
                f"--management-port={self.management.port}",
                "--name=one",
                *words,
            ]
        )
        self.agent = makeService(options, reactor)
        self.agent.startService()
        self.addCleanup(self.stop_agent)

    def stop_agent(self) -> Deferred[None] | None:
        agent, self.agent = self.agent, None
        return None if agent is None else cast("Deferred[None]", agent.stopService())

    async def reported(self, what: str, check: Any, within: float = 5.0) -> Report:
        await until(lambda: check(self.management.last), within=within, what=what)
        return self.management.last

    async def test_plain(self) -> None:
        """A server that is well: what it has, who it is, once a second."""
        await self.llama.start("-a", "tiny,small")
        self.start_agent()
        report = await self.reported("a report", lambda report: report.slots_total)
        self.assertEqual(report.external, Address("127.0.0.1", self.llama.port))
        self.assertEqual((report.agent_name, report.interval_s), ("one", 1.0))
        self.assertEqual((report.slots_total, report.slots_busy, report.n_ctx), (2, 0, 4096))
        self.assertEqual((report.issues, report.sleeping), ((), False))
        self.assertEqual(set(report.models), {"tiny", "small"})
        await until(lambda: len(self.management.reports) >= 4)
        times = [at for at, _ in self.management.reports]
        self.assertTrue(2.5 < times[3] - times[0] < 4.0, times)
        agent_id = agent_id_for("one", report.external)
        self.assertEqual(
            set(self.management.asked), {("POST", f"/api/v1/agent_status_update/{agent_id}")}
        )

    async def test_busy(self) -> None:
        """Work that did not come from the balancer is seen, and its end as well."""
        await self.llama.start()
        self.start_agent("--reporting-interval=200ms")
        await self.reported("a report", lambda report: report.slots_total)
        works = [True]

        async def work() -> None:
            while works[0]:
                await fetch(self.llama.port, "/completion", COMPLETION)

        working = Deferred.fromCoroutine(work())
        report = await self.reported("a busy slot", lambda report: report.slots_busy == 1)
        self.assertLess(report.slots_age_s, 2.0)
        works[0] = False
        await working
        await self.reported("idle again", lambda report: report.slots_busy == 0)

    async def test_no_slots_endpoint(self) -> None:
        """Without /slots the capacity is known all the same."""
        await self.llama.start("--no-slots")
        self.start_agent()
        report = await self.reported("a report", lambda report: report.slots_total)
        self.assertEqual((report.slots_total, report.slots_busy), (2, None))
        self.assertEqual(report.issues, ("slots_disabled",))

    async def test_right_key(self) -> None:
        """With its key everything is known."""
        await self.llama.start("--api-key", "sk-right")
        self.start_agent("--local-llamacpp-api-key=sk-right")
        report = await self.reported("a report", lambda report: report.slots_total)
        self.assertEqual((report.slots_total, report.slots_busy, report.issues), (2, 0, ()))
        self.assertNotIn("sk-right", "".join(self.lines))

    async def test_wrong_key(self) -> None:
        """With a wrong one that is what is reported, and one line says what to do."""
        await self.llama.start("--api-key", "sk-right")
        self.start_agent("--local-llamacpp-api-key=sk-wrong")
        report = await self.reported("the issue", lambda report: report.issues)
        self.assertEqual((report.slots_total, report.issues), (0, ("unauthorized",)))
        await until(lambda: len(self.management.reports) > 2)
        (line,) = [line for line in self.lines if "key" in line]
        self.assertIn("--local-llamacpp-api-key-file", line)
        self.assertNotIn("sk-wrong", "".join(self.lines))

    async def test_sleeping(self) -> None:
        """A server that may sleep falls asleep although it is watched, and is left asleep."""
        await self.llama.start("--sleep-idle-seconds", "1")
        self.start_agent("--reporting-interval=200ms")
        await self.reported("a report", lambda report: report.slots_total)
        report = await self.reported("sleep", lambda report: report.sleeping)
        self.assertEqual((report.slots_total, report.slots_busy, report.issues), (2, None, ()))
        told = len(self.management.reports)
        await until(lambda: len(self.management.reports) >= told + 15, within=10)
        self.assertTrue(all(report.sleeping for _, report in self.management.reports[told:]))
        await fetch(self.llama.port, "/completion", COMPLETION)
        await self.reported("being awake", lambda report: not report.sleeping)
        await self.reported("sleep again", lambda report: report.sleeping, within=8)

    async def test_stopped_and_restarted(self) -> None:
        """A server that goes is reported at once, and what comes in its place as well."""
        await self.llama.start()
        self.start_agent()
        await self.reported("a report", lambda report: report.slots_total)
        await self.llama.stop()
        report = await self.reported("it is gone", lambda report: report.issues, within=2.0)
        self.assertEqual((report.issues, report.slots_busy), (("unreachable",), None))
        await self.llama.start(slots=3)
        report = await self.reported("it is back", lambda report: report.slots_busy is not None)
        self.assertEqual((report.slots_total, report.issues), (3, ()))
        states = [line.partition(": ")[2] for line in self.lines if "llama-server at" in line]
        self.assertEqual(states[1], "all is well, 2 slots")
        self.assertEqual(states[2], "it can't be reached (it refuses connections)")
        self.assertEqual(states[-1], "all is well, 3 slots")

    async def test_hanging(self) -> None:
        """A server that accepts and says nothing is late, and then in time again."""
        await self.llama.start()
        self.start_agent("--reporting-interval=200ms")
        await self.reported("a report", lambda report: report.slots_total)
        self.llama.signal(signal.SIGSTOP)
        report = await self.reported("the issue", lambda report: report.issues, within=6.0)
        self.assertEqual((report.issues, report.slots_total), (("timeout",), 2))
        self.llama.signal(signal.SIGCONT)
        await self.reported("its end", lambda report: not report.issues)

    async def test_server_not_up_yet(self) -> None:
        """An agent that was first waits for its server."""
        self.start_agent()
        report = await self.reported("a report", lambda report: report.issues)
        self.assertEqual((report.slots_total, report.issues), (0, ("unreachable",)))
        await self.llama.start()
        report = await self.reported("it is there", lambda report: report.slots_total)
        self.assertEqual((report.slots_total, report.issues), (2, ()))

    async def test_balancer_away(self) -> None:
        """A balancer that comes late, goes, and comes back has its report within two intervals."""
        await self.llama.start()
        await self.management.stop()
        self.start_agent()
        await until(lambda: any("does not take" in line for line in self.lines))
        for coming in range(2):
            self.management.start()
            began, told = reactor.seconds(), len(self.management.reports)
            await until(lambda told=told: len(self.management.reports) > told)
            self.assertLess(reactor.seconds() - began, 2.5)
            await until(lambda told=told: len(self.management.reports) > told + 1)
            if not coming:
                await self.management.stop()
                await deferLater(reactor, 1.5)
        said = [line for line in self.lines if line.startswith("the balancer")]
        self.assertEqual(len(said), 4, said)
        self.assertTrue(said[3].endswith("takes reports again"))

    async def test_refused_report(self) -> None:
        """What the balancer says against a report is one line, with its words."""
        await self.llama.start()
        self.management.status = 401
        self.management.said = b'{"error":{"code":401,"message":"a token is needed"}}'
        self.start_agent("--reporting-interval=100ms")
        await until(lambda: len(self.management.reports) > 2)
        said = [line for line in self.lines if line.startswith("the balancer")]
        self.assertEqual(len(said), 1)
        self.assertIn("it answers 401, 'a token is needed'", said[0])

    async def test_goodbye(self) -> None:
        """An agent that stops takes its leave, and nothing of it stays open."""
        await self.llama.start()
        self.start_agent("--reporting-interval=200ms")
        await self.reported("a report", lambda report: report.slots_total)
        agent_id = agent_id_for("one", self.management.last.external)
        began = reactor.seconds()
        await self.stop_agent()
        self.assertLess(reactor.seconds() - began, 1.0)
        self.assertEqual(self.management.asked[-1], ("DELETE", f"/api/v1/agents/{agent_id}"))
        self.assertEqual(self.lines[-1], "took leave of the balancer")

    async def test_names_with_underscores(self) -> None:
        """Both ends may have names that are no host names by the book, and tokens are sent."""
        before = reactor.installNameResolver(Names())
        self.addCleanup(reactor.installNameResolver, before)
        with open("token", "w") as file:
            file.write("mgmt-1\n")
        await self.llama.start()
        self.start_agent(
            "--local-llamacpp-host=llama_1",
            "--management-host=paddler_balancer.example.com",
            "--management-token-file=token",
        )
        report = await self.reported("a report", lambda report: report.slots_total)
        self.assertEqual(report.external, Address("llama_1", self.llama.port))
        self.assertEqual(self.management.tokens, {"Bearer mgmt-1"})

    async def test_not_http(self) -> None:
        """Something else that listens on llama-server's port is not taken for one."""

        class Other(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"SSH-2.0-Other\r\n")

        factory = WrappingFactory(Factory.forProtocol(Other))
        listening = reactor.listenTCP(self.llama.port, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.start_agent("--reporting-interval=200ms")
        report = await self.reported("a report", lambda report: report.issues)
        self.assertEqual(report.issues, ("bad_status",))
        await until(lambda: not factory.protocols)
