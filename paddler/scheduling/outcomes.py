"""What follows from an event: who gets which slots, what the log is told, who is doubted."""

from __future__ import annotations

import attrs

from paddler.scheduling.lines import Waiter
from paddler.scheduling.notes import Note
from paddler.scheduling.slots import Lease, Upstream

__all__ = ["NOTHING", "Grant", "Outcome"]


@attrs.frozen
class Grant:
    """A waiter gets its lease."""

    waiter: Waiter
    lease: Lease


@attrs.frozen
class Outcome:
    """What follows from an event.

    :param doubted: upstreams whose agents have begun to doubt them, or no longer do.
    """

    grants: tuple[Grant, ...] = ()
    notes: tuple[Note, ...] = ()
    doubted: tuple[Upstream, ...] = ()


#: Nothing follows.
NOTHING = Outcome()
