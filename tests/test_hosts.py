"""Tests for paddler.hosts, in real processes: at their start, and while they run."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from paddler.llamaserver import free_port, free_ports
from paddler.values import Address, agent_id_for
from tests.commands import Finished, python
from tests.faults import full_port
from tests.llamas import fetch, until
from tests.metadata import Metadata
from tests.processes import PaddlerProcess
from tests.test_agent_real import Management

__all__ = ["AgentTests", "BalancerTests", "OffEC2Tests", "StartTests"]

reactor = cast(Any, _reactor)

_TWISTD = ("-c", "import sys; from twisted.scripts.twistd import run; run()")
_KEY = "aws:metadata:local-ipv4"

#: The agent's command line in Paddler's own README.
_README = (
    "agent --external-llamacpp-host aws:metadata:local-ipv4 --external-llamacpp-port {llama} "
    "--local-llamacpp-host 127.0.0.1 --local-llamacpp-port {llama} "
    "--management-host paddler_balancer.example.com --management-port {management}"
)

#: `paddler`, in a world whose names are all the loopback's.
_NAMES = """
import sys
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
class Names:
    def resolveHostName(self, receiver, name, *more, **named):
        receiver.resolutionBegan(None)
        if name == "paddler_balancer.example.com":
            receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", 0))
        receiver.resolutionComplete()
reactor.installNameResolver(Names())
from paddler.cli import main
main()
"""


def _endpoint(port: int) -> dict[str, str]:
    """The environment that says so."""
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port}"}


class OffEC2Tests(SynchronousTestCase):
    """Nobody tells anything: one line at the terminal, and the end."""

    def check(self, *runs: tuple[str, ...], **environment: str) -> None:
        """See that commands end, with a line about the option that each was given last."""

        def run(words: tuple[str, ...]) -> Finished:
            return python("-W", "error", *words, more={**_endpoint(port), **environment})

        port = free_port()
        says = f"the metadata service at http://127.0.0.1:{port}: it refuses connections; "
        says += "there is one on EC2 instances only\n"
        with ThreadPoolExecutor(4) as several:
            for words, ended in zip(runs, several.map(run, runs), strict=True):
                named = next(iter(environment), words[-1].partition("=")[0])
                self.assertEqual((ended.code, ended.out), (1, ""))
                self.assertEqual(ended.err, f"{named}: got '{_KEY}'; {says}")

    def test_foreground(self) -> None:
        """Each option of each command that takes a host."""
        self.check(
            *(
                ("-m", "paddler", command, f"--{option}={_KEY}")
                for command, option in (
                    ("agent", "external-llamacpp-host"),
                    ("agent", "local-llamacpp-host"),
                    ("agent", "management-host"),
                    ("balancer", "management-host"),
                    ("balancer", "reverseproxy-host"),
                    ("balancer", "statsd-host"),
                    ("dashboard", "management-host"),
                )
            )
        )

    def test_environment(self) -> None:
        """It is named as it was given."""
        self.check(("-m", "paddler", "agent"), PADDLER_MANAGEMENT_HOST=_KEY)

    def test_twistd(self) -> None:
        """Under twistd: in the foreground, and where it would become a daemon, leaving nothing."""
        folder = Path(self.mktemp())
        folder.mkdir()
        files = (f"--pidfile={folder / 'pid'}", f"--logfile={folder / 'log'}")
        self.check(
            *(
                (*_TWISTD, *how, command, f"--management-host={_KEY}")
                for command in ("paddler-agent", "paddler-balancer")
                for how in (("-n", "--pidfile="), files)
            )
        )
        self.assertEqual(list(folder.iterdir()), [])

    def test_forbidden(self) -> None:
        """Who has turned the SDKs' questions off has turned ours off."""
        ended = python(
            *("-m", "paddler", "agent", f"--management-host={_KEY}"),
            more={"AWS_EC2_METADATA_DISABLED": "true"},
        )
        self.assertEqual((ended.code, ended.out), (1, ""))
        self.assertRegex(ended.err, r"\AAWS_EC2_METADATA_DISABLED: got 'true'; [^\n]*\n\Z")


class MetadataCase(TestCase):
    """A metadata service that runs."""

    timeout = 60

    def setUp(self) -> None:
        self.metadata = Metadata()
        self.metadata.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.metadata.stop()))

    def run_python(self, *words: str) -> Deferred[Finished]:
        """Run a command to its end; this process serves meanwhile."""
        more = _endpoint(self.metadata.port)
        return deferToThread(python, *words, more=more)

    def started(self, *words: str, script: str | None = None) -> PaddlerProcess:
        """A process of Paddler's that runs."""
        process = PaddlerProcess(*words, more=_endpoint(self.metadata.port), script=script)
        process.start()
        self.addCleanup(process.kill)
        return process

    async def says(self, process: PaddlerProcess, what: str) -> None:
        """Wait until a process has said it."""
        await until(lambda: what in process.output, within=20, what=f"{what!r}")


class StartTests(MetadataCase):
    """What can come of asking at a start."""

    async def refusal(self, *words: str, port: int | None = None) -> str:
        """What the agent says when it can't start; `port` is where it asks."""
        more = _endpoint(port or self.metadata.port)
        paddler = ("-W", "error", "-m", "paddler")
        ended = await deferToThread(python, *paddler, "agent", *words, more=more)
        self.assertEqual((ended.code, ended.out), (1, ""))
        self.assertRegex(ended.err, r"\A[^\n]+\n\Z")
        return ended.err

    def nobody(self) -> list[str]:
        """Options with which an agent meets nobody."""
        llama, management = free_ports(2)
        return [f"--local-llamacpp-port={llama}", f"--management-port={management}"]

    async def test_unknown_key(self) -> None:
        """A key that is not there."""
        line = await self.refusal("--management-host=aws:metadata:public_ip")
        self.assertIn("--management-host: got 'aws:metadata:public_ip'; ", line)
        self.assertIn("the instance has no public_ip (404)", line)
        self.assertEqual(self.metadata.times("GET"), 1)

    async def test_secret(self) -> None:
        """What is no host is not shown."""
        key = "aws:metadata:iam/security-credentials/role"
        self.assertNotIn("s3cret", await self.refusal(f"--management-host={key}"))

    async def test_silence(self) -> None:
        """In a container the token does not come, and off EC2 not even a connection is made."""
        self.metadata.distance, self.metadata.token_required = 2, False
        key = f"--external-llamacpp-host={_KEY}"
        full = (await full_port(self)).getsockname()[1]
        asking = [Deferred.fromCoroutine(self.refusal(key, port=port)) for port in (None, full)]
        container, elsewhere = await gatherResults(asking, consumeErrors=True)
        self.assertIn("no answer within 2 s. On EC2 that is a container", container)
        self.assertIn("--http-put-response-hop-limit 2", container)
        self.assertEqual((self.metadata.times("PUT"), self.metadata.times("GET")), (3, 0))
        self.assertIn("no connection within 2 s; there is one on EC2 instances only", elsewhere)

    async def test_version_1(self) -> None:
        """With leave for it, version 1 serves where the token does not come."""
        self.metadata.distance, self.metadata.token_required = 2, False
        words = ("--aws-imdsv1=true", *self.nobody())
        agent = self.started("agent", f"--external-llamacpp-host={_KEY}", *words)
        await self.says(agent, "reaches at 127.0.0.1:")

    async def test_ctrl_c(self) -> None:
        """Who won't wait is not made to, and reads nothing of it."""
        self.metadata.distance = 2
        agent = self.started("agent", f"--external-llamacpp-host={_KEY}", *self.nobody())
        await until(lambda: self.metadata.times("PUT") == 1, within=20, what="a question")
        agent.signal(signal.SIGINT)
        await agent.ended()
        self.assertEqual((agent.exit_code, agent.output), (130, ""))

    async def test_dashboard(self) -> None:
        """The dashboard knows where to look, and then wants a terminal."""
        self.metadata.values["local-ipv4"] = "127.0.0.9"
        ended = await self.run_python("-m", "paddler", "dashboard", f"--management-host={_KEY}")
        self.assertEqual((ended.code, ended.out), (1, ""))
        self.assertIn("http://127.0.0.9:8085/api/v1/agents", ended.err)

    async def test_daemon(self) -> None:
        """A daemon is made with the host that was told, and asks on."""
        folder = Path(self.mktemp())
        folder.mkdir()
        files = [f"--pidfile={folder / 'pid'}", f"--logfile={folder / 'log'}"]
        words = ("paddler-agent", f"--external-llamacpp-host={_KEY}", *self.nobody())
        ended = await self.run_python(*_TWISTD, *files, *words)
        self.assertEqual((ended.code, ended.out, ended.err), (0, "", ""))
        watch = os.pidfd_open(int((folder / "pid").read_text()))
        self.addCleanup(os.close, watch)
        try:
            await until(lambda: self.metadata.times("GET") > 1, within=20)
        finally:
            signal.pidfd_send_signal(watch, signal.SIGTERM)
        await until(lambda: not (folder / "pid").exists(), within=20)
        log = (folder / "log").read_text()
        self.assertIn("reaches at 127.0.0.1:", log)
        self.assertNotIn("Traceback", log)
        self.assertNotIn("Main loop terminated", log.partition("reaches at")[0])


class AgentTests(MetadataCase):
    """An agent that runs."""

    def setUp(self) -> None:
        super().setUp()
        self.management = Management()
        self.management.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.management.stop()))
        self.llama = free_port()

    def told(self) -> list[tuple[str, str]]:
        """Which id has reported which host, without what was repeated."""
        ids = [
            path.rpartition("/")[2] for method, path in self.management.asked if method == "POST"
        ]
        hosts = [report.external.host for _, report in self.management.reports]
        return list(dict.fromkeys(zip(ids, hosts, strict=True)))

    async def test_readme(self) -> None:
        """The README's command line works as it is; the agent moves with its address."""
        words = _README.format(llama=self.llama, management=self.management.port)
        agent = self.started(*words.split(), "--name=one", script=_NAMES)
        await until(lambda: self.management.reports, within=20, what="a report")
        first = agent_id_for("one", Address("127.0.0.1", self.llama))
        self.assertEqual(self.told(), [(first, "127.0.0.1")])
        # The instance is stopped, and has another address when it is started again.
        await self.management.stop()
        await self.says(agent, "does not take reports")
        self.metadata.values["local-ipv4"] = "127.0.0.2"
        self.metadata.tokens.clear()
        self.management.start()
        then = agent_id_for("one", Address("127.0.0.2", self.llama))
        moved = [(first, "127.0.0.2"), (then, "127.0.0.2")]
        await until(lambda: self.told()[-2:] == moved, within=20, what="the new address")
        agent.signal(signal.SIGTERM)
        await agent.ended()
        self.assertEqual(agent.exit_code, 0)
        self.assertEqual(self.management.asked[-1], ("DELETE", f"/api/v1/agents/{then}"))
        self.assertNotIn("Traceback", agent.output)

    async def test_metadata_goes_away(self) -> None:
        """An agent that runs goes on without its metadata, and says so."""
        agent = self.started(
            *("agent", f"--external-llamacpp-host={_KEY}", "--name=one"),
            f"--local-llamacpp-port={self.llama}",
            f"--management-port={self.management.port}",
        )
        await until(lambda: self.management.reports, within=20, what="a report")
        await self.metadata.stop()
        await self.management.stop()
        await self.says(agent, "hosts stay as they were told by instance metadata: ")
        before = len(self.management.reports)
        self.management.start()
        await until(lambda: len(self.management.reports) > before, within=20, what="a report")
        self.assertEqual(self.management.last.external.host, "127.0.0.1")


class BalancerTests(MetadataCase):
    """A balancer that runs."""

    async def agents(self, port: int) -> list[tuple[str, str, str]]:
        """Id, name and address of every agent that it knows."""
        _, body = await fetch(port, "/api/v1/agents")
        return [
            (agent["agent_id"], agent["agent_name"], agent["external_llamacpp_addr"])
            for agent in json.loads(body)["agents"]
        ]

    async def test_listens(self) -> None:
        """It listens where it is told; for all its hosts it asks for one token."""
        self.metadata.values["local-ipv4"] = "127.0.0.3"
        management, public = free_ports(2)
        balancer = self.started(
            *("balancer", "--statsd-enable", f"--statsd-host={_KEY}"),
            *(f"--management-port={management}", f"--reverseproxy-port={public}"),
            *(f"--management-host={_KEY}", "--reverseproxy-host=aws:metadata:local-hostname"),
        )
        listens = (
            rf"clients on http://127\.0\.0\.1:{public}, .* on http://127\.0\.0\.3:{management}"
        )
        await until(lambda: re.search(listens, balancer.output), within=20, what="listening")
        self.assertEqual(self.metadata.times("PUT"), 1)

    async def test_agent_moves(self) -> None:
        """An agent that moves is one agent all the time, and keeps its name."""
        management, public, llama = free_ports(3)
        balancer = self.started(
            "balancer", f"--management-port={management}", f"--reverseproxy-port={public}"
        )
        await self.says(balancer, "clients on")
        agent = self.started(
            *("agent", "--external-llamacpp-host=aws:metadata:public-ipv4", "--name=one"),
            *(f"--local-llamacpp-port={llama}", f"--management-port={management}"),
        )
        await self.says(agent, "takes reports")
        first = Address("127.0.0.2", llama)
        self.assertEqual(
            await self.agents(management), [(agent_id_for("one", first), "one", str(first))]
        )
        balancer.signal(signal.SIGSTOP)
        await self.says(agent, "does not take reports")
        self.metadata.values["public-ipv4"] = "127.0.0.7"
        balancer.signal(signal.SIGCONT)
        await self.says(agent, "reaches at 127.0.0.7:")
        then = Address("127.0.0.7", llama)
        moved = [(agent_id_for("one", then), "one", str(then))]
        await self.soon(lambda: self.agents(management), moved)
        self.assertIn("to 127.0.0.7", balancer.output)

    async def soon(self, ask: Callable[[], Any], wanted: object) -> None:
        """Ask until the answer is as wanted."""
        answer = None
        while answer != wanted:  # the test's own limit ends this
            answer = await ask()
