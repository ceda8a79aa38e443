"""`paddler.terminal.client`: a balancer in memory is watched, lost and found; so are others."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError

from paddler.balancer.history import History
from paddler.balancer.streams import KEEP_ALIVE
from paddler.terminal.client import WAITS
from paddler.terminal.events import PATIENCE, SILENCE, STRANGE
from paddler.values import Address
from tests.managing import REPORT, STARTED
from tests.terminal_watching import Mute, Scripted, WatchCase

__all__ = ["ForeignTests", "LostTests", "SilentTests", "SteerTests", "WatchTests"]


class WatchTests(WatchCase):
    """While the connection holds."""

    def test_all_of_it(self) -> None:
        """Agents, what changes of them, who leaves, who waits, and the balancer itself arrive."""
        self.report("a1", REPORT)
        watching = self.watching()
        watch = watching.watch
        self.assertTrue(watch.link.live)
        self.assertEqual([a.agent_name for a in watch.fleet.agents.values()], ["one"])
        self.assertEqual(watch.fleet.agents["a1"].foreign_busy, 1)
        assert watch.fleet.balancer is not None
        self.assertEqual(watch.fleet.balancer.request_buffer_timeout, 60.0)
        self.assertEqual(watch.fleet.queue.limit, 10)
        before = watching.changes
        two = attrs.evolve(REPORT, agent_name="two", external=Address("10.0.0.2", 8088))
        self.report("a2", attrs.evolve(two, slots_total=1, slots_busy=1))
        self.ask("DELETE", "/api/v1/agents/a1")
        self.acquire()
        watching.later(0.5)
        self.assertEqual(list(watch.fleet.agents), ["a2"])
        self.assertEqual(watch.fleet.agents["a2"].state, "full")
        self.assertEqual(watch.fleet.queue.requests_waiting, 1)
        self.assertGreater(watch.fleet.oldest_wait(watch.now()), 0.0)
        self.assertGreater(watching.changes, before)

    def look(self, now: float, processing: int) -> None:
        """Have the history look at the fleet."""
        self.history.look(now, processing=processing, total=4, waiting=0, oldest_wait=0.0)

    def test_history(self) -> None:
        """The past is asked for every five seconds; what a restart forgot is kept."""
        for ago, processing in ((10, 1), (5, 2), (0, 0)):
            self.look(STARTED - ago, processing)
        watching = self.watching()
        history = watching.watch.fleet.history
        self.assertEqual([p.slots_processing for p in history.points], [1.0, 2.0])
        self.history = History()
        self.restart()
        for ahead, processing in ((10, 3), (15, 0)):
            self.look(STARTED + ahead, processing)
        watching.later(6.0)
        history = watching.watch.fleet.history
        self.assertEqual([p.slots_processing for p in history.points], [1.0, 2.0, 3.0])
        self.assertEqual(history.column("slots_processing", 1)[-5:], [1.0, 2.0, None, None, 3.0])

    def test_newer_balancer(self) -> None:
        """What this version knows nothing of is no matter."""
        other = Scripted()
        other.stream("agents", {"agents": [{"agent_id": "a", "news": 1, "state": "new"}]})
        self.line.lead_to(other)
        watch = self.watching().watch
        self.assertEqual(watch.fleet.agents["a"].state, "new")

    def test_clock(self) -> None:
        """A balancer whose clock is off is followed by its own time."""
        for ahead, expected in ((100.0, 100.5), (1.0, 0.0)):
            other = Scripted()
            other.stream("agents", {"agents": []}, date=STARTED + ahead)
            self.line.lead_to(other)
            watch = self.watching().watch
            self.assertTrue(watch.link.live)
            self.assertEqual(watch.now() - self.clock.seconds(), expected)


class LostTests(WatchCase):
    """Without a connection."""

    def test_found_again(self) -> None:
        """A lost connection is told at once and found a second later; the time stands still."""
        self.report("a1", REPORT)
        watching = self.watching()
        watch = watching.watch
        self.clock.advance(1.0)
        heard = watch.now()
        self.streams.stop()
        watching.settle()
        self.assertEqual((watch.link.live, watch.link.ever), (False, True))
        self.assertEqual(watch.link.problem, "the balancer ended the stream")
        self.assertEqual(watch.link.sentence(self.clock.seconds())[:18], "Connection lost 0 ")
        self.assertEqual(list(watch.fleet.agents), ["a1"])
        self.clock.advance(0.9)
        self.assertLessEqual(watch.now(), heard)
        self.ask("DELETE", "/api/v1/agents/a1")
        self.restart()
        watching.later(0.5)
        self.assertTrue(watch.link.live)
        self.assertEqual(list(watch.fleet.agents), [])

    def test_waits(self) -> None:
        """Tries are 1, 2, 4, 8 and then always 8 seconds apart, and 1 again after a good one."""
        watching = self.watching()
        self.line.error = ConnectionRefusedError()
        self.streams.stop()
        watching.settle()
        waits = []
        for _ in range(6):
            link = watching.watch.link
            waits.append(link.retry_at - self.clock.seconds())
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [*WAITS, WAITS[-1], WAITS[-1]])
        self.assertEqual(watching.watch.link.problem, "it refuses connections")
        self.line.error = None
        self.restart()
        watching.later(8.0)
        self.assertTrue(watching.watch.link.live)
        self.streams.stop()
        watching.settle()
        self.assertEqual(watching.watch.link.retry_at - self.clock.seconds(), 1.0)

    def test_never(self) -> None:
        """At the start it is said why there is none."""
        for error, problem in (
            (ConnectionRefusedError(), "it refuses connections"),
            (DNSLookupError("no address found for the name x"), "no address found for the name x"),
        ):
            self.line.error = error
            link = self.watching().watch.link
            self.assertEqual((link.live, link.ever, link.problem), (False, False, problem))

    def test_token(self) -> None:
        """A token that is missing is told from one that is wrong; the right one is let in."""
        self.serve(token="secret")
        self.line.lead_to(self.resource)
        for token, refused in ((None, "no token"), ("other", "wrong token")):
            link = self.watching(token).watch.link
            self.assertEqual((link.live, link.refused), (False, refused))
            self.assertIn("it answers 401", link.problem)
        self.assertTrue(self.watching("secret").watch.link.live)


class SilentTests(WatchCase):
    """Nobody says that there is nobody."""

    def test_no_answer(self) -> None:
        """A server that takes the connection and says nothing is given up soon."""
        self.line.lead_to(Mute())
        watching = self.watching()
        watching.later(PATIENCE - 0.5)
        self.assertTrue(watching.watch.link.fresh)
        watching.later(0.5)
        self.assertEqual(watching.watch.link.problem, f"nothing came for {PATIENCE:g} s")

    def test_half_open(self) -> None:
        """A stream that is open and silent is lost, though all else is answered."""
        other = Scripted()
        other.stream("agents", {"agents": []})
        self.line.lead_to(other)
        watching = self.watching()
        watching.later(SILENCE - 0.5)
        self.assertTrue(watching.watch.link.live)
        watching.later(0.5)
        link = watching.watch.link
        self.assertEqual((link.live, link.problem), (False, f"nothing came for {SILENCE:g} s"))

    def test_quiet(self) -> None:
        """A balancer where nothing happens keeps a stream alive."""
        self.assertLess(KEEP_ALIVE, SILENCE)
        watching = self.watching()
        watching.later(3 * SILENCE)
        self.assertTrue(watching.watch.link.live)


class ForeignTests(WatchCase):
    """Something else answers at that address."""

    def problem(self, **fields: Any) -> str:
        """What is said of a server that answers so."""
        self.line.lead_to(Scripted(**fields))
        watching = self.watching()
        watching.settle()
        self.assertFalse(watching.watch.link.live or watching.watch.link.ever)
        return watching.watch.link.problem

    def test_other_servers(self) -> None:
        """Pages, errors and redirects of others are said, and are none of a balancer's."""
        page = b"<!doctype html>\n<p>hello\n\n"
        said = b'{"error":{"message":"it is stopping"}}'
        for status, body, problem in (
            (200, page, STRANGE),
            (200, b"", STRANGE),
            (200, b'{"agents":7}', STRANGE),
            (404, page, "it answers 404 Not Found"),
            (302, b"", "it answers 302 Found"),
            (503, said, "it answers 503 it is stopping"),
            (403, b'{"error":"no"}', "it answers 403 Forbidden"),
            (599, b"\xff", "it answers 599"),
            (500, b"x" * 5_000_000, "its answer has more than 4194304 bytes"),
        ):
            self.assertEqual(self.problem(status=status, body=body), problem, (status, body[:20]))

    def test_other_events(self) -> None:
        """So are streams of something else."""
        for data, problem in (
            (b"{", STRANGE),
            (b'"\xff"', STRANGE),
            (b'{"agents":[{"agent_id":7}]}', STRANGE),
        ):
            body, kind = b"event: snapshot\ndata: %s\n\n" % data, "text/event-stream"
            self.assertEqual(self.problem(body=body, kind=kind), problem, data)
        body = b"data: {}\n\nevent: news\ndata: 7\n\n"
        ended = "the balancer ended the stream"
        self.assertEqual(self.problem(body=body, kind="text/event-stream"), ended)


class SteerTests(WatchCase):
    """Draining and resuming."""

    def test_steer(self) -> None:
        """It is done at once; what goes wrong is said."""
        self.report("a1", REPORT)
        watching = self.watching()
        for deed, draining in (("drain", True), ("resume", False)):
            steering = Deferred.fromCoroutine(watching.watch.steer("a1", deed))
            watching.settle()
            self.assertEqual(self.successResultOf(steering), "")
            self.assertEqual([a["draining"] for a in self.agents()], [draining])
        for agent_id, error, problem in (
            ("nobody", None, "it answers 404"),
            ("a1", ConnectionRefusedError(), "it refuses connections"),
        ):
            self.line.error = error
            steering = Deferred.fromCoroutine(watching.watch.steer(agent_id, "drain"))
            watching.settle()
            self.assertIn(problem, self.successResultOf(steering))
