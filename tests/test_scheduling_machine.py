"""What must always be true of the scheduler, whatever happens: some thousand random steps."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.machines import run_machine

__all__ = ["SchedulerMachineTests"]


class SchedulerMachineTests(SynchronousTestCase):
    """`tests.machines.SchedulerMachine` for a while."""

    def test_five_thousand_steps(self) -> None:
        """Nothing that must always be true is ever not."""
        self.assertGreater(run_machine(examples=75), 5_000)
