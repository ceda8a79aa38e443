"""Tests for paddler.agent.plugin: the agent as a service, in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from paddler.agent.plugin import Options, makeService


class AgentServiceTests(SynchronousTestCase):
    """The agent, from options to its end."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def make(self, *words: str, environment: dict[str, str] | None = None) -> Any:
        options = Options()
        options.environment = environment or {}
        options.parseOptions(list(words))
        return makeService(options, self.reactor)

    def lines(self, level: LogLevel = LogLevel.info) -> list[str]:
        return [
            formatEvent(event)
            for event in self.events
            if event["log_level"] is level and event["log_namespace"].startswith("paddler.")
        ]

    def test_makes_a_service(self) -> None:
        """Making it does nothing yet."""
        service = self.make()
        self.assertTrue(verifyObject(IService, service))
        self.assertEqual(self.reactor.tcpClients, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_starts_and_stops(self) -> None:
        """It dials its llama-server at once, and leaves nothing behind."""
        service = self.make("--local-llamacpp-port=18088", "--name=left")
        service.startService()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 18088))
        self.assertIn("agent left (", self.lines()[0])
        self.reactor.advance(1.5)
        self.successResultOf(service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_leave_is_bounded(self) -> None:
        """A balancer that says nothing holds the stop for a second."""
        service = self.make("--management-port=18085")
        service.startService()
        self.reactor.pump([1.0] * 3)  # two silent probes: there is something to report
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("127.0.0.1", 18085))
        stopped = service.stopService()
        self.reactor.advance(0.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_loopback_for_others(self) -> None:
        """A balancer elsewhere can't reach a loopback address, and the log says so."""
        service = self.make("--management-host=10.1.2.3")
        service.startService()
        self.assertIn("--external-llamacpp-host", self.lines(LogLevel.warn)[0])
        self.successResultOf(service.stopService())

    def test_remarks(self) -> None:
        """What the options remarked is in the log."""
        self.make(environment={"PADDLER_MANAGEMENT_PORT": "tcp://10.0.0.1:80"})
        self.assertIn("PADDLER_MANAGEMENT_PORT is Kubernetes' own", self.lines()[0])

    def test_secret_is_read_once(self) -> None:
        """A secret's file may vanish once the options are read."""
        path = Path(self.mktemp())
        path.write_text("t")
        options = Options()
        options.environment = {}
        options.parseOptions([f"--management-token-file={path}"])
        path.unlink()
        path.write_text("another")
        self.assertEqual(options.settings().management_token, "t")
