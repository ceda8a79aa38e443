"""What twistd has our services write: with which mode (--umask), and profiles (--profile)."""

from __future__ import annotations

import pstats
import signal
import stat
from pathlib import Path

from tests.llamas import until
from tests.twistds import TWISTD, TwistdCase

__all__ = ["ProfileTests", "UmaskTests"]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class UmaskTests(TwistdCase):
    """twistd --umask."""

    async def test_everything(self) -> None:
        """The pidfile, the log, the one after it, and unix sockets have the mode that is left."""
        ends = "--management-endpoint=unix:management", f"--reverseproxy-port={self.public}"
        daemon = await self.daemon("--umask=027", "paddler-balancer", *ends)
        for name in ("pid", "log", "management"):
            self.assertEqual(oct(_mode(self.folder / name)), "0o640", name)
        daemon.signal(signal.SIGUSR1)
        await until((self.folder / "log.1").exists, what="the next log")
        await until((self.folder / "log").exists, what="the log")
        self.assertEqual(oct(_mode(self.folder / "log")), "0o640")

    async def test_json_log(self) -> None:
        """So has a log of JSON."""
        await self.daemon("--umask=026", *self.balancer_words("--log-format=json"))
        self.assertEqual(oct(_mode(self.folder / "log")), "0o640")

    async def check_socket(self, twistd: str, description: str, mode: int) -> None:
        """The socket of a balancer that was told so has this mode."""
        process = self.start(
            *TWISTD,
            "-n",
            "--pidfile=",
            twistd,
            "paddler-balancer",
            f"--management-port={self.management}",
            f"--reverseproxy-endpoint={description}",
        )
        await until(lambda: "clients on" in process.output, within=20, what="the start")
        self.assertEqual(oct(_mode(self.folder / "socket")), oct(mode))
        await self.stop(process)

    async def test_socket_with_a_mode(self) -> None:
        """A unix socket whose description names a mode has that one, whatever the mask."""
        await self.check_socket("--umask=077", "unix:socket:mode=660", 0o660)

    async def test_socket_without_a_mask(self) -> None:
        """Where nobody gave a mask, Twisted opens it to all, as ever."""
        await self.check_socket("--rundir=.", "unix:socket", 0o666)

    async def test_agent(self) -> None:
        """The agent's daemon keeps it, too."""
        await self.daemon("--umask=037", "paddler-agent", f"--management-port={self.management}")
        for name in ("pid", "log"):
            self.assertEqual(oct(_mode(self.folder / name)), "0o640", name)


class ProfileTests(TwistdCase):
    """twistd --profile."""

    async def test_text(self) -> None:
        """Each profiler writes what it has seen when SIGTERM ends the service."""
        for profiler in ("cprofile", "profile"):
            words = f"--profile=by-{profiler}", f"--profiler={profiler}"
            process = self.start(*TWISTD, "-n", "--pidfile=", *words, *self.balancer_words())
            await self.healthy()
            await self.stop(process)
            text = (self.folder / f"by-{profiler}").read_text()
            self.assertIn("function calls", text)
            self.assertIn("channel.py", text)

    async def test_statistics(self) -> None:
        """A daemon writes them for Python to read."""
        words = f"--profile={self.folder / 'stats'}", "--savestats"
        daemon = await self.daemon(*words, *self.balancer_words())
        await self.healthy()
        await self.end(daemon)
        functions = {name for _, _, name in pstats.Stats(str(self.folder / "stats")).stats}
        self.assertIn("requestReceived", functions)

    async def test_agent(self) -> None:
        """The agent's, which has reported in the meantime."""
        llama = await self.llama()
        balancer = self.start(*TWISTD, "-n", "--pidfile=", *self.balancer_words())
        agent = self.start(*TWISTD, "-n", "--pidfile=", "--profile=agent", *self.agent_words(llama))
        await self.has_slots(agent)
        await self.stop(agent, balancer)
        self.assertIn("reporter.py", (self.folder / "agent").read_text())
