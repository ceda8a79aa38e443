"""Tests for paddler.agent.whereabouts, and what the agent makes of it."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.plugin import AgentService
from paddler.agent.settings import AgentSettings, HostKeys
from paddler.agent.whereabouts import Whereabouts
from paddler.calls import Answer
from paddler.ec2 import InstanceMetadata
from paddler.metadata import MetadataKey, MetadataService
from paddler.values import Address
from tests.agent_fakes import REFUSED, FakeCall, agent_settings
from tests.managing import lines_heard_by

__all__ = ["FollowingTests", "WhereaboutsTests"]

PUBLIC, LOCAL = MetadataKey("public-ipv4"), MetadataKey("local-ipv4")
_PUT = "/latest/api/token"
_PUBLIC, _LOCAL = "/latest/meta-data/public-ipv4", "/latest/meta-data/local-ipv4"
SERVICE = MetadataService(Address("169.254.169.254", 80))


class WhereaboutsTests(SynchronousTestCase):
    """What is read, and what comes of it."""

    def setUp(self) -> None:
        self.call = FakeCall(
            {
                _PUT: Answer(200, b"token"),
                _PUBLIC: Answer(200, b"1.1.1.1"),
                _LOCAL: Answer(200, b"10.0.0.1"),
            }
        )
        self.keys = HostKeys(SERVICE, {"external": PUBLIC, "local": LOCAL})
        self.settings = agent_settings(
            local=Address("10.0.0.1", 1), external=Address("1.1.1.1", 2), host_keys=self.keys
        )
        metadata = InstanceMetadata(Clock(), self.call, SERVICE)
        self.whereabouts = Whereabouts(metadata, self.keys, self.settings)
        self.lines = lines_heard_by(self)

    def look(self) -> AgentSettings | None:
        """What a look brings."""
        return self.successResultOf(Deferred.fromCoroutine(self.whereabouts.look()))

    def test_nothing_new(self) -> None:
        """As long as all is as it was, there is nothing to tell."""
        self.assertIsNone(self.look())
        self.assertIsNone(self.look())
        self.assertEqual(self.call.times(_PUT), 1)
        self.assertEqual(self.lines, [])

    def test_moved(self) -> None:
        """A host that is another is told once, with all that stays as it was."""
        self.call.answers[_PUBLIC] = Answer(200, b"2.2.2.2")
        moved = attrs.evolve(self.settings, external=Address("2.2.2.2", 2))
        self.assertEqual(self.look(), moved)
        self.assertIsNone(self.look())
        self.call.answers[_LOCAL] = Answer(200, b"10.0.0.2")
        self.assertEqual(self.look(), attrs.evolve(moved, local=Address("10.0.0.2", 1)))

    def test_trouble(self) -> None:
        """What can't be read stays as it was; that is said once, and once that it is over."""
        self.call.answers[_PUBLIC] = Answer(200, b"2.2.2.2")
        self.call.answers[_LOCAL] = REFUSED
        for _ in range(3):
            self.assertIsNone(self.look())
        self.call.answers[_LOCAL] = Answer(200, b"10.0.0.1")
        moved = self.look()
        assert moved is not None
        self.assertEqual(moved.external.host, "2.2.2.2")
        self.assertEqual(len(self.lines), 2)
        self.assertIn("hosts stay as they were told by instance metadata: ", self.lines[0])
        self.assertIn("it refuses connections", self.lines[0])
        self.assertEqual(self.lines[1], "instance metadata tells its hosts again")

    def test_given_up(self) -> None:
        """A look that is given up says nothing."""
        self.call.answers[_PUT] = Deferred[Any]()
        looking = Deferred.fromCoroutine(self.whereabouts.look())
        looking.cancel()
        self.failureResultOf(looking, CancelledError)
        self.assertEqual(self.lines, [])


class FollowingTests(SynchronousTestCase):
    """The agent's service, in memory."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.lines = lines_heard_by(self)

    def dialed(self, host: str, port: int) -> int:
        """How often it connected there."""
        return [client[:2] for client in self.reactor.tcpClients].count((host, port))

    def start(self, interval: float = 1.0, **keys: MetadataKey) -> Any:
        """An agent with these keys that runs."""
        host_keys = HostKeys(SERVICE, keys) if keys else None
        service: Any = AgentService(
            self.reactor, agent_settings(interval=interval, host_keys=host_keys)
        )
        service.startService()
        self.addCleanup(self.stop, service)
        return service

    def stop(self, service: Any) -> None:
        """Stop it; a balancer that says nothing gets a second."""
        stopped = service.stopService()
        self.reactor.advance(1.0)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_asks_each_minute(self) -> None:
        """Instance metadata is asked at the start, and once a minute."""
        self.start(interval=3600.0, external=PUBLIC)  # so that it has nothing to report yet
        self.assertEqual(self.dialed("169.254.169.254", 80), 1)
        self.reactor.pump([1.0] * 59)
        self.assertEqual(self.dialed("169.254.169.254", 80), 1)
        self.reactor.pump([1.0])
        self.assertEqual(self.dialed("169.254.169.254", 80), 2)

    def test_asks_nobody(self) -> None:
        """Without a key nobody is asked, whatever becomes of the balancer."""
        service = self.start()
        service._look_around()
        self.reactor.pump([1.0] * 61)
        self.assertEqual(self.dialed("169.254.169.254", 80), 0)

    def test_balancer_lost(self) -> None:
        """Instance metadata is asked at once when reports fail."""
        self.start(external=PUBLIC)
        # After two silent looks at the llama-server there is something to report, to nobody.
        self.reactor.pump([0.5] * 12)
        self.assertGreater(self.dialed("127.0.0.1", 8085), 0)
        self.assertEqual(self.dialed("169.254.169.254", 80), 2)

    def test_moved(self) -> None:
        """Every server is dialed where it is now, and the log says where that is."""
        service = self.start(external=PUBLIC)
        moved = attrs.evolve(
            service._settings,
            local=Address("10.0.0.1", 1),
            external=Address("1.1.1.1", 2),
            management=Address("10.0.0.2", 3),
        )
        self.reactor.pump([0.5] * 12)
        service._moved(moved)
        self.reactor.pump([0.5] * 30)
        self.assertGreater(self.dialed("10.0.0.1", 1), 0)
        self.assertGreater(self.dialed("10.0.0.2", 3), 0)
        (line,) = [line for line in self.lines if line.startswith("by instance metadata")]
        for word in ("10.0.0.1:1", "1.1.1.1:2", "10.0.0.2:3", moved.agent_id):
            self.assertIn(word, line)
