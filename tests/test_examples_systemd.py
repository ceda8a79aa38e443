"""`examples/systemd/`: the units as they are, read by systemd's tools and run by a real systemd."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from paddler.balancer.limits import Limits
from paddler.balancer.settings import BalancerOptions
from paddler.llamaserver import free_ports
from tests.certificates import write_certificate
from tests.llamas import RealLlama, fetch, until, wait_until_healthy
from tests.proxying import Client, post, reactor
from tests.systemds import UNITS, RealSystemd

__all__ = ["ReadingTests", "RunTests", "TroubleTests"]

_NAMES = ("paddler-balancer", "paddler-agent")
_TOKEN = "not-a-secret"


class _Anywhere(Client):
    """A client also of sockets that are not TCP's."""

    def connectionMade(self) -> None:
        pass


class RunTests(TestCase):
    """Both units in front of a real llama-server, with a token and a key, and every protection."""

    timeout = 90

    async def setUp(self) -> None:
        self.llama = RealLlama()
        self.addCleanup(self.llama.stop)
        self.management, self.public = free_ports(2)
        self.systemd = RealSystemd(self)
        for name, secret in (("token", _TOKEN), ("llama-key", "its-key")):
            path = self.systemd.folder / name
            path.touch(mode=0o600)
            path.write_text(secret)
        self.systemd.install(
            "paddler-balancer",
            secrets=True,
            PADDLER_MANAGEMENT_PORT=self.management,
            PADDLER_REVERSEPROXY_PORT=self.public,
        )
        self.systemd.install(
            "paddler-agent@one",
            secrets=True,
            PADDLER_MANAGEMENT_PORT=self.management,
            PADDLER_LOCAL_LLAMACPP_PORT=self.llama.port,
        )
        await self.systemd.start()
        await self.llama.start("--api-key", "its-key", slots=1)
        for unit in ("paddler-balancer", "paddler-agent@one"):
            started = await self.systemd.ctl("start", unit)
            self.assertEqual((started.code, started.err), (0, ""))

    async def idle(self) -> bool:
        """Whether the balancer knows of a free slot."""
        try:
            return bool(json.loads((await fetch(self.public, "/health"))[1])["slots_idle"])
        except ConnectError:
            return False

    async def test_stop_under_load(self) -> None:
        """They serve, with no more rights than they need; a stop waits for what runs."""
        try:
            await until(self.idle, within=20, what="the agent's report")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.systemd.logs}") from None
        # The agent had to show the token, and to read the slots with llama-server's key.
        self.assertEqual((await fetch(self.management, "/api/v1/agents"))[0], 401)
        shown = {"Authorization": f"Bearer {_TOKEN}"}
        code, answer = await fetch(self.management, "/api/v1/agents", headers=shown)
        self.assertEqual((code, json.loads(answer)["agents"][0]["issues"]), (200, []))
        for unit in ("paddler-balancer", "paddler-agent@one"):
            self.check_rights(self.systemd.pid_of(unit))

        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.public)
        client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        body = {"prompt": "a", "ignore_eos": True, "stream": True, "n_predict": 3000}
        head = ("Connection: close", "Authorization: Bearer its-key")
        client.send(post("/completion", body, *head))
        await client.until(b"data: ")
        stopping = Deferred.fromCoroutine(self.systemd.ctl("stop", "paddler-balancer"))

        async def refuses() -> bool:
            try:
                await fetch(self.public, "/health")
            except ConnectError:
                return True
            return False

        await until(refuses, what="an end of new connections")
        self.assertNotIn(b'"stop":true', client.received)
        self.assertFalse(stopping.called)
        self.assertEqual((await stopping).code, 0)
        await client.closed
        self.assertIn(b'"tokens_predicted":3000,', client.received)
        self.assertTrue(client.received.endswith(b"\r\n0\r\n\r\n"), client.received[-99:])

        self.assertEqual((await self.systemd.ctl("stop", "paddler-agent@one")).code, 0)
        for unit in ("paddler-balancer", "paddler-agent@one"):
            for name, value in (("Result", "success"), ("ActiveState", "inactive")):
                self.assertEqual(await self.systemd.property(unit, name), value, unit)
        self.assertNotIn("Traceback", self.systemd.logs)

    def check_rights(self, pid: int) -> None:
        """It is a user of its own without any right, and can't get one."""
        status = Path(f"/proc/{pid}/status").read_text()
        found = dict(re.findall(r"(?m)^(\w+):\t(.*)$", status))
        users = {int(number) for name in ("Uid", "Gid") for number in found[name].split()}
        self.assertTrue(all(61184 <= user <= 65519 for user in users), users)
        for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(found[name], 16), 0, name)
        self.assertEqual((found["NoNewPrivs"], found["Seccomp"]), ("1", "2"))
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
        # Which root could write to.
        self.assertRegex(mounts, r"(?m)^\S+ \S+ \S+ \S+ /opt ro,")


class TroubleTests(TestCase):
    """What else may come to a balancer."""

    timeout = 60

    async def setUp(self) -> None:
        self.management, public = free_ports(2)
        self.systemd = RealSystemd(self)
        self.options = {
            "PADDLER_MANAGEMENT_PORT": self.management,
            "PADDLER_REVERSEPROXY_PORT": public,
        }

    async def test_endpoints(self) -> None:
        """It may serve TLS, and listen in its folder below /run."""
        certificate, _ = write_certificate(self.systemd.folder)
        port = self.options.pop("PADDLER_REVERSEPROXY_PORT")
        del self.options["PADDLER_MANAGEMENT_PORT"]
        files = "privateKey=/run/test/key.pem:certKey=/run/test/certificate.pem"
        self.systemd.install(
            "paddler-balancer",
            PADDLER_REVERSEPROXY_ENDPOINT=f"ssl:{port}:interface=127.0.0.1:{files}",
            PADDLER_MANAGEMENT_ENDPOINT="unix:/run/paddler-balancer/management.sock",
        )
        await self.systemd.start()
        self.assertEqual((await self.systemd.ctl("start", "paddler-balancer")).code, 0)
        await until(lambda: "clients on" in self.systemd.logs, within=20, what="its start")
        trusted = Certificate.loadPEM(certificate.read_bytes())
        pid = self.systemd.pid_of("paddler-balancer")
        for endpoint in (
            wrapClientTLS(
                optionsForClientTLS("localhost", trustRoot=trusted),
                TCP4ClientEndpoint(reactor, "127.0.0.1", port),
            ),
            UNIXClientEndpoint(reactor, f"/proc/{pid}/root/run/paddler-balancer/management.sock"),
        ):
            client = await connectProtocol(endpoint, _Anywhere())
            client.send(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            await client.closed
            self.assertIn(b'"status":"ok"', client.received, self.systemd.logs)
        self.assertNotIn("Traceback", self.systemd.logs)

    async def test_starts_again(self) -> None:
        """One that was killed comes back by itself, one that was stopped does not."""
        self.systemd.install("paddler-balancer", **self.options)
        await self.systemd.start()
        self.assertEqual((await self.systemd.ctl("start", "paddler-balancer")).code, 0)
        await wait_until_healthy(self.management)
        before = self.systemd.pid_of("paddler-balancer")
        await self.systemd.ctl("kill", "--signal=KILL", "paddler-balancer")

        async def another() -> bool:
            return self.systemd.pid_of("paddler-balancer") not in (before, 0)

        await until(another, within=20, what="a new process")
        await wait_until_healthy(self.management)
        after = self.systemd.pid_of("paddler-balancer")
        await self.systemd.ctl("kill", "--signal=HUP", "paddler-balancer")
        says = "SIGHUP: no file is read again and none reopened"
        await until(lambda: says in self.systemd.logs, what=says)
        self.assertEqual(self.systemd.pid_of("paddler-balancer"), after)
        # As an operator does who can't wait for one who waits.
        public = self.options["PADDLER_REVERSEPROXY_PORT"]
        waiting = fetch(public, "/completion", b"{}")

        async def waits() -> bool:
            return b'"requests_waiting":1' in (await fetch(public, "/health"))[1]

        await until(waits, what="a request that waits")
        for _ in range(2):
            await self.systemd.ctl("kill", "paddler-balancer")
        self.assertEqual((await waiting)[0], 0)

        async def ended() -> bool:
            return await self.systemd.property("paddler-balancer", "ActiveState") == "inactive"

        await until(ended, what="its end")
        self.assertEqual(await self.systemd.property("paddler-balancer", "Result"), "success")

    async def test_wrong_option(self) -> None:
        """What is wrong is said in one line; once it is mended the service comes by itself."""
        wrong = {**self.options, "PADDLER_SHUTDOWN_GRACE": "soon"}
        self.systemd.install("paddler-balancer", **wrong)
        await self.systemd.start()
        await self.systemd.ctl("start", "paddler-balancer")
        says = "PADDLER_SHUTDOWN_GRACE: got 'soon'; it needs a duration"

        async def said() -> bool:
            return says in self.systemd.logs

        await until(said, within=20, what="a line about it")
        self.assertEqual(set(self.systemd.logs.splitlines()), {self.systemd.logs.splitlines()[0]})
        self.systemd.write("paddler-balancer", **self.options)
        await wait_until_healthy(self.management)


class ReadingTests(SynchronousTestCase):
    """The units as text."""

    def analyze(self, *words: str) -> str:
        """systemd-analyze with these words; what it says when it is content."""
        program = shutil.which("systemd-analyze")
        if program is None:
            raise SkipTest("no systemd-analyze")
        ended = subprocess.run([program, *words], capture_output=True, text=True)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stderr

    def section(self, name: str) -> configparser.SectionProxy:
        """A unit's section Service; of a name that is there twice the last."""
        read = configparser.RawConfigParser(strict=False, delimiters="=", comment_prefixes="#")
        read.optionxform = str  # type: ignore[assignment,method-assign]
        read.read(UNITS / f"{name}.service")
        return read["Service"]

    def test_verify(self) -> None:
        """systemd has nothing to say about them, also where one is for many agents."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        program = folder / "paddler"
        program.touch(mode=0o755)
        for unit, name in (*zip(_NAMES, _NAMES, strict=True), ("paddler-agent@", "paddler-agent")):
            text = (UNITS / f"{name}.service").read_text()
            self.assertEqual(text.count("/opt/paddler/bin/paddler "), 1)
            text = text.replace("/opt/paddler/bin/paddler ", f"{program} ")
            uncommented = re.sub(r"(?m)^#(?=[A-Z])", "", text)
            self.assertNotEqual(uncommented, text)
            for version in (text, uncommented):
                (folder / f"{unit}.service").write_text(version)
                path = folder / f"{unit.replace('@', '@one')}.service"
                self.assertEqual(self.analyze("verify", "--man=no", str(path)), "")

    def test_security(self) -> None:
        """An exposure of 1.5 at most, of 10."""
        for name in _NAMES:
            path = UNITS / f"{name}.service"
            self.analyze("security", "--offline=true", "--threshold=15", str(path))

    def test_fits(self) -> None:
        """The time for a stop and the open files fit the options' defaults."""
        options = BalancerOptions()
        options.environment = {}
        options.parseOptions([])
        settings = options.settings()
        balancer = self.section("paddler-balancer")
        stop = float(balancer["TimeoutStopSec"].removesuffix("s"))
        self.assertGreaterEqual(stop, settings.shutdown_grace + 10)
        limits: Limits = settings.limits
        # One for the client, one for its llama-server.
        open_files = int(balancer["LimitNOFILE"])
        self.assertGreater(open_files, 2 * limits.connections)
        self.assertEqual(limits.within(open_files), limits)

    def test_alike(self) -> None:
        """Below their heads both are the same."""
        texts = [(UNITS / f"{name}.service").read_text() for name in _NAMES]
        bodies = [text.partition("# ---- from here on")[2] for text in texts]
        bodies[0] = re.sub(r"# For a port below 1024.*\n", "", bodies[0])
        self.assertGreater(len(bodies[0]), 500)
        self.assertEqual(bodies[0], bodies[1])
