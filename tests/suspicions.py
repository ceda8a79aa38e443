"""An account of what may be held against one upstream, kept beside the scheduler's own."""

from __future__ import annotations

import attrs

from paddler.scheduling.slots import Lease
from paddler.scheduling.trust import Fault
from paddler.values import BLOCKING_ISSUES, Report
from tests.scenes import QUARANTINE

__all__ = ["Suspicion"]


@attrs.define(eq=False)
class Suspicion:
    """One upstream: whether it waits for a report, and its quarantine."""

    waits: bool = False
    until: float | None = None
    #: That time has come, and the scheduler was told.
    over: bool = False
    #: The request that tries it after a quarantine, while it runs and is not answered.
    trial: Lease | None = None
    faults: list[object] = attrs.field(factory=list)
    quarantines: int = 0

    @property
    def may_be_granted(self) -> bool:
        """Something, by this account alone."""
        trusted = self.until is None or (self.over and self.trial is None)
        return trusted and not self.waits

    def pass_time(self, now: float) -> None:
        """The scheduler is told the time."""
        self.over = self.until is not None and self.until <= now

    def granted(self, lease: Lease) -> None:
        """A request goes there."""
        assert self.may_be_granted
        if self.until is not None:
            self.trial = lease

    def ended(self, lease: Lease) -> None:
        """That request ends."""
        if self.trial is lease:
            self.trial = None

    def heard(self, report: Report) -> None:
        """Its agent reports."""
        if report.slots_total and not BLOCKING_ISSUES & set(report.issues):
            self.waits = False

    def answered(self) -> None:
        """It answered."""
        self.until = self.trial = None
        self.over = False
        self.faults, self.quarantines = [], 0

    def fault(self, fault: Fault, cause: object, now: float, alone: bool) -> None:
        """It failed."""
        waited, self.waits = self.waits, self.waits or fault != "error"
        if fault == "loading" or (self.until is not None and not self.over):
            # Those that were under way when a quarantine began make it no longer.
            return
        # Those that die while it waits for a report already die of the same.
        again = cause is not None and self.faults[-1:] == [cause]
        if fault == "error" or not (waited or again):
            self.faults.append(cause)
        if self.until is not None or len(self.faults) == 3:
            times = 1 if alone else (1, 2, 4)[min(2, self.quarantines)]
            self.faults = []
            self.until = now + times * QUARANTINE
            self.quarantines += 1
            self.over = False
