"""Tests for paddler.balancer.streams."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from paddler.balancer.admission import Admission
from paddler.balancer.streams import KEEP_ALIVE, MANY, Streams
from paddler.scheduling.views import AgentView
from paddler.values import Address
from tests.managing import REPORT, ManagementCase

__all__ = ["AgentsStreamTests", "QueueStreamTests", "SlowReaderTests"]

_AGENTS = "/api/v1/agents/stream"
_QUEUE = "/api/v1/buffered_requests/stream"


class _Watching:
    """One who watches, and what it was sent."""

    def __init__(self, case: StreamCase, path: str, **headers: str) -> None:
        self.case = case
        self.chunks: list[bytes] = []
        self.asking: Deferred[Any] = case.treq.request(
            "GET", "http://127.0.0.1:8085" + path, headers=headers
        )
        case.treq.flush()
        self.response: Any = case.successResultOf(self.asking)
        self.ended: Deferred[None] = case.treq.collect(self.response, self.chunks.append)
        case.treq.flush()

    def raw(self) -> bytes:
        """What has come since this was asked last."""
        self.case.treq.flush()
        text = b"".join(self.chunks)
        self.chunks.clear()
        return text

    def events(self) -> list[tuple[str, Any]]:
        """Names and data of the events that have come since then."""
        found = []
        *blocks, rest = self.raw().decode().split("\n\n")
        assert rest == ""
        for block in blocks:
            if block != ":":
                name, data = block.split("\n")
                assert name.startswith("event: ") and data.startswith("data: ")
                found.append((name[7:], json.loads(data[6:])))
        return found


class _Looked(Admission):
    """One that counts how often it is looked at, and may fail."""

    looks = 0
    broken = False

    def agents(self) -> tuple[AgentView, ...]:
        self.looks += 1
        if self.broken:
            raise RuntimeError("a mistake")
        return super().agents()


class StreamCase(ManagementCase):
    """A management server, and those who watch."""

    def setUp(self) -> None:
        super().setUp()
        self.admission = self.looked = _Looked(self.clock, self.scheduler, 60.0)
        self.streams = Streams.of(self.admission, self.clock)
        self.serve()

    def watch(self, path: str = _AGENTS, **headers: str) -> _Watching:
        """Someone who watches."""
        return _Watching(self, path, **headers)

    def many(self, count: int) -> None:
        """So many agents report."""
        for number in range(count):
            address = Address(f"10.0.{number // 250}.{number % 250}", 8088)
            report = attrs.evolve(REPORT, agent_name=f"n{number}", external=address)
            self.admission.report(f"a{number}", report)

    def turn(self, seconds: float, step: float = 0.05) -> None:
        """Let time go by."""
        self.clock.pump([step] * round(seconds / step))


class AgentsStreamTests(StreamCase):
    """The agents."""

    def test_snapshot(self) -> None:
        """At connect all agents are sent, as the API shows them."""
        self.report()
        watching = self.watch()
        self.assertEqual(watching.response.code, 200)
        headers = watching.response.headers
        self.assertEqual(headers.getRawHeaders("content-type"), ["text/event-stream"])
        self.assertEqual(headers.getRawHeaders("cache-control"), ["no-store"])
        self.assertEqual(watching.events(), [("snapshot", {"agents": self.agents()})])

    def test_nobody(self) -> None:
        """Of no agents too; and the first is a change."""
        watching = self.watch()
        self.assertEqual(watching.events(), [("snapshot", {"agents": []})])
        self.report()
        self.turn(0.1)
        wanted = {"changed": self.agents(), "left": []}
        self.assertEqual(watching.events(), [("changed", wanted)])

    def test_changed(self) -> None:
        """Only those that differ are sent, within a tenth of a second."""
        self.many(3)
        watching = self.watch()
        watching.events()
        self.admission.drain("a1", True)
        self.turn(0.1)
        ((name, data),) = watching.events()
        self.assertEqual(name, "changed")
        self.assertEqual(
            [(a["agent_id"], a["state"]) for a in data["changed"]], [("a1", "draining")]
        )
        self.assertEqual(data["left"], [])
        self.turn(1.0)
        self.assertEqual(watching.events(), [])

    def test_left(self) -> None:
        """Who has left is named."""
        self.many(3)
        watching = self.watch()
        watching.events()
        self.admission.leave("a1")
        self.turn(0.1)
        self.assertEqual(watching.events(), [("changed", {"changed": [], "left": ["a1"]})])

    def test_report_without_news(self) -> None:
        """A report that tells nothing new is no change; its time comes with the next one."""
        self.report()
        watching = self.watch()
        watching.events()
        self.turn(1.0)
        self.report()
        self.turn(1.0)
        self.assertEqual(watching.raw(), b"")
        last = self.clock.seconds() - 1.0
        self.turn(4.0)
        ((_, data),) = watching.events()
        (agent,) = data["changed"]
        self.assertEqual(agent["state"], "stale")
        self.assertAlmostEqual(agent["last_update"], last, places=3)

    def test_pace(self) -> None:
        """However much changes, ten events a second are sent; to many agents one."""
        self.many(1)
        watching = self.watch()
        watching.events()
        for wanted, count in ((10, 1), (1, MANY)):
            self.many(count + (count > 1))
            self.turn(1.1)
            watching.events()
            for number in range(100):
                # Different at each hundredth of a second, and at each tenth.
                self.admission.drain("a0", (number + number // 10) % 2 == 0)
                self.turn(0.01, step=0.01)
            self.assertIn(len(watching.events()) - wanted, (-1, 0))
            self.admission.drain("a0", False)

    def test_together(self) -> None:
        """All who watch get the same, from one look."""
        self.report()
        first = self.watch()
        self.turn(0.05)
        second = self.watch()
        self.assertEqual(first.events(), second.events())
        self.looked.looks = 0
        self.admission.drain("a1", True)
        self.turn(0.3)
        (event,) = first.events()
        self.assertEqual(second.events(), [event])
        self.assertIn(self.looked.looks, (2, 3))

    def test_keep_alive(self) -> None:
        """When nothing happens a comment is sent every 15 seconds."""
        watching = self.watch()
        watching.raw()
        self.turn(KEEP_ALIVE - 0.5)
        self.assertEqual(watching.raw(), b"")
        self.turn(1.0)
        self.assertEqual(watching.raw(), b":\n\n")
        self.turn(2 * KEEP_ALIVE)
        self.assertEqual(watching.raw(), b":\n\n" * 2)

    def test_stop(self) -> None:
        """A stop ends all at once, and nobody can watch any more."""
        first, second = self.watch(), self.watch(_QUEUE)
        self.streams.stop()
        self.treq.flush()
        self.successResultOf(first.ended)
        self.successResultOf(second.ended)
        self.assertEqual(self.ask("GET", _AGENTS).error, (503, "shutting_down"))

    def test_head(self) -> None:
        """HEAD tells what GET would send, and ends."""
        got = self.ask("HEAD", _AGENTS)
        self.assertEqual((got.code, got.body), (200, b""))
        self.assertEqual(got.header("content-type"), "text/event-stream")

    def test_token(self) -> None:
        """The token is asked for."""
        self.serve(token="s3cret")
        for path in (_AGENTS, _QUEUE):
            self.assertEqual(self.ask("GET", path).error, (401, "unauthorized"))
            self.assertEqual(self.watch(path, Authorization="Bearer s3cret").response.code, 200)

    def test_mistake(self) -> None:
        """A look that fails costs that look."""
        self.report()
        watching = self.watch()
        watching.events()
        self.looked.broken = True
        self.admission.drain("a1", True)
        self.assertRaises(RuntimeError, self.turn, 0.1)
        self.looked.broken = False
        self.turn(0.1)
        self.assertEqual(len(watching.events()), 1)


class QueueStreamTests(StreamCase):
    """The buffer."""

    def test_events(self) -> None:
        """The whole buffer at connect and at each change."""
        watching = self.watch(_QUEUE)
        empty = {
            "requests_waiting": 0,
            "bytes_waiting": 0,
            "oldest_wait_seconds": 0.0,
            "limit": 10,
            "models": {},
        }
        self.assertEqual(watching.events(), [("snapshot", empty)])
        self.turn(1.0)
        self.assertEqual(watching.events(), [])
        waiting = self.acquire()
        self.turn(0.1)
        ((name, data),) = watching.events()
        self.assertEqual((name, data["requests_waiting"]), ("changed", 1))
        self.turn(1.0)
        events = watching.events()
        self.assertIn(len(events), (9, 10))
        self.assertLess(abs(events[-1][1]["oldest_wait_seconds"] - 1.1), 0.11)
        waiting.addErrback(lambda failure: failure.trap(CancelledError))
        waiting.cancel()
        self.turn(0.2)
        self.assertEqual(watching.events()[-1:], [("changed", empty)])


class _Request:
    """A request whose transport the test pauses."""

    method = b"GET"

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.producer: Any = None
        self.finished = self.aborted = False
        self.channel = self.transport = self
        self._ending: Deferred[None] = Deferred()

    def setHeader(self, name: bytes, value: bytes) -> None:
        pass

    def notifyFinish(self) -> Deferred[None]:
        return self._ending

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def finish(self) -> None:
        self.finished = True

    def abortConnection(self) -> None:
        self.aborted = True

    def leave(self) -> None:
        self._ending.errback(Failure(ConnectionError()))

    def names(self) -> list[bytes]:
        """The names of the events that were written."""
        return [event.split(b"\n")[0][7:] for event in self.written]


class SlowReaderTests(StreamCase):
    """Those who take less than there is."""

    def setUp(self) -> None:
        super().setUp()
        self.report()
        self.stream = self.streams.agents
        self.request: Any = _Request()
        self.stream.watch(self.request)

    def change(self, times: int = 1) -> None:
        """So many changes, each worth an event."""
        for _ in range(times):
            self.admission.drain("a1", not self.agents()[0]["draining"])
            self.turn(0.1)

    def test_interface(self) -> None:
        """What is registered as a producer is one."""
        self.assertTrue(verifyObject(IPushProducer, self.request.producer))

    def test_skips(self) -> None:
        """It is sent nothing while it has enough, and then everything as it is then, once."""
        self.change(2)
        self.request.producer.pauseProducing()
        self.change(101)
        self.turn(2 * KEEP_ALIVE)
        self.assertEqual(self.request.names(), [b"snapshot", b"changed", b"changed"])
        self.request.producer.resumeProducing()
        self.assertEqual(self.request.names()[3:], [b"snapshot"])
        self.assertIn(b'"draining":true', self.request.written[-1])
        self.change()
        self.assertEqual(self.request.names()[4:], [b"changed"])

    def test_missed_nothing(self) -> None:
        """When nothing has happened meanwhile nothing is sent."""
        self.request.producer.pauseProducing()
        self.turn(1.0)
        self.request.producer.resumeProducing()
        self.assertEqual(self.request.names(), [b"snapshot"])

    def test_nobody_watches(self) -> None:
        """Nothing is looked at when the last has gone; who comes later gets what is true then."""
        other: Any = _Request()
        self.stream.watch(other)
        self.request.leave()
        self.assertTrue(self.ticks())
        other.leave()
        self.assertFalse(self.ticks())
        self.admission.leave("a1")
        last: Any = _Request()
        self.stream.watch(last)
        self.assertEqual(last.written, [b'event: snapshot\ndata: {"agents":[]}\n\n'])
        self.assertTrue(self.ticks())

    def ticks(self) -> bool:
        """Whether it will look again."""
        return self.stream._tick in [call.func for call in self.clock.getDelayedCalls()]

    def test_others(self) -> None:
        """Others don't wait for it."""
        other: Any = _Request()
        self.stream.watch(other)
        self.request.producer.pauseProducing()
        self.change(3)
        self.assertEqual(other.names(), [b"snapshot"] + [b"changed"] * 3)

    def test_stop(self) -> None:
        """A stop cuts it, and lets others read what they were sent."""
        other: Any = _Request()
        self.stream.watch(other)
        self.request.producer.pauseProducing()
        self.stream.stop()
        self.assertEqual((self.request.aborted, self.request.finished), (True, False))
        self.assertEqual((other.aborted, other.finished), (False, True))
        self.assertIsNone(other.producer)

    def test_gone(self) -> None:
        """It may go at any time."""
        self.request.producer.stopProducing()
        self.change()
        self.request.leave()
        self.assertEqual(self.request.names(), [b"snapshot"])
        self.assertFalse(self.ticks())
