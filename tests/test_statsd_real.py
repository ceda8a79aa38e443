"""Reports to the real StatsD daemon, which `make test` installs where npm is to be had."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import DatagramProtocol, ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from paddler.balancer.plugin import BalancerService, Options, makeService
from paddler.children import tied_to_parent
from paddler.values import Address, Report
from tests.commands import ROOT
from tests.llamas import free_port, until
from tests.proxying import Client, reactor

__all__ = ["RealStatsdTests"]

_PLACES = (Path(sys.prefix) / "statsd", ROOT / ".venv" / "statsd")
_NAMES = "slots_idle slots_processing slots_total requests_buffered requests_waiting agents".split()


def _daemon() -> list[str]:
    """The command that runs it, without its configuration.

    :raises SkipTest: it is not installed.
    """
    node = shutil.which("node")
    for place in _PLACES:
        script = place / "node_modules" / "statsd" / "stats.js"
        if node and script.exists():
            return [node, str(script)]
    raise SkipTest("no StatsD daemon: `make test` installs it where npm is")


class _Child(ProcessProtocol):
    """Tells when it has ended, and what it said."""

    def __init__(self) -> None:
        self.said = b""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.said += data

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


class _Sink(DatagramProtocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.heard.append(datagram)


class RealStatsdTests(TestCase):
    """A balancer that reports to it."""

    timeout = 60

    async def start_daemon(self, port: int) -> None:
        """The daemon; it is asked on `self.management`."""
        command = _daemon()
        self.management = free_port()
        config = Path(self.mktemp()).absolute()
        words = {
            "port": port,
            "address": "127.0.0.1",
            "mgmt_address": "127.0.0.1",
            "mgmt_port": self.management,
            "flushInterval": 300,
            "backends": [],
        }
        config.write_text(json.dumps(words))
        child = _Child()
        command = [*tied_to_parent(), *command, str(config)]
        process = reactor.spawnProcess(child, command[0], command, env=None)

        async def end() -> None:
            if process.pid:
                process.signalProcess("KILL")
            await child.ended

        self.addCleanup(end)
        await self.asked("health")

    async def asked(self, command: str) -> str:
        """What the daemon answers on its management port."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.management)
        for _ in range(200):
            try:
                client = await connectProtocol(endpoint, Client())
            except ConnectError:  # it is still starting
                await deferLater(reactor, 0.05)
                continue
            client.send(command.encode() + b"\n")
            wanted = b"up" if command == "health" else b"END"
            answer = await client.until(wanted)
            client.leave()
            return answer.decode()
        self.fail("the StatsD daemon does not answer")

    async def gauges(self, prefix: str = "paddler") -> dict[str, int]:
        """Ours, by their names without the prefix."""
        answer = await self.asked("gauges")
        found: dict[str, Any] = ast.literal_eval(re.sub(r"(?m)^END.*", "", answer) or "{}")
        mine = {n: v for n, v in found.items() if n.startswith(f"{prefix}.")}
        return {name.removeprefix(f"{prefix}."): value for name, value in mine.items()}

    def balancer(self, port: int, *words: str, interval: str = "100ms") -> BalancerService:
        """One that reports often."""
        options = Options()
        options.environment = {}
        options.parseOptions(
            [
                "--management-port=0",
                "--reverseproxy-port=0",
                "--statsd-enable=true",
                f"--statsd-port={port}",
                f"--statsd-reporting-interval={interval}",
                *words,
            ]
        )
        service: Any = makeService(options, reactor)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service  # type: ignore[no-any-return]

    async def until_gauges(self, **wanted: int) -> None:
        """Wait until the daemon shows these."""
        shown: dict[str, int] = {}
        for _ in range(100):
            shown = await self.gauges()
            if wanted.items() <= shown.items():
                self.assertEqual(sorted(shown), sorted(_NAMES))
                return
            await deferLater(reactor, 0.05)
        self.fail(f"{wanted} never came, but {shown}")

    async def test_gauges(self) -> None:
        """The daemon shows the fleet as it is, from nobody to nobody."""
        port = free_port()
        await self.start_daemon(port)
        service = self.balancer(port)
        admission = service.admission
        await self.until_gauges(**dict.fromkeys(_NAMES, 0))
        admission.report("one", Report("one", Address("127.0.0.1", 1), 60.0, 3, slots_busy=1))
        await self.until_gauges(slots_idle=2, slots_processing=1, slots_total=3, agents=1)
        leases = [await admission.acquire(admission.waiter(1)) for _ in range(2)]
        waiting = admission.acquire(admission.waiter(1))
        await self.until_gauges(slots_idle=0, requests_waiting=1, requests_buffered=1)
        admission.release(leases[0])
        leases[0] = await waiting
        await self.until_gauges(slots_processing=3, requests_waiting=0, requests_buffered=0)
        for lease in leases:
            admission.release(lease)
        admission.leave("one")
        await self.until_gauges(**dict.fromkeys(_NAMES, 0))

    async def test_last_report(self) -> None:
        """What has changed since the last report is reported at a stop."""
        port = free_port()
        await self.start_daemon(port)
        service = self.balancer(port, "--statsd-prefix=a.b", interval="1h")
        service.admission.report("one", Report("one", Address("127.0.0.1", 1), 60.0, 7))
        await service.stopService()
        for _ in range(100):
            shown = await self.gauges("a.b")
            if shown.get("slots_total"):
                break
            await deferLater(reactor, 0.05)
        self.assertEqual((shown["slots_total"], shown["agents"]), (7, 1))

    async def test_nobody_listens(self) -> None:
        """Reports to a port that nobody listens on do no harm, and arrive once somebody does."""
        port = free_port()
        service = self.balancer(port)
        await deferLater(reactor, 0.5)
        self.assertTrue(service.running)
        sink = _Sink()
        listening = reactor.listenUDP(port, sink, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        await until(lambda: len(sink.heard) >= 2)
        self.assertIn(b"paddler.agents:0|g", sink.heard[0].split(b"\n"))

    async def test_name(self) -> None:
        """A name is looked up by the system."""
        sink = _Sink()
        listening = reactor.listenUDP(0, sink, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.balancer(listening.getHost().port, "--statsd-host=localhost")
        await until(lambda: bool(sink.heard), what="a report")
        self.assertEqual(len(sink.heard[0].split(b"\n")), len(_NAMES))

    async def test_ipv6(self) -> None:
        """An address of IPv6 is reported to."""
        sink = _Sink()
        try:
            listening = reactor.listenUDP(0, sink, interface="::1")
        except CannotListenError:
            raise SkipTest("this machine has no IPv6") from None
        self.addCleanup(listening.stopListening)
        self.balancer(listening.getHost().port, "--statsd-host=[::1]")
        await until(lambda: bool(sink.heard), what="a report")
        self.assertEqual(len(sink.heard[0].split(b"\n")), len(_NAMES))
