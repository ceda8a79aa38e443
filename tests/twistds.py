"""twistd as an operator runs it: Paddler's two commands, in the foreground and as daemons."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectError
from twisted.trial.unittest import TestCase

from paddler.llamaserver import free_ports
from tests.llamas import RealLlama, fetch, until, wait_until_healthy
from tests.processes import WordsProcess

__all__ = ["CHAT", "TWISTD", "Daemon", "TwistdCase"]

#: The program `twistd`, whatever environment it is installed in.
TWISTD = (
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()",
)

CHAT = json.dumps(
    {"messages": [{"role": "user", "content": "the cat and the dog"}], "max_tokens": 4}
).encode()


class Daemon:
    """A process that nobody is the parent of.

    :param pid: its id, which it had when this was made.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._watch = os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens when it has ended."""
        try:
            signal.pidfd_send_signal(self._watch, number)
        except ProcessLookupError:
            pass

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        poll = select.poll()
        poll.register(self._watch, select.POLLIN)
        return not poll.poll(0)

    async def ended(self) -> None:
        """Wait until it has."""
        await until(lambda: not self.runs, within=20, what="the daemon's end")

    async def kill(self) -> None:
        """Kill it and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()
        os.close(self._watch)


class TwistdCase(TestCase):
    """Processes of twistd, each in a folder of this test's."""

    timeout = 90
    #: Words before every command, which run it.
    before: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.management, self.public = free_ports(2)

    def start(self, *words: str, on_terminal: bool = False) -> WordsProcess:
        """Start a command."""
        process = WordsProcess(*self.before, *words, folder=self.folder)
        self.addCleanup(process.kill)
        process.start(on_terminal=on_terminal)
        return process

    def balancer_words(self, *words: str) -> list[str]:
        """The balancer's command and its options, without twistd."""
        ports = [f"--management-port={self.management}", f"--reverseproxy-port={self.public}"]
        return ["paddler-balancer", *ports, *words]

    def agent_words(self, llama: RealLlama, *words: str) -> list[str]:
        """An agent's."""
        ports = [f"--local-llamacpp-port={llama.port}", f"--management-port={self.management}"]
        return ["paddler-agent", "--name=one", *ports, *words]

    async def daemon(self, *words: str) -> Daemon:
        """Start a daemon by twistd's own options and a command's; its log is `log`."""
        pidfile = self.folder / "pid"
        files = (f"--pidfile={pidfile}", f"--logfile={self.folder / 'log'}")
        process = self.start(*TWISTD, *files, *words)
        await process.ended()
        self.assertEqual((process.exit_code, process.output), (0, ""))
        return self.adopt(pidfile)

    def adopt(self, pidfile: Path) -> Daemon:
        """The daemon that wrote its id there; it ends with the test."""
        daemon = Daemon(int(pidfile.read_text()))
        self.addCleanup(daemon.kill)
        return daemon

    async def end(self, daemon: Daemon) -> None:
        """Have it end by SIGTERM."""
        daemon.signal(signal.SIGTERM)
        await daemon.ended()

    def log(self) -> str:
        """What the daemon has logged."""
        return (self.folder / "log").read_text()

    async def logs(self, says: str) -> str:
        """Wait until the daemon has logged something; its whole log."""
        await until(lambda: says in self.log(), within=20, what=f"{says!r} in the log")
        return self.log()

    async def llama(self) -> RealLlama:
        """A real llama-server."""
        llama = RealLlama()
        self.addCleanup(llama.stop)
        await llama.start()
        return llama

    async def has_slots(self, *processes: WordsProcess) -> None:
        """Wait until the balancer has a free slot to give.

        :param processes: must not end before that.
        """

        async def idle() -> bool:
            for process in processes:
                if process.ended().called:
                    raise AssertionError(f"it ended:\n{process.output}")
            try:
                _, health = await fetch(self.public, "/health")
            except ConnectError:
                return False
            return bool(json.loads(health)["slots_idle"])

        try:
            await until(idle, within=30, what="a free slot")
        except AssertionError as error:
            said = "\n".join(process.output for process in processes)
            raise AssertionError(f"{error}:\n{said}") from None

    async def healthy(self) -> None:
        """Wait until the balancer answers."""
        await wait_until_healthy(self.management)

    async def chat(self) -> None:
        """Have a chat answered."""
        code, answer = await fetch(self.public, "/v1/chat/completions", CHAT)
        self.assertEqual(code, 200, answer)
        self.assertEqual(json.loads(answer)["usage"]["completion_tokens"], 4)

    async def report(self, port: int) -> None:
        """Tell the balancer of a server with one slot, as an agent does each minute."""
        said: dict[str, Any] = {
            "version": "1",
            "agent_name": "one",
            "external": {"scheme": "http", "host": "127.0.0.1", "port": port},
            "interval_s": 60,
            "issues": [],
            "slots_total": 1,
            "slots_busy": 0,
            "slots_age_s": 0,
            "n_ctx": 4096,
            "sleeping": False,
            "models": [],
        }
        path = "/api/v1/agent_status_update/one"
        code, answer = await fetch(self.management, path, json.dumps(said).encode())
        self.assertEqual(code, 200, answer)

    async def stop(self, *processes: WordsProcess) -> None:
        """Have them end by SIGTERM; they end well, and without a traceback."""
        for process in processes:
            process.signal(signal.SIGTERM)
        for process in processes:
            await process.ended()
            self.assertNotIn("Traceback", process.output)
            self.assertEqual(process.exit_code, 0, process.output)
