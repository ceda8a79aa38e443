"""Slots of one upstream that a request has, or had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import msgspec

if TYPE_CHECKING:
    from paddler.scheduling.caches import Running
    from paddler.scheduling.slots import Upstream

__all__ = ["ClientLeft", "Lease"]


class Lease(msgspec.Struct, eq=False):
    """Slots of one upstream promised to one request.

    :param upstream: whose slots.
    :param slots: how many.
    :param granted_at: when, in the caller's seconds.
    :param ended: they were given back.
    :param running: the prompt that was sent for it; None: it has none, or nobody wants to know.
    """

    upstream: Upstream
    slots: int
    granted_at: float
    ended: bool = False
    running: Running | None = None


@attrs.frozen(eq=False)
class ClientLeft:
    """Slots that may still work for a client that has gone."""

    slots: int
    closed_at: float
