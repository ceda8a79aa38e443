"""A real Prometheus that scrapes the balancer, and what its own tool says of the text.

Debian's package `prometheus` has both.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from paddler.balancer.plugin import Options, makeService
from paddler.children import tied_to_parent
from paddler.testing import ScriptedServer
from paddler.values import Address, Report
from tests.llamas import fetch, free_port, until

__all__ = ["PrometheusTests"]

reactor = cast(Any, _reactor)

_TOKEN = "s3cret-token"
_CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: paddler
    authorization: {{credentials: {token}}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def _program(name: str) -> str:
    """Where a program is.

    :raises SkipTest: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise SkipTest(f"no {name}: it is in Debian's package prometheus")
    return found


class _Child(ProcessProtocol):
    """What a child process says, and how it ends."""

    def __init__(self, given: bytes = b"") -> None:
        self.given = given
        self.said = b""
        self.ended: Deferred[int] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.given)  # type: ignore[union-attr]
        self.transport.closeStdin()  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        self.said += data

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(getattr(reason.value, "exitCode", None) or 0)


class PrometheusTests(TestCase):
    """A balancer with some agents and some requests behind it."""

    timeout = 120

    async def setUp(self) -> None:
        self.prometheus, self.promtool = _program("prometheus"), _program("promtool")
        self.management, self.public = free_port(), free_port()
        token = Path(self.mktemp())
        token.write_text(_TOKEN)
        options = Options()
        options.environment = {}
        options.parseOptions(
            [
                f"--management-port={self.management}",
                f"--reverseproxy-port={self.public}",
                f"--management-token-file={token}",
            ]
        )
        service: Any = makeService(options, reactor)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        self.admission = service.admission
        server = ScriptedServer(reactor)
        await server.start()
        self.addCleanup(server.stop)
        server.on_request = lambda call: call.answer(200, b"yes")
        address = Address("127.0.0.1", server.port)
        self.admission.report("one", Report('the "first"', address, 3600.0, 4))
        for _ in range(3):
            self.assertEqual((await fetch(self.public, "/completion", b"{}"))[0], 200)

    def spawn(self, *words: str, given: bytes = b"") -> _Child:
        """Run a program; it ends with the test."""
        child = _Child(given)
        command = [*tied_to_parent(), *words]
        process = reactor.spawnProcess(child, command[0], command, env=None)

        async def end() -> None:
            if process.pid:
                process.signalProcess("KILL")
            await until(lambda: child.ended.called)

        self.addCleanup(end)
        return child

    async def scrape(self) -> bytes:
        """The text, as it is served."""
        code, text = await fetch(
            self.management, "/metrics", headers={"Authorization": f"Bearer {_TOKEN}"}
        )
        self.assertEqual(code, 200)
        return text

    async def query(self, port: int, query: str) -> dict[tuple[str, ...], float]:
        """What Prometheus knows: labels' values but for its own, and the value."""
        code, answer = await fetch(port, f"/api/v1/query?query={quote(query)}")
        self.assertEqual(code, 200, answer)
        return {
            tuple(
                v for n, v in each["metric"].items() if n not in ("__name__", "instance", "job")
            ): float(each["value"][1])
            for each in json.loads(answer)["data"]["result"]
        }

    async def test_promtool(self) -> None:
        """Its own tool finds nothing to complain of."""
        child = self.spawn(self.promtool, "check", "metrics", given=await self.scrape())
        self.assertEqual((await child.ended, child.said), (0, b""))

    async def test_scraped(self) -> None:
        """It reads all of it, again and again."""
        port = free_port()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        config = folder / "prometheus.yml"
        config.write_text(_CONFIG.format(token=_TOKEN, port=self.management))
        child = self.spawn(
            self.prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        )

        async def ready() -> bool:
            if child.ended.called:
                raise AssertionError(child.said.decode(errors="replace"))
            try:
                return (await fetch(port, "/-/ready"))[0] == 200
            except ConnectError:  # it is still starting
                return False

        await until(ready, within=60.0, what="Prometheus")

        async def shown(query: str, wanted: dict[tuple[str, ...], float]) -> None:
            found: dict[tuple[str, ...], float] = {}

            async def same() -> bool:
                found.clear()
                found.update(await self.query(port, query))
                return found == wanted

            try:
                await until(same, within=20.0, every=0.1)
            except AssertionError:
                self.assertEqual(found, wanted, query)

        await shown("up", {(): 1.0})
        await shown("paddler_requests_total", {('the "first"', "200"): 3.0})
        await shown("paddler_slots_total", {(): 4.0})
        await shown("paddler_agents", {(): 1.0})
        await shown("paddler_request_duration_seconds_count", {(): 3.0})
        await shown('paddler_upstreams{state="ready"}', {("ready",): 1.0})
        self.admission.report("two", Report("two", Address("127.0.0.1", 1), 3600.0, 2))
        await shown("paddler_slots_total", {(): 6.0})
        for agent in ("one", "two"):
            self.admission.leave(agent)
        await shown("paddler_agents", {(): 0.0})
        # Gone from the text, so from what is asked for now.
        await shown("paddler_requests_total", {})
        # Not one scrape in all this time has failed.
        await shown("min_over_time(up[1m])", {(): 1.0})
