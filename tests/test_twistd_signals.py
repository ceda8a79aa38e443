"""SIGHUP and SIGUSR1, by which daemons are told of logs, and terminals tell of their end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError

from paddler.testing import Call, ScriptedServer
from tests.llamas import fetch, until
from tests.proxying import Client, post, reactor
from tests.twistds import TWISTD, TwistdCase

__all__ = ["HangupTests", "RotationTests"]

IGNORED = "SIGHUP: no file is read again and none reopened"


class HangupTests(TwistdCase):
    """SIGHUP while an answer runs."""

    async def answer_begun(self) -> tuple[Call, Client]:
        """A client that has the beginning of an answer, and the server's side of it."""
        server = ScriptedServer(reactor)
        await server.start()
        self.addCleanup(server.stop)
        server.on_request = lambda call: None
        await self.healthy()
        await self.report(server.port)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.public)
        client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        client.send(post("/completion"))
        await until(lambda: server.calls, what="the request")
        call = server.calls[0]
        call.start_stream()
        call.chunk(b"data: 1\n\n")
        await client.until(b"data: 1")
        return call, client

    async def assert_goes_on(self, call: Call, client: Client) -> None:
        """The answer comes to its end."""
        call.chunk(b"data: 2\n\n")
        call.chunk(b"")
        await client.until(b"data: 2\n\n\r\n0\r\n\r\n")

    async def test_daemon(self) -> None:
        """A daemon says that there is nothing to do, and goes on."""
        for words in ((), ("--log-format=json",)):
            daemon = await self.daemon(*self.balancer_words(*words))
            begun = await self.answer_begun()
            daemon.signal(signal.SIGHUP)
            await self.logs(IGNORED)
            await self.assert_goes_on(*begun)
            log = self.log()
            self.assertEqual(log.count(IGNORED), 1)
            await self.end(daemon)
            self.assertIn("Server Shut Down", self.log())
            (self.folder / "log").unlink()

    async def test_agents_daemon(self) -> None:
        """So does an agent."""
        llama = await self.llama()
        balancer = self.start(*TWISTD, "-n", "--pidfile=", *self.balancer_words())
        daemon = await self.daemon(*self.agent_words(llama))
        await self.has_slots(balancer)
        daemon.signal(signal.SIGHUP)
        await self.logs(IGNORED)
        await self.chat()
        self.assertTrue(daemon.runs)
        await self.end(daemon)
        await self.stop(balancer)

    def paddler(self) -> tuple[str, ...]:
        """The command in the foreground."""
        return (sys.executable, "-m", "paddler", "balancer", *self.balancer_words()[1:])

    def twistd(self) -> tuple[str, ...]:
        """twistd's."""
        return (*TWISTD, "-n", "--pidfile=", *self.balancer_words())

    async def check_without_a_terminal(self, words: Sequence[str]) -> None:
        """SIGHUP is a line in its log and no more."""
        process = self.start(*words)
        begun = await self.answer_begun()
        process.signal(signal.SIGHUP)
        await until(lambda: IGNORED in process.output, within=20, what="the line")
        await self.assert_goes_on(*begun)
        await self.stop(process)

    async def test_paddler_without_a_terminal(self) -> None:
        """In a container, for instance, the foreground is no other than a daemon."""
        await self.check_without_a_terminal(self.paddler())

    async def test_twistd_without_a_terminal(self) -> None:
        """The same under `twistd -n`."""
        await self.check_without_a_terminal(self.twistd())

    async def check_terminal_is_closed(self, words: Sequence[str]) -> None:
        """It stops listening, has the answer come to its end, and ends well."""
        process = self.start(*words, on_terminal=True)
        begun = await self.answer_begun()
        process.close_terminal()
        await until(self.refuses, within=20, what="the stop")
        await self.assert_goes_on(*begun)
        await process.ended()
        self.assertEqual(process.exit_code, 0, process.output)

    async def refuses(self) -> bool:
        """Whether the balancer takes no more connections."""
        try:
            await fetch(self.public, "/health")
        except ConnectionRefusedError:
            return True
        return False

    async def test_paddlers_terminal_is_closed(self) -> None:
        """A closed terminal stops what runs on it."""
        await self.check_terminal_is_closed(self.paddler())

    async def test_twistds_terminal_is_closed(self) -> None:
        """The same under `twistd -n`."""
        await self.check_terminal_is_closed(self.twistd())

    async def test_ignored(self) -> None:
        """Where it is ignored, as under nohup, it stays so."""
        nohup = ("/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh")
        process = self.start(*nohup, *self.twistd())
        await self.healthy()
        process.signal(signal.SIGHUP)
        await self.stop(process)
        self.assertNotIn("SIGHUP", process.output)


class RotationTests(TwistdCase):
    """SIGUSR1, by which twistd begins a new log."""

    async def test_no_file(self) -> None:
        """Where the log is no file it ends nothing, whoever sends it."""
        logger = "--logger=twisted.logger.STDLibLogObserver"
        for twistd, own in (([logger], []), ([], []), ([], ["--log-format=json"])):
            words = (*twistd, *self.balancer_words(*own))
            process = self.start(*TWISTD, "-n", "--pidfile=", *words)
            await self.healthy()
            process.signal(signal.SIGUSR1)
            await self.healthy()
            await self.stop(process)

    async def check(self, *words: str) -> tuple[str, str]:
        """The old log and the new one, each of which has one of two requests."""
        options = ("--access-log", "--request-buffer-size=0", *words)
        daemon = await self.daemon(*self.balancer_words(*options))
        await self.healthy()
        await fetch(self.public, "/completion", b"{}", {"X-Request-Id": "before"})
        await self.logs("before POST /completion 429")
        daemon.signal(signal.SIGUSR1)
        await until((self.folder / "log.1").exists, within=20, what="the new log")
        old = (self.folder / "log.1").read_text()
        await until((self.folder / "log").exists, what="the log")
        await fetch(self.public, "/completion", b"{}", {"X-Request-Id": "after"})
        await self.logs("after POST /completion 429")
        await self.end(daemon)
        self.assertEqual((self.folder / "log.1").read_text(), old)
        self.assertNotIn("after", old)
        self.assertNotIn("before", self.log())
        return old, self.log()

    async def test_text(self) -> None:
        """The log goes on in a new file."""
        await self.check()

    async def test_json(self) -> None:
        """So it does as JSON, of which no line is torn."""
        for text in await self.check("--log-format=json"):
            lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
            self.assertTrue(all(line["event"] for line in lines))
