"""Which of the upstreams with room a request goes to.

A policy is a value that chooses; it changes nothing.
"""

from __future__ import annotations

from random import Random
from typing import Protocol

import attrs

from paddler.scheduling.idle import IdleIndex
from paddler.scheduling.slots import Upstream

__all__ = ["IdleSlots", "Policy"]


class Policy(Protocol):
    """A way to choose."""

    def choose(
        self, weight: int, idle: IdleIndex, avoid: Upstream | None, random: Random
    ) -> Upstream | None:
        """An upstream that has room for `weight`, other than `avoid`; None: there is none."""


@attrs.frozen
class IdleSlots:
    """Most idle slots first, random among equals, so that ties don't all go to one server."""

    def choose(
        self, weight: int, idle: IdleIndex, avoid: Upstream | None, random: Random
    ) -> Upstream | None:
        """See `Policy`."""
        for slots, upstreams in idle.levels():
            if weight > slots:
                # What it costs somewhere is at most all that server has.
                upstreams = [u for u in upstreams if u.cost(weight) <= slots]
            if not upstreams:
                continue
            place = random.randrange(len(upstreams))
            if upstreams[place] is not avoid:
                return upstreams[place]
            if len(upstreams) > 1:
                # Any other of them, each as likely.
                return upstreams[(place + random.randrange(1, len(upstreams))) % len(upstreams)]
        return None
