"""Real llama-servers, agents and a balancer, and something that goes wrong every second.

Each is a process of its own. Under load for a minute, llama-servers and agents are killed, ended,
stopped and started again, while no request may be lost. PADDLER_CHAOS_SEED=N chooses other
faults, PADDLER_CHAOS_SECONDS=N another time.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.callers import Caller
from tests.llamas import RealLlama, fetch, free_port, until, wait_until_healthy
from tests.processes import PaddlerProcess, descriptors, processes_with, reactor
from tests.questions import Question, question, verdict

__all__ = ["ChaosTests"]

SEED = int(os.environ.get("PADDLER_CHAOS_SEED", "1"))
SECONDS = float(os.environ.get("PADDLER_CHAOS_SECONDS", "60"))
SERVERS, SLOTS, CLIENTS = 3, 2, 12
#: Seconds that any request may take, whatever happens; those that wait give up after 60.
HUNG = 75.0
#: Seconds that llama-server gets to end by itself: then a supervisor kills it.
PATIENCE = 8.0
#: One request in so many is left by its client.
LEFT = 25


@attrs.define(eq=False)
class Machine:
    """A llama-server and its agent.

    :param troubled: which of them has something done to it now.
    """

    llama: RealLlama
    agent: PaddlerProcess
    troubled: set[str] = attrs.field(factory=set)


@attrs.define(eq=False)
class Faults:
    """What is done to machines."""

    random: Random
    #: llama-servers that did not end by themselves after SIGTERM.
    stuck: int = 0

    async def pause(self, least: float, most: float) -> None:
        """Wait for a while."""
        await deferLater(reactor, self.random.uniform(least, most))

    async def kill_server(self, machine: Machine) -> None:
        """A llama-server crashes, and is started again."""
        await machine.llama.stop()
        await self.pause(0, 2)
        await machine.llama.start(slots=SLOTS)

    async def end_server(self, machine: Machine) -> None:
        """A llama-server is told to end; with requests running it stalls silently."""
        machine.llama.signal(signal.SIGTERM)
        kill = reactor.callLater(PATIENCE, self._kill_stuck, machine)
        await machine.llama.ended()
        if kill.active():
            kill.cancel()
        await self.kill_server(machine)

    def _kill_stuck(self, machine: Machine) -> None:
        self.stuck += 1
        machine.llama.signal(signal.SIGKILL)

    async def freeze_server(self, machine: Machine) -> None:
        """A llama-server stands still and goes on."""
        machine.llama.signal(signal.SIGSTOP)
        await self.pause(0.3, 5)
        machine.llama.signal(signal.SIGCONT)

    async def kill_agent(self, machine: Machine) -> None:
        """An agent crashes, and is started again."""
        await machine.agent.kill()
        await self.pause(0, 3)
        machine.agent.start()

    async def freeze_agent(self, machine: Machine) -> None:
        """An agent stands still and goes on."""
        machine.agent.signal(signal.SIGSTOP)
        await self.pause(0.3, 5)
        machine.agent.signal(signal.SIGCONT)

    async def end_agent(self, machine: Machine) -> None:
        """An agent takes its leave, and is started again."""
        machine.agent.signal(signal.SIGTERM)
        await machine.agent.ended()
        await self.pause(0, 3)
        machine.agent.start()


class ChaosTests(TestCase):
    """Whatever dies, what can be answered is answered."""

    timeout = SECONDS + 240

    async def setUp(self) -> None:
        self.random = Random(SEED)
        self.outcomes: Counter[str] = Counter()
        self.problems: list[str] = []
        self.longest = 0.0
        self.asked = 0
        self.management, self.public = free_port(), free_port()
        self.balancer = PaddlerProcess(
            "balancer",
            f"--management-port={self.management}",
            f"--reverseproxy-port={self.public}",
            "--max-tries=10",
        )
        self.addCleanup(self.balancer.kill)
        self.balancer.start()
        self.addCleanup(self.keep_log)
        self.machines = [await self.machine(number) for number in range(SERVERS)]
        await wait_until_healthy(self.public)

    def keep_log(self) -> None:
        """Leave the balancer's log in trial's temporary folder."""
        Path("chaos-balancer.log").write_text(self.balancer.output, encoding="utf-8")

    async def machine(self, number: int) -> Machine:
        """A llama-server and its agent."""
        llama = RealLlama()
        self.addCleanup(llama.stop)
        await llama.start(slots=SLOTS)
        agent = PaddlerProcess(
            "agent",
            f"--local-llamacpp-port={llama.port}",
            f"--management-port={self.management}",
            f"--name=llama-{number}",
            "--reporting-interval=500ms",
        )
        self.addCleanup(agent.kill)
        agent.start()
        return Machine(llama, agent)

    async def test_chaos(self) -> None:
        """Every request is answered whole, or cut as is laid down; nothing is left behind."""
        await self.until_all_agents_are(within=20, state="ready", slots_idle=SLOTS)
        before = descriptors(self.balancer.pid)
        faults = Faults(self.random)
        done = await self.make_trouble_under_load(faults)
        await self.until_all_agents_are(within=45, in_flight=0, foreign_busy=0, client_left=0)
        waiting = json.loads((await fetch(self.management, "/api/v1/demand"))[1])
        self.assertEqual(waiting["requests_waiting"], 0)
        await until(
            lambda: descriptors(self.balancer.pid) <= before,
            within=15,
            what=f"no more descriptors than the {before} before the load",
        )
        after = descriptors(self.balancer.pid)
        await self.end_all()
        log = self.balancer.output
        print(
            f"\nchaos, seed {SEED}: {self.asked} requests {dict(self.outcomes)}, "
            f"{log.count('goes to another')} sendings tried again, "
            f"faults {dict(done)}, {faults.stuck} servers that did not end by themselves, "
            f"the longest request {self.longest:.1f} s, descriptors {before} -> {after}"
        )
        self.assertEqual(self.problems, [])
        self.assertGreater(self.outcomes["whole"], 2 * SECONDS)
        self.assertNotIn("Traceback", log)
        self.assertNotIn("Unhandled", log)

    async def until_all_agents_are(self, *, within: float, **wanted: Any) -> None:
        """Wait until the balancer knows all agents and says this of each."""
        agents: list[dict[str, Any]] = []

        async def they_are() -> bool:
            answer = (await fetch(self.management, "/api/v1/agents"))[1]
            agents[:] = json.loads(answer)["agents"]
            fit = [each for each in agents if wanted.items() <= each.items()]
            return len(fit) == len(agents) == SERVERS

        try:
            await until(they_are, within=within, what=f"{wanted} of all agents")
        except AssertionError as error:
            raise AssertionError(f"{error}: {agents}; problems: {self.problems}") from None

    async def end_all(self) -> None:
        """Everything ends when it is told to, and nothing is left."""
        for machine in self.machines:
            machine.agent.signal(signal.SIGTERM)
            await machine.agent.ended()
            await machine.llama.stop()
        self.balancer.signal(signal.SIGTERM)
        await self.balancer.ended()
        self.assertEqual(self.balancer.exit_code, 0)
        words = [f"--management-port={self.management}"]
        words += [str(machine.llama.port) for machine in self.machines]
        self.assertEqual([left for word in words for left in processes_with(word)], [])

    # The faults.

    async def make_trouble_under_load(self, faults: Faults) -> Counter[str]:
        """Do something bad every second while clients ask; what was done, and how often."""
        until_then = reactor.seconds() + SECONDS
        clients = [Deferred.fromCoroutine(self.client(until_then)) for _ in range(CLIENTS)]
        done: Counter[str] = Counter()
        troubles: list[Deferred[None]] = []
        deeds: list[tuple[str, Callable[[Machine], Awaitable[None]]]] = [
            ("server", faults.kill_server),
            ("server", faults.end_server),
            ("server", faults.freeze_server),
            ("agent", faults.kill_agent),
            ("agent", faults.freeze_agent),
            ("agent", faults.end_agent),
        ]
        while reactor.seconds() < until_then:
            await deferLater(reactor, 1.0)
            what, deed = self.random.choice(deeds)
            machine = self.random.choice(self.machines)
            if what not in machine.troubled:
                done[deed.__name__] += 1
                troubles.append(Deferred.fromCoroutine(self.trouble(machine, what, deed)))
        await gatherResults(troubles, consumeErrors=True)
        await gatherResults(clients, consumeErrors=True)
        return done

    async def trouble(
        self, machine: Machine, what: str, deed: Callable[[Machine], Awaitable[None]]
    ) -> None:
        """Do one thing to one of a machine's two processes, and no other meanwhile."""
        machine.troubled.add(what)
        await deed(machine)
        machine.troubled.discard(what)

    # The load.

    async def client(self, until_then: float) -> None:
        """Ask one question after another, on a connection that is kept for some of them."""
        caller = Caller()
        while reactor.seconds() < until_then:
            if not caller.open or self.random.random() < 0.2:
                self.close(caller)
                caller = Caller()
                endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.public)
                await connectProtocol(endpoint, caller)
            self.asked += 1
            await self.ask(caller, question(self.asked, self.random))
        self.close(caller)

    async def ask(self, caller: Caller, asked: Question) -> None:
        """Ask one question, and note what became of it."""
        began = reactor.seconds()
        answering = caller.ask(asked.request())
        if self.random.randrange(LEFT) == 0:
            await deferLater(reactor, self.random.uniform(0, 0.5))
            if caller.open and not answering.called:
                caller.transport.abortConnection()
                await answering
                self.outcomes["left"] += 1
                return
        answering.addTimeout(HUNG, reactor, onTimeoutCancel=lambda result, _: None)
        answer = await answering
        took = reactor.seconds() - began
        outcome = "hung" if answer is None else verdict(asked, answer)
        self.longest = max(self.longest, took)
        self.outcomes[outcome if len(outcome) < 20 else "wrong"] += 1
        if outcome not in ("whole", "truncated", "cut"):
            self.problems.append(f"after {took:.1f} s: {asked}: {outcome}")

    def close(self, caller: Caller) -> None:
        """Leave; there must be nothing that nobody asked for."""
        if caller.stray:
            self.problems.append(f"came unasked: {caller.stray[:200]!r}")
        if caller.open:
            caller.transport.loseConnection()
