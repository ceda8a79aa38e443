"""Which of the upstreams with room a request goes to.

A policy is a value that chooses; it changes nothing. One that has to remember is only said
here, and is `paddler.scheduling.toll`.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import Protocol

import attrs

from paddler.scheduling.idle import Idle
from paddler.scheduling.lines import Waiter
from paddler.scheduling.serving import Servers
from paddler.scheduling.slots import Upstream

__all__ = ["IdleSlots", "Policy", "Prefix"]


class Policy(Protocol):
    """A way to choose."""

    def choose(
        self, waiter: Waiter, servers: Servers, avoid: Collection[Upstream], random: Random
    ) -> Upstream | None:
        """An upstream that has room for a request; None: there is none.

        :param servers: all that can serve what it needs.
        :param avoid: what is kept for others.
        """


@attrs.frozen
class IdleSlots:
    """Most idle slots first, random among equals, so that ties don't all go to one server.

    One that sleeps is woken when none that is awake has room.
    """

    def choose(
        self, waiter: Waiter, servers: Servers, avoid: Collection[Upstream], random: Random
    ) -> Upstream | None:
        """See `Policy`."""
        weight = waiter.weight
        if weight == 1 and not avoid:
            # What most ask for.
            most = servers.awake.idlest or servers.asleep.idlest
            return most[int(random.random() * len(most))] if most else None
        return _most_idle(weight, servers.awake, avoid, random) or _most_idle(
            weight, servers.asleep, avoid, random
        )


@attrs.frozen
class Prefix:
    """The policy: the server where the prompt costs everybody least.

    :param fairness_bound: seconds for which a request may be passed over.
    :param memory: the most bytes for what is known of prompts.
    """

    fairness_bound: float = 30.0
    memory: int = 64 * 2**20


def _most_idle(
    weight: int, idle: Idle, avoid: Collection[Upstream], random: Random
) -> Upstream | None:
    for slots, upstreams in idle.levels():
        if weight > slots:
            # What it costs somewhere is at most all that server has.
            upstreams = [u for u in upstreams if u.cost(weight) <= slots]
        if not upstreams:
            continue
        several = len(upstreams)
        chosen = upstreams[int(random.random() * several)] if several > 1 else upstreams[0]
        if chosen not in avoid:
            return chosen
        others = [upstream for upstream in upstreams if upstream not in avoid]
        if others:
            return random.choice(others)
    return None
