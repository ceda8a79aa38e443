"""More clients than the system lets the balancer have: they wait, and none is turned away."""

from __future__ import annotations

import resource
from collections import Counter

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from paddler.testing import ScriptedServer
from paddler.values import Address, Report
from tests.llamas import fetch, free_port, until, wait_until_healthy
from tests.processes import PaddlerProcess, descriptors, reactor

__all__ = ["FewDescriptorsTests"]

LIMIT, CLIENTS, SLOTS = 512, 800, 8


class FewDescriptorsTests(TestCase):
    """A balancer on a system with a low limit that it can't raise."""

    timeout = 120

    async def test_more_clients_than_descriptors(self) -> None:
        """All are answered, and agents are heard while as many clients wait as there may be."""
        management, public = free_port(), free_port()
        balancer = PaddlerProcess(
            "balancer", f"--management-port={management}", f"--reverseproxy-port={public}"
        )
        self.addCleanup(balancer.kill)
        balancer.start()
        # Long before it looks at its limit: Python itself takes longer to start.
        resource.prlimit(balancer.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        await wait_until_healthy(public)
        self.assertIn(f"{LIMIT} files and connections may be open", balancer.output)
        server = ScriptedServer(reactor)
        await server.start()
        self.addCleanup(server.stop)

        asking = gatherResults([fetch(public, "/completion", b"{}") for _ in range(CLIENTS)])
        full = LIMIT * 3 // 4
        await until(lambda: descriptors(balancer.pid) >= full, what="a full balancer")
        report = Report("one", Address("127.0.0.1", server.port), 3600.0, SLOTS)
        code, _ = await fetch(management, "/api/v1/agent_status_update/one", report.to_json())
        self.assertEqual(code, 200)
        self.assertEqual(Counter(code for code, _ in await asking), {200: CLIENTS})
        self.assertNotIn("EMFILE", balancer.output)
        self.assertNotIn("Too many open files", balancer.output)
