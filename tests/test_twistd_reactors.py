"""twistd --reactor: the services do their work on each reactor that this system has."""

from __future__ import annotations

from pathlib import Path

from tests.llamas import until
from tests.twistds import TWISTD, TwistdCase

__all__ = ["ReactorTests"]


class ReactorTests(TwistdCase):
    """A balancer, an agent and a real llama-server."""

    async def check(self, name: str, kind: str) -> None:
        """A chat is answered on a reactor, and both processes end as they should."""
        llama = await self.llama()
        twistd = (*TWISTD, "-n", "--pidfile=", f"--reactor={name}")
        balancer = self.start(*twistd, *self.balancer_words())
        agent = self.start(*twistd, *self.agent_words(llama))
        await self.has_slots(balancer)
        await self.chat()
        await self.stop(agent, balancer)
        for process in (balancer, agent):
            self.assertIn(kind, process.output)

    async def test_epoll(self) -> None:
        """epoll, which is the usual one."""
        await self.check("epoll", "EPollReactor")

    async def test_poll(self) -> None:
        """poll."""
        await self.check("poll", "PollReactor")

    async def test_select(self) -> None:
        """select."""
        await self.check("select", "SelectReactor")

    async def test_asyncio(self) -> None:
        """asyncio's loop."""
        await self.check("asyncio", "AsyncioSelectorReactor")

    async def test_asyncio_daemon(self) -> None:
        """asyncio's loop in a daemon, which is made before the process is."""
        llama = await self.llama()
        daemon = await self.daemon("--reactor=asyncio", *self.balancer_words())
        agent = self.start(*TWISTD, "-n", "--pidfile=", *self.agent_words(llama))
        await self.has_slots()
        await self.chat()
        await self.stop(agent)
        await self.end(daemon)
        self.assertNotIn("Traceback", self.log())

    async def test_select_has_a_limit(self) -> None:
        """With select no connection gets a number that select can't wait for."""
        balancer = self.start(
            *TWISTD, "-n", "--pidfile=", "--reactor=select", *self.balancer_words()
        )
        await self.healthy()
        says = "1024 files and connections may be open, so 768 of clients and not 10000"
        await until(lambda: says in balancer.output, within=20, what="the line")
        self.assertIn("take another --reactor than select", balancer.output)
        limits = Path(f"/proc/{balancer.pid}/limits").read_text()
        self.assertRegex(limits, r"Max open files +1024 ")
        await self.stop(balancer)

    async def test_unknown(self) -> None:
        """One that is not there is named at the end, without a traceback."""
        process = self.start(*TWISTD, "--reactor=nonsense", *self.balancer_words())
        await process.ended()
        # Twisted 24.7 calls that a success.
        self.assertIn(process.exit_code, (0, 1))
        self.assertIn("does not exist: 'nonsense'", process.output)
        self.assertNotIn("Traceback", process.output)
