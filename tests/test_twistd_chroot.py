"""twistd --chroot: the services need nothing of what is outside of their root folder."""

from __future__ import annotations

import json
import os
import pwd
import stat
import sys
from pathlib import Path
from unittest import SkipTest

from paddler.balancer.dashboard.files import FILES
from tests.llamas import fetch, until
from tests.processes import WordsProcess
from tests.twistds import TWISTD, TwistdCase

__all__ = ["ChrootTests", "RefusalTests"]

#: twistd that tells of every module that is imported when there is nothing to import it from.
_TELLTALE = (
    sys.executable,
    "-c",
    """
import os, sys
def tell(event, arguments):
    if event == "import":
        os.write(1, b"LATE IMPORT of %s\\n" % arguments[0].encode())
change = os.chroot
def chroot(path):
    change(path)
    sys.addaudithook(tell)
os.chroot = chroot
sys.argv[0] = "twistd"
from twisted.scripts.twistd import run
run()
""",
)

_TOKEN = {"Authorization": "Bearer s3cret"}


class JailCase(TwistdCase):
    """A folder to be the root."""

    def setUp(self) -> None:
        if os.geteuid():
            raise SkipTest("only root changes the root folder")
        super().setUp()
        self.jail = self.folder / "jail"
        self.jail.mkdir(mode=0o755)

    def make_null(self) -> None:
        """The one file that Twisted can't do without."""
        null = self.jail / "dev" / "null"
        null.parent.mkdir()
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.chmod(0o666)


class ChrootTests(JailCase):
    """A balancer and an agent, each below a root folder with nothing in it but dev/null."""

    def setUp(self) -> None:
        super().setUp()
        self.make_null()
        # Outside of it: what is told by options is read before.
        self.token = self.folder / "token"
        self.token.write_text("s3cret\n")

    async def start_both(self, *twistd: str) -> tuple[WordsProcess, WordsProcess]:
        """Start both, and wait until they work together."""
        llama = await self.llama()
        words = (*_TELLTALE, "-n", "--pidfile=", f"--chroot={self.jail}", *twistd)
        token = f"--management-token-file={self.token}"
        options = ("--management-dashboard-enable", "--access-log", token)
        balancer = self.start(*words, *self.balancer_words(*options))
        agent = self.start(*words, *self.agent_words(llama, token))
        await self.has_slots(balancer, agent)
        return balancer, agent

    async def check_everything(self) -> None:
        """Chats, large bodies, pages, metrics and streams are answered."""
        await self.chat()
        body = json.dumps({"content": "the cat " * 20_000}).encode()
        code, answer = await fetch(self.public, "/tokenize", body)
        self.assertEqual(code, 200, answer)
        self.assertEqual((await fetch(self.public, "/slots"))[0], 403)
        self.assertEqual((await fetch(self.public, "/props", b"{}"))[0], 403)
        code, page = await fetch(self.management, "/dashboard")
        self.assertEqual((code, page[:15]), (200, b"<!doctype html>"))
        pages = ["agents", "balancer", "buffered_requests", "demand", "history"]
        files = [f"dashboard/{name}" for name in FILES if name != "index.html"]
        paths = [*files, "metrics", "health"]
        for path in [*paths, *(f"api/v1/{page}" for page in pages)]:
            code, answer = await fetch(self.management, f"/{path}", None, _TOKEN)
            self.assertEqual((path, code), (path, 200))
        self.assertEqual((await fetch(self.management, "/metrics"))[0], 401)

    def assert_inside(self, process: WordsProcess) -> None:
        """The process sees no more than the folder."""
        self.assertEqual(os.readlink(f"/proc/{process.pid}/root"), str(self.jail))

    async def check(self, *twistd: str) -> None:
        """All of it, and nothing is imported too late."""
        both = await self.start_both(*twistd)
        await self.check_everything()
        for process in both:
            self.assert_inside(process)
        balancer, agent = both
        await self.stop(agent, balancer)
        for process in both:
            self.assertNotIn("LATE IMPORT", process.output)

    async def test_epoll(self) -> None:
        """On the usual reactor."""
        await self.check()

    async def test_asyncio(self) -> None:
        """On asyncio's loop."""
        await self.check("--reactor=asyncio")

    async def test_uid(self) -> None:
        """As a user who may write nowhere, so that a large body has to stay in memory."""
        nobody = pwd.getpwnam("nobody")
        (self.jail / "etc").mkdir()
        (self.jail / "etc" / "passwd").write_text(
            f"nobody:x:{nobody.pw_uid}:{nobody.pw_gid}::/:/bin/false\n"
        )
        balancer, agent = await self.start_both("--uid=nobody")
        await self.check_everything()
        for process in (balancer, agent):
            self.assert_inside(process)
            status = Path(f"/proc/{process.pid}/status").read_text()
            self.assertRegex(status, rf"(?m)^Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t")
        await self.stop(agent, balancer)
        self.assertIn("large bodies of requests stay in memory: No usable temp", balancer.output)
        self.assertNotIn("LATE IMPORT", balancer.output + agent.output)

    async def test_daemon(self) -> None:
        """A daemon: its log is outside, for it was there before; its pidfile is within."""
        llama = await self.llama()
        pid, log = self.jail / "pid", self.folder / "log"
        twistd = (*TWISTD, "--pidfile=/pid", f"--logfile={log}", f"--chroot={self.jail}")
        process = self.start(*twistd, *self.balancer_words())
        await process.ended()
        self.assertEqual((process.exit_code, process.output), (0, ""))
        daemon = self.adopt(pid)
        agent = self.start(*TWISTD, "-n", "--pidfile=", *self.agent_words(llama))
        await self.has_slots(agent)
        await self.chat()
        await self.stop(agent)
        await self.end(daemon)
        self.assertFalse(pid.exists())
        self.assertNotIn("Traceback", log.read_text())

    async def test_agent_in_nothing(self) -> None:
        """An agent in the foreground needs not even dev/null."""
        llama = await self.llama()
        nothing = self.folder / "nothing"
        nothing.mkdir()
        twistd = (*_TELLTALE, "-n", "--pidfile=", f"--chroot={nothing}")
        agent = self.start(*twistd, *self.agent_words(llama))
        await until(lambda: "all is well" in agent.output, within=20, what="a look at it")
        await self.stop(agent)


class RefusalTests(JailCase):
    """What is missing is said in one line, before anything is done."""

    async def check(self, says: str, *twistd: str) -> None:
        """It ends with this line alone."""
        process = self.start(*TWISTD, *twistd, *self.balancer_words())
        await process.ended()
        self.assertEqual((process.exit_code, process.output), (1, says + "\n"))

    async def test_lines(self) -> None:
        """Each names the option and what to do."""
        jail, here = str(self.jail), f"--chroot={self.jail}"
        await self.check(
            "--chroot: got '/nowhere'; it needs a folder that is there", "--chroot=/nowhere"
        )
        await self.check(
            f"--chroot: {jail} needs a dev/null: mkdir -p {jail}/dev && "
            f"mknod -m 666 {jail}/dev/null c 1 3",
            here,
        )
        self.make_null()
        await self.check(
            f"--chroot: {jail} needs an etc/passwd with the user of --uid", here, "--uid=nobody"
        )
        await self.check(
            f"--pidfile: got '/run/pid'; it needs a folder that is there in {jail} (--chroot)",
            here,
            "--pidfile=/run/pid",
        )
