"""What must always be true of the scheduler, whatever happens: a hundred thousand random steps."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.machines import run_machine

__all__ = ["SchedulerMachineLongTests"]


class SchedulerMachineLongTests(SynchronousTestCase):
    """`tests.machines.SchedulerMachine` for long."""

    def test_hundred_thousand_steps(self) -> None:
        """Nothing that must always be true is ever not."""
        self.assertGreater(run_machine(examples=1_500), 100_000)
