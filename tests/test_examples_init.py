"""`examples/init.d/` and `examples/default/`: the scripts as they are, below a temporary folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SkipTest, TestCase

from paddler.agent.settings import AgentOptions
from paddler.balancer.settings import BalancerOptions
from paddler.llamaserver import free_ports
from tests.initscripts import EXAMPLES, InitScript, reactor, twistd
from tests.llamas import RealLlama, fetch, until
from tests.processes import processes_with
from tests.proxying import Client, post

__all__ = ["DefaultsTests", "EndToEndTests", "OddTests", "ReadingTests"]

_NAMES = ("paddler-balancer", "paddler-agent")


async def refuses(port: int) -> bool:
    """Whether nobody takes connections there."""
    try:
        await fetch(port, "/health")
    except ConnectError:
        return True
    return False


class EndToEndTests(TestCase):
    """A balancer and an agent as services; root has them become nobody."""

    timeout = 90

    async def setUp(self) -> None:
        self.llama = RealLlama()
        self.addCleanup(self.llama.stop)
        await self.llama.start(slots=1)
        self.management, self.public = free_ports(2)
        self.balancer = InitScript(
            self,
            "paddler-balancer",
            PADDLER_MANAGEMENT_PORT=self.management,
            PADDLER_REVERSEPROXY_PORT=self.public,
        )
        self.agent = InitScript(
            self,
            "paddler-agent",
            PADDLER_MANAGEMENT_PORT=self.management,
            PADDLER_LOCAL_LLAMACPP_PORT=self.llama.port,
        )
        for service in (self.balancer, self.agent):
            await self.well(service, "start", "started, process")

    async def well(self, service: InitScript, action: str, says: str) -> None:
        """Have an action end well, with one line."""
        ended = await service(action)
        self.assertEqual((ended.code, ended.err), (0, ""), ended.out)
        self.assertRegex(ended.out, rf"\A{service.script.name}: {says}.*\n\Z")

    async def known(self) -> None:
        """Wait until the balancer knows of the slot."""

        async def idle() -> bool:
            return bool(json.loads((await fetch(self.public, "/health"))[1])["slots_idle"])

        try:
            await until(idle, what="the agent's report")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.agent.log.read_text()}") from None

    async def client(self) -> Client:
        """A connection to the balancer."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.public)
        client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        return client

    async def test_stop_under_load(self) -> None:
        """What runs and what waits comes whole; then both are gone, and their logs are clean."""
        await self.known()
        body = {"prompt": "a", "ignore_eos": True, "stream": True}
        running, waiting = await self.client(), await self.client()
        running.send(post("/completion", {**body, "n_predict": 2000}, "Connection: close"))
        await running.until(b"data: ")
        waiting.send(post("/completion", {**body, "n_predict": 20}, "Connection: close"))

        async def waits() -> bool:
            answer = (await fetch(self.public, "/health"))[1]
            return bool(json.loads(answer)["requests_waiting"] == 1)

        await until(waits, what="the second request in the queue")
        stopping = Deferred.fromCoroutine(self.balancer("stop"))
        await until(lambda: refuses(self.public), what="an end of new connections")
        self.assertNotIn(b'"stop":true', running.received)
        self.assertFalse(stopping.called)
        self.assertEqual((await self.balancer("status")).code, 0)
        ended = await stopping
        self.assertEqual((ended.code, ended.out), (0, "paddler-balancer: stopped\n"), ended.err)
        for client, tokens in ((running, 2000), (waiting, 20)):
            await client.closed
            self.assertIn(b'"tokens_predicted":%d,' % tokens, client.received)
            self.assertTrue(client.received.endswith(b"\r\n0\r\n\r\n"), client.received[-99:])
        self.assertEqual((await self.balancer("status")).code, 3)
        await self.well(self.agent, "stop", "stopped")
        for service in (self.balancer, self.agent):
            self.assertFalse(service.pidfile.exists())
            self.assertNotIn("Traceback", service.log.read_text())

    async def test_restart(self) -> None:
        """A second start is refused; a restart is another process, which serves again."""
        pids = self.balancer.pid, self.agent.pid
        for service, pid in zip((self.balancer, self.agent), pids, strict=True):
            await self.well(service, "status", f"running, process {pid}")
            await self.well(service, "start", f"running already, process {pid}")
            self.assertEqual(len(processes_with(f"--pidfile={service.pidfile}")), 1)
            for action in ("restart", "try-restart", "force-reload"):
                ended = await service(action)
                self.assertEqual((ended.code, ended.err), (0, ""))
                self.assertRegex(ended.out, r"stopped\n.*: started, process \d+\n\Z")
            self.assertEqual(len(processes_with(f"--pidfile={service.pidfile}")), 1)
        self.assertEqual({self.balancer.pid, self.agent.pid} & set(pids), set())
        await self.known()
        code, _ = await fetch(self.public, "/completion", b'{"prompt":"a","n_predict":2}')
        self.assertEqual(code, 200)

    async def test_user(self) -> None:
        """Started by root it is the user's that it shall be, and so is its log and nothing else."""
        if os.geteuid() != 0:
            raise SkipTest("only root can have a service become another user")
        for service in (self.balancer, self.agent):
            status = Path(f"/proc/{service.pid}/status").read_text()
            self.assertEqual(re.findall(r"^Uid:\t(.*)", status, re.M), ["\t".join(["65534"] * 4)])
            owners = {
                path.relative_to(service.folder).name: path.stat().st_uid
                for path in service.folder.rglob("*")
            }
            self.assertEqual([name for name, uid in owners.items() if uid], [service.log.name])
            self.assertEqual(service.log.stat().st_mode & 0o777, 0o640)


class OddTests(TestCase):
    """What else a script may find."""

    timeout = 60

    async def setUp(self) -> None:
        self.management, self.public = free_ports(2)
        self.service = self.make()

    def make(self, **options: object) -> InitScript:
        """A balancer that runs as who started it."""
        return InitScript(
            self,
            "paddler-balancer",
            **{
                "PADDLER_MANAGEMENT_PORT": self.management,
                "PADDLER_REVERSEPROXY_PORT": self.public,
                "RUN_AS": "",
                **options,
            },
        )

    async def fails(self, code: int, says: str, *actions: str) -> None:
        """Have it end with a code, and say why on the terminal."""
        ended = await self.service(*actions)
        self.assertEqual(ended.code, code, ended.out + ended.err)
        self.assertRegex(ended.err, says)

    async def test_stale(self) -> None:
        """A pid file of a dead process, of another's or of nobody's is no obstacle."""
        self.service.pidfile.parent.mkdir()
        ended = subprocess.Popen(["true"])
        ended.wait()
        for content in (str(ended.pid), str(os.getpid()), "", "nonsense"):
            self.service.pidfile.write_text(content)
            status = await self.service("status")
            self.assertEqual(status.code, 1, content)
            self.assertIn(f"{self.service.pidfile} is there", status.out)
            stopped = await self.service("stop")
            self.assertEqual(stopped.code, 0, content)
            self.assertRegex(stopped.out, "not running\n.*: removing .*no process of ours\n")
            self.assertEqual((await self.service("status")).code, 3)
        self.service.pidfile.write_text(str(os.getpid()))
        started = await self.service("start")
        self.assertEqual((started.code, started.err), (0, ""))
        self.assertRegex(started.out, r"removing .*\n.*: started, process \d+\n")
        self.assertEqual((await self.service("status")).code, 0)

    async def test_wrong_option(self) -> None:
        """An option that does not fit is named on the terminal."""
        self.service.write(PADDLER_SHUTDOWN_GRACE="soon")
        await self.fails(1, r"\APADDLER_SHUTDOWN_GRACE: got 'soon'; it needs a duration", "start")
        self.assertEqual((await self.service("status")).code, 3)

    async def test_taken_port(self) -> None:
        """So is a port that is taken, and the pid file is gone."""
        taken = reactor.listenTCP(self.public, Factory(), interface="127.0.0.1")
        self.addCleanup(taken.stopListening)
        where = f"127.0.0.1:{self.public}"
        says = f"CannotStart: --reverseproxy-*: can't listen on {where}: Address already in use"
        await self.fails(1, re.escape(f'b"{says}"'), "start")
        self.assertEqual((await self.service("status")).code, 3)

    async def test_wrong_file(self) -> None:
        """A line that no shell can read is not left out; what runs can be stopped all the same."""
        self.assertEqual((await self.service("start")).code, 0)
        self.service.write(PADDLER_MANAGEMENT_TOKEN_FILE="/etc/paddler/my token")
        for action in ("start", "restart", "force-reload"):
            await self.fails(6, "token: not found\n.*/defaults is not right; .* quotes", action)
        self.assertEqual((await self.service("status")).code, 0)
        self.assertEqual((await self.service("stop")).out, "paddler-balancer: stopped\n")
        self.service.write(PADDLER_SHUTDOWN_GRACE="'5m")
        for action, code in (("start", 6), ("stop", 6), ("status", 4)):
            await self.fails(code, "/defaults is not right; a value with spaces", action)

    async def test_other_shells(self) -> None:
        """It is no matter which shell is /bin/sh."""
        shells = [("/bin/dash",), ("/bin/bash",), ("/bin/bash", "--posix"), ("/bin/busybox", "sh")]
        there = [shell for shell in shells if Path(shell[0]).exists()]
        if len(there) < 2:
            raise SkipTest("there is no other shell here")
        self.service.write(STOP_WAIT="20s")
        for self.service.shell in there:
            for action, says in (
                ("start", "started, process "),
                ("start", "running already, process "),
                ("status", "running, process "),
                ("restart", "stopped\npaddler-balancer: started, process "),
                ("reopen-logs", ""),
                ("stop", "stopped\n"),
                ("stop", "not running\n"),
            ):
                ended = await self.service(action)
                self.assertEqual((ended.code, ended.err), (0, ""), self.service.shell)
                self.assertIn(says, ended.out)
            self.assertEqual((await self.service("status")).code, 3)

    async def test_closed_streams(self) -> None:
        """It starts without standard input, output and error, as some schedulers run things."""
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            self.service.shell = ("/bin/sh", "-c", f'exec /bin/sh "$@" {closed}', "sh")
            self.assertEqual((await self.service("start")).code, 0, closed)
            self.assertEqual((await fetch(self.management, "/health"))[0], 200)
            self.assertEqual((await self.service("stop")).code, 0, closed)

    async def test_second_agent(self) -> None:
        """Installed under another name as well it is a second service."""
        ports = {"PADDLER_MANAGEMENT_PORT": self.management, "RUN_AS": ""}
        one = InitScript(self, "paddler-agent", **ports)
        two = InitScript(self, "paddler-agent", **ports, PADDLER_LOCAL_LLAMACPP_PORT=self.public)
        two.write(RUN_DIR=one.pidfile.parent, LOG_DIR=one.log.parent)
        two.script = two.folder / "paddler-agent-2"
        shutil.copy(one.script, two.script)
        two.pidfile = one.pidfile.with_name("paddler-agent-2.pid")
        for agent in (one, two):
            self.assertEqual((await agent("start")).code, 0)
            self.assertIn("started, process", (await agent("restart")).out)
        self.assertEqual((await one("stop")).code, 0)
        self.assertEqual((await one("status")).code, 3)
        self.assertEqual((await two("status")).out.split()[-1], str(two.pid))
        self.assertEqual((await two("stop")).code, 0)
        log = one.log.with_name("paddler-agent-2.log").read_text()
        self.assertIn(f"llama-server at 127.0.0.1:{self.public}", log)

    async def test_file_mode_mask(self) -> None:
        """Root's own is not the service's, which finds its log, and all may ask for the status."""
        self.service.write(RUN_AS=self.service.run_as)
        before = os.umask(0o077)
        try:
            self.assertEqual((await self.service("start")).code, 0)
        finally:
            os.umask(before)
        log = self.service.log
        for path, mode in ((log.parent, 0o755), (self.service.pidfile.parent, 0o755), (log, 0o640)):
            self.assertEqual(oct(path.stat().st_mode & 0o777), oct(mode), path)
        self.assertEqual(self.service.pidfile.stat().st_mode & 0o777, 0o644)
        log.rename(log.with_suffix(".old"))
        log.touch()
        if self.service.run_as:
            os.chown(log, 65534, 65534)
        self.assertEqual((await self.service("reopen-logs")).code, 0)
        self.assertEqual((await self.service("stop")).code, 0)
        self.assertIn("Server Shut Down", log.read_text())

    async def test_restart_that_would_fail(self) -> None:
        """What could not start again is not stopped."""
        self.assertEqual((await self.service("start")).code, 0)
        pid = self.service.pid
        self.service.write(TWISTD="/nowhere/twistd")
        for action in ("restart", "try-restart", "force-reload"):
            await self.fails(5, "there is no /nowhere/twistd", action)
        self.service.write(TWISTD=twistd(), PADDLER_SHUTDOWN_GRACE="soon")
        says = r"\APADDLER_SHUTDOWN_GRACE: got 'soon'; .*\n.*: is left as it is\n\Z"
        for action in ("restart", "try-restart", "force-reload"):
            await self.fails(6, says, action)
        self.assertFalse(self.service.pidfile.with_name("check").exists())
        self.assertEqual((await self.service("status")).out.split()[-1], str(pid))

    async def test_not_ones_own(self) -> None:
        """To who may not read the pid file nothing is told that may be wrong."""
        if os.geteuid() != 0:
            raise SkipTest("only root can run it as another user")
        self.assertEqual((await self.service("start")).code, 0)
        self.service.pidfile.chmod(0o600)
        for action, code in (("status", 4), ("stop", 4)):
            ended = subprocess.run(
                ["/bin/sh", self.service.script, action],
                env=self.service.environment,
                user=65534,
                capture_output=True,
                text=True,
            )
            said = f"paddler-balancer: can't read {self.service.pidfile}\n"
            self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (code, "", said))

    async def test_not_set_up(self) -> None:
        """A program or a user that is not there."""
        self.service.write(RUN_AS="no-such-user")
        await self.fails(6, "there is no user no-such-user; see RUN_AS in", "start")
        self.service.write(TWISTD="/nowhere/twistd")
        await self.fails(5, "there is no /nowhere/twistd; see TWISTD in", "start")

    async def test_actions(self) -> None:
        """Those that it has not, and those that there is nothing to do for."""
        for actions in ((), ("start", "now")):
            await self.fails(2, r"\AUsage: .*\|status\|.*}\n\Z", *actions)
        await self.fails(3, r"\AUsage: .*\|status\|.*}\n\Z", "reload")
        for action in ("try-restart", "force-reload", "reopen-logs"):
            ended = await self.service(action)
            self.assertEqual((ended.code, ended.out, ended.err), (0, "", ""))
        self.assertEqual((await self.service("stop")).code, 0)
        self.assertEqual((await self.service("status")).code, 3)

    async def test_stop_gives_up(self) -> None:
        """A stop that takes too long says so; the next one ends it at once."""
        self.service.write(STOP_WAIT="1s", PADDLER_SHUTDOWN_GRACE="5m")
        self.assertEqual((await self.service("start")).code, 0)
        waiting = await self.waiting()
        await self.fails(1, "still runs after 1 s; another stop ends it at once", "stop")
        self.assertEqual((await self.service("status")).code, 0)
        stopped = await self.service("stop")
        self.assertEqual((stopped.code, stopped.err), (0, ""))
        self.assertEqual((await self.service("status")).code, 3)
        await waiting.closed

    async def waiting(self) -> Client:
        """Who has sent a request that waits for a slot."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.public)
        client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        client.send(post("/completion", {}, "Connection: close"))

        async def waits() -> bool:
            return b'"requests_waiting":1' in (await fetch(self.public, "/health"))[1]

        await until(waits)
        return client

    async def test_during_a_stop(self) -> None:
        """A second stop cuts nothing, and a start comes when the stop is over."""
        self.service.write(PADDLER_REQUEST_BUFFER_TIMEOUT="3s")
        for action, says in (("stop", "not running"), ("start", "started, process ")):
            self.assertEqual((await self.service("start")).code, 0)
            client = await self.waiting()
            stopping = Deferred.fromCoroutine(self.service("stop"))
            await until(lambda: refuses(self.public), what="the stop")
            ended = await self.service(action)
            self.assertEqual((ended.code, ended.err), (0, ""))
            self.assertIn(says, ended.out)
            self.assertEqual((await stopping).code, 0)
            await client.closed
            self.assertIn(b'"buffer_timeout"', client.received)

    async def test_two_at_the_same_time(self) -> None:
        """Of two starts at the same time one finds it running."""
        ended = await gatherResults([Deferred.fromCoroutine(self.service("start")) for _ in "12"])
        self.assertEqual([(each.code, each.err) for each in ended], [(0, "")] * 2)
        said = sorted(each.out.split()[1] for each in ended)
        self.assertEqual(said, ["running", "started,"])
        self.assertEqual(len(processes_with(f"--pidfile={self.service.pidfile}")), 1)


class ReadingTests(TestCase):
    """The scripts as text."""

    def test_shellcheck(self) -> None:
        """shellcheck has nothing to say."""
        program = shutil.which("shellcheck")
        if program is None:
            raise SkipTest("no shellcheck")
        for script in (*(EXAMPLES / "init.d").iterdir(), EXAMPLES / "two-servers.sh"):
            ended = subprocess.run([program, str(script)], capture_output=True, text=True)
            self.assertEqual((ended.returncode, ended.stdout + ended.stderr), (0, ""))

    def test_alike(self) -> None:
        """Below their heads both are the same."""
        texts = [(EXAMPLES / "init.d" / name).read_text() for name in _NAMES]
        bodies = [text.partition("# ---- from here on")[2] for text in texts]
        self.assertGreater(len(bodies[0]), 1000)
        self.assertEqual(bodies[0], bodies[1])

    async def test_insserv(self) -> None:
        """insserv reads the heads: an agent starts after a balancer and stops before it.

        What it makes is called S01paddler-balancer, and works.
        """
        program = shutil.which("insserv", path="/sbin:/usr/sbin:/usr/lib/insserv")
        if program is None:
            raise SkipTest("no insserv")
        root = Path(self.mktemp()).absolute()
        for folder in ("init.d", "depend", "overrides", *(f"rc{level}.d" for level in "0123456S")):
            (root / folder).mkdir(parents=True)
        for name in _NAMES:
            shutil.copy(EXAMPLES / "init.d" / name, root / "init.d")
        facilities = (
            "$network networking\n$remote_fs +mountall\n$named named\n$time ntp\n$syslog syslogd\n"
        )
        (root / "insserv.conf").write_text(facilities)
        ended = subprocess.run(
            [program, "-f", "-p", root / "init.d", "-c", root / "insserv.conf"]
            + ["-i", root / "depend", "-o", root / "overrides", *_NAMES],
            capture_output=True,
            text=True,
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        links = sorted(f"{path.parent.name}/{path.name}" for path in root.glob("rc*/*"))
        wanted = []
        for level in "0123456":
            letter = "S" if level in "2345" else "K"
            order = _NAMES if letter == "S" else _NAMES[::-1]
            wanted += [f"rc{level}.d/{letter}0{n}{name}" for n, name in enumerate(order, 1)]
        self.assertEqual(links, wanted)
        service = InitScript(self, "paddler-balancer")
        service.script = root / "rc2.d" / "S01paddler-balancer"
        self.assertEqual((await service("status")).out, "paddler-balancer: not running\n")


class DefaultsTests(TestCase):
    """The files for /etc/default."""

    def test_options(self) -> None:
        """All that they name is there, and what they propose fits."""
        for name, options in zip(_NAMES, (BalancerOptions, AgentOptions), strict=True):
            text = (EXAMPLES / "default" / name).read_text()
            lines = re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.M)
            ours = {name: value for name, value in lines if name.startswith("PADDLER_")}
            known = {option.variable for option in options.table}
            self.assertGreater(len(ours), 4)
            self.assertEqual(set(ours) - known, set())
            read: Any = options()
            read.environment = {n: value for n, value in ours.items() if "_FILE" not in n}
            read.parseOptions([])
            script = (EXAMPLES / "init.d" / name).read_text()
            for variable, _ in lines:
                if variable not in ours:
                    self.assertRegex(script, rf"(?m)^{variable}=")
