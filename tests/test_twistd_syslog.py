"""twistd --syslog: what the services say comes to a real /dev/log."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import SkipTest

from twisted.internet.protocol import DatagramProtocol

from tests.llamas import fetch, until
from tests.proxying import reactor
from tests.twistds import TWISTD, TwistdCase

__all__ = ["SyslogTests"]

#: Runs a command in which the folder $1 is /dev. Nobody else's /dev changes.
_WITH_DEV = """
set -e
for name in null urandom; do : > "$1/$name"; mount --bind "/dev/$name" "$1/$name"; done
mount --bind "$1" /dev
shift
exec "$@"
"""

#: Tells syslog of a failure, which has many lines.
_FAILS = """
import sys
from twisted.internet import reactor
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from paddler.logs import twistd_observer
options = {"nodaemon": 1, "syslog": True, "prefix": "multi"}
observer = twistd_observer(options, reactor, as_json=True)
globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
log = Logger("sample")
try:
    raise ValueError("first\\nsecond")
except ValueError:
    log.failure("it broke:\\n{what}", Failure(), what="a nul \\0 and a line\\n")
log.warn("mind")
log.debug("small")
"""


class _Daemon(DatagramProtocol):
    """Stands in for the syslog daemon: keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.messages.append(datagram.decode().rstrip("\0"))


class SyslogTests(TwistdCase):
    """Processes with a /dev of their own, in which this test listens at `log`."""

    def setUp(self) -> None:
        unshare = ["unshare", "--mount"]
        if os.geteuid():
            unshare.append("--map-root-user")
        if not shutil.which("unshare") or subprocess.run([*unshare, "true"]).returncode:
            raise SkipTest("a process can't be given a /dev of its own here")
        super().setUp()
        folder = Path(tempfile.mkdtemp(prefix="paddler-dev-"))
        self.addCleanup(shutil.rmtree, folder)
        self.syslog = _Daemon()
        listening = reactor.listenUNIXDatagram(str(folder / "log"), self.syslog)
        self.addCleanup(listening.stopListening)
        self.before = (*unshare, "/bin/sh", "-c", _WITH_DEV, "sh", str(folder))

    def heard(self, says: str) -> list[str]:
        """The messages that say this."""
        return [message for message in self.syslog.messages if says in message]

    async def hears(self, says: str) -> str:
        """Wait for the first such message."""
        await until(lambda: self.heard(says), within=20, what=f"{says!r} in syslog")
        return self.heard(says)[0]

    async def test_text(self) -> None:
        """A daemon's lines have Twisted's form and the prefix that twistd was given."""
        options = ("--access-log", "--request-buffer-size=0")
        daemon = await self.daemon(
            "--syslog", "--prefix=balancer-1", *self.balancer_words(*options)
        )
        self.assertRegex(
            await self.hears("clients on"),
            r"^<14>... .. ..:..:.. balancer-1: \[-\] paddler .*: clients on ",
        )
        await fetch(self.public, "/completion", b"{}", {"X-Request-Id": "mine"})
        await self.hears("mine POST /completion 429")
        await self.end(daemon)
        await self.hears("Server Shut Down")
        self.assertEqual(self.heard("Traceback"), [])
        self.assertFalse((self.folder / "log").exists())

    async def test_json(self) -> None:
        """With --log-format=json each message is an object."""
        options = ("--log-format=json", "--access-log", "--request-buffer-size=0")
        process = self.start(
            *TWISTD, "-n", "--pidfile=", "--syslog", "--prefix=b2", *self.balancer_words(*options)
        )
        await self.healthy()
        await fetch(self.public, "/completion", b"{}", {"X-Request-Id": "mine"})
        await self.hears('"mine"')
        await self.stop(process)
        await self.hears("Server Shut Down")
        self.assertEqual(process.output, "")
        lines = []
        for message in self.syslog.messages:
            head, _, text = message.partition(" b2: ")
            self.assertRegex(head, r"^<14>... .. ..:..:..$")
            lines.append(json.loads(text))
        (access,) = [line for line in lines if line["source"] == "paddler.access"]
        self.assertEqual((access["request_id"], access["status"]), ("mine", 429))

    async def test_json_of_many_lines(self) -> None:
        """A failure is one object, too, and levels are syslog's."""
        process = self.start(TWISTD[0], "-W", "error", "-c", _FAILS)
        await process.ended()
        self.assertEqual((process.exit_code, process.output), (0, ""))
        await self.hears("small")
        told = {}
        for message in self.syslog.messages:
            head, _, text = message.partition(" multi: ")
            line = json.loads(text)
            told[head.partition(">")[0].lstrip("<")] = line["event"]
            self.assertEqual("traceback" in line, line["level"] == "critical")
        broke = "it broke:\na nul \0 and a line\n"
        self.assertEqual(told, {"10": broke, "12": "mind", "15": "small"})

    async def test_agent(self) -> None:
        """The agent's lines come there, too."""
        words = ("--syslog", "--prefix=agent-1", "paddler-agent", "--management-port")
        process = self.start(*TWISTD, "-n", "--pidfile=", *words, str(self.management))
        self.assertIn(" agent-1: [-] agent ", await self.hears("watches the llama-server"))
        # Before it runs, a signal ends it as it ends any program.
        await self.hears("it can't be reached")
        await self.stop(process)
