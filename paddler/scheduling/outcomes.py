"""What follows from an event: who gets which slots, what the log is told, who is doubted."""

from __future__ import annotations

import attrs

from paddler.errors import PaddlerError
from paddler.scheduling.lines import Waiter
from paddler.scheduling.notes import Note
from paddler.scheduling.slots import Lease, Upstream

__all__ = ["NOTHING", "Grant", "Outcome", "Refusal"]


@attrs.frozen
class Grant:
    """A waiter gets its lease."""

    waiter: Waiter
    lease: Lease


@attrs.frozen
class Refusal:
    """A waiter can't be served after all."""

    waiter: Waiter
    error: PaddlerError


@attrs.frozen
class Outcome:
    """What follows from an event.

    :param doubted: upstreams whose agents have begun to doubt them, or no longer do.
    """

    grants: tuple[Grant, ...] = ()
    notes: tuple[Note, ...] = ()
    doubted: tuple[Upstream, ...] = ()
    refused: tuple[Refusal, ...] = ()


#: Nothing follows, and nothing is due earlier than before.
NOTHING = Outcome()
