"""`paddler.terminal.client`: followed streams, lost and found, in front of a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.client import WAITS, Watch
from paddler.terminal.events import EventReader, LineReader
from paddler.terminal.web import Web
from paddler.values import Address
from tests.terminal_scenes import NOW
from tests.terminal_server import ScriptedManagement, run_bounded, until

__all__ = ["EventTests", "FollowTests", "LostTests", "SteerTests"]

_AGENTS = "/api/v1/agents/stream"
_QUEUE = "/api/v1/buffered_requests/stream"


def _agent(agent_id: str, **fields: Any) -> dict[str, Any]:
    return {"agent_id": agent_id, "agent_name": f"name of {agent_id}", "state": "ready", **fields}


class _Watching:
    """A watch on a server, and the times it waited for."""

    def __init__(self, address: Address, token: str | None = None) -> None:
        self.changes = 0
        self.time = NOW
        #: Seconds waited between tries; the time between looks is not among them.
        self.waited: list[float] = []
        web = Web(address, token)
        self.watch = Watch(web, token is not None, self._changed, self._clock, self._sleep)

    def _changed(self) -> None:
        self.changes += 1

    def _clock(self) -> float:
        return self.time

    async def _sleep(self, seconds: float) -> None:
        if seconds not in WAITS:
            await asyncio.sleep(3600)
        self.waited.append(seconds)
        await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Watch]:
        """Follow, until this is left."""
        task = asyncio.ensure_future(self.watch.run())
        try:
            yield self.watch
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class EventTests(SynchronousTestCase):
    """Lines and events out of bytes."""

    def events(self, data: bytes, size: int) -> list[tuple[str, bytes]]:
        """What is read when it comes in pieces of this size."""
        lines, reader, found = LineReader(), EventReader(), []
        for start in range(0, len(data), size):
            for line in lines.feed(data[start : start + size]):
                event = reader.feed(line)
                found += [] if event is None else [event]
        return found

    def test_pieces(self) -> None:
        """However it is cut, the same events come out of it."""
        data = (
            b": comment\r\n\r\nevent: snapshot\r\ndata: {}\r\n\r\n"
            b"data:one\ndata: two\nid: 7\n\nevent: nothing\n\ndata: unfinished\n"
        )
        for size in (1, 2, 3, 7, 1000):
            self.assertEqual(
                self.events(data, size), [("snapshot", b"{}"), ("message", b"one\ntwo")]
            )


class FollowTests(SynchronousTestCase):
    """While the connection holds."""

    def test_all_of_it(self) -> None:
        """Agents, changes, leavings, the queue, the past and the balancer arrive."""

        async def follow() -> None:
            async with ScriptedManagement().serving() as server:
                server.first[_AGENTS] = {"agents": [_agent("a", new_field=1), _agent("b")]}
                server.answers["/api/v1/history"] = {
                    "points": [{"time": NOW, "requests": 5, "ttfb_p50": None, "errors": {"504": 1}}]
                }
                async with _Watching(server.address).running() as watch:
                    await until(lambda: watch.link.live and watch.fleet.history)
                    self.assertEqual(list(watch.fleet.agents), ["a", "b"])
                    await until(lambda: server.following() == 2 and watch.fleet.balancer)
                    changed = {"changed": [_agent("b", state="full"), _agent("c")], "left": ["a"]}
                    server.push(_AGENTS, "changes", changed)
                    server.push(_QUEUE, "changes", {"requests_waiting": 3, "limit": 10})
                    await until(lambda: watch.fleet.queue.requests_waiting == 3)
                    await until(lambda: "c" in watch.fleet.agents)
                    self.assertEqual(sorted(watch.fleet.agents), ["b", "c"])
                    self.assertEqual(watch.fleet.agents["b"].state, "full")
                    self.assertEqual(watch.fleet.history[0].errors, {"504": 1})
                    assert watch.fleet.balancer is not None
                    self.assertEqual(watch.fleet.balancer.version, "1.0.0")

        run_bounded(follow())

    def test_large(self) -> None:
        """A thousand agents in one line are no trouble."""

        async def follow() -> None:
            async with ScriptedManagement().serving() as server:
                many = [_agent(f"id{n}", models=["m" * 300]) for n in range(1000)]
                server.first[_AGENTS] = {"agents": many}
                async with _Watching(server.address).running() as watch:
                    await until(lambda: len(watch.fleet.agents) == 1000)
                    self.assertTrue(watch.link.live)

        run_bounded(follow())

    def test_clock(self) -> None:
        """A balancer whose clock is off is followed by its own time."""

        async def follow() -> None:
            for ahead, expected in ((100, 100.5), (1, 0.0)):
                server = ScriptedManagement()
                server.date = formatdate(NOW + ahead, usegmt=True)
                async with server.serving():
                    watching = _Watching(server.address)
                    async with watching.running() as watch:
                        await until(lambda watch=watch: watch.link.live)
                        self.assertEqual(watch.now(), NOW + expected)

        run_bounded(follow())


class LostTests(SynchronousTestCase):
    """Without a connection."""

    def test_found_again(self) -> None:
        """A lost connection is told at once, tried again, and found; the time stands still."""

        async def lose() -> None:
            server = ScriptedManagement()
            async with server.serving():
                server.first[_AGENTS] = {"agents": [_agent("a")]}
                watching = _Watching(server.address)
                async with watching.running() as watch:
                    await until(lambda: watch.link.live)
                    server.first[_AGENTS] = {"agents": [_agent("b")]}
                    watching.time += 60
                    server.drop()
                    await until(lambda: watching.waited)
                    await until(lambda: watch.link.live and "b" in watch.fleet.agents)
                    self.assertEqual(list(watch.fleet.agents), ["b"])
                    self.assertEqual(watching.waited, [1.0])

        run_bounded(lose())

    def test_waits(self) -> None:
        """Tries are 1, 2, 4, 8 and then always 8 seconds apart; what was known is kept."""

        async def lose() -> None:
            server = ScriptedManagement()
            watching = None
            async with server.serving():
                server.first[_AGENTS] = {"agents": [_agent("a")]}
                watching = _Watching(server.address)
                task = asyncio.ensure_future(watching.watch.run())
                await until(lambda: watching.watch.link.live)
            watch = watching.watch
            watching.time += 60
            await until(lambda: len(watching.waited) > 5)
            self.assertEqual(watching.waited[:6], [1.0, 2.0, 4.0, 8.0, 8.0, 8.0])
            self.assertEqual((watch.link.live, watch.link.ever), (False, True))
            self.assertEqual(watch.link.problem, "connection refused")
            self.assertEqual(list(watch.fleet.agents), ["a"])
            self.assertEqual(watch.now(), NOW)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        run_bounded(lose())

    def test_never(self) -> None:
        """At the start it is said why there is none."""

        async def refuse() -> None:
            server = ScriptedManagement()
            async with server.serving():
                pass
            for host, problem in (
                ("127.0.0.1", "connection refused"),
                ("localhost", "connection refused"),
            ):
                watching = _Watching(Address(host, server.address.port))
                async with watching.running() as watch:
                    await until(lambda watch=watch: watch.link.problem)
                    self.assertEqual(watch.link.problem, problem)
                    self.assertFalse(watch.link.ever)

        run_bounded(refuse())

    def test_token(self) -> None:
        """A token that is missing is told from one that is wrong; the right one is let in."""

        async def refuse() -> None:
            async with ScriptedManagement().serving() as server:
                server.token = "secret"
                for token, refused in ((None, "no token"), ("other", "wrong token")):
                    async with _Watching(server.address, token).running() as watch:
                        await until(lambda watch=watch: watch.link.problem)
                        self.assertEqual(watch.link.refused, refused)
                        self.assertEqual(watch.link.problem, "401 a token is needed")
                async with _Watching(server.address, "secret").running() as watch:
                    await until(lambda: watch.link.live)
                    self.assertEqual(watch.link.refused, "")

        run_bounded(refuse())

    def test_nonsense(self) -> None:
        """What is no HTTP, no JSON or another thing is said, and tried again."""

        async def confuse() -> None:
            for answer, problem in (
                (b"!SSH-2.0-OpenSSH_9\r\n", "what answers there speaks no HTTP"),
                (b"!" * 70000, "what answers there speaks no HTTP"),
                (b"{", "what answers there is no balancer that this version understands"),
                ({"points": 7}, "what answers there is no balancer that this version understands"),
            ):
                async with ScriptedManagement().serving() as server:
                    server.answers["/api/v1/history"] = answer
                    async with _Watching(server.address).running() as watch:
                        await until(lambda watch=watch: watch.link.problem)
                        self.assertEqual(watch.link.problem, problem)

        run_bounded(confuse())


class SteerTests(SynchronousTestCase):
    """Draining and resuming."""

    def test_steer(self) -> None:
        """It is one POST; what goes wrong is said."""

        async def steer() -> None:
            async with ScriptedManagement().serving() as server:
                watch = _Watching(server.address).watch
                self.assertEqual(await watch.steer("a1", "drain"), "")
                self.assertEqual(server.asked, [("POST", "/api/v1/agents/a1/drain")])
                server.token = "secret"
                self.assertEqual(await watch.steer("a1", "resume"), "401 a token is needed")
            self.assertEqual(await watch.steer("a1", "resume"), "connection refused")

        run_bounded(steer())
