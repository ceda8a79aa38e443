"""What finds room for waiters, by the policy that it does so with."""

from __future__ import annotations

from random import Random

from paddler.scheduling.fleet import Fleet
from paddler.scheduling.granting import Granting
from paddler.scheduling.policies import Policy, Prefix
from paddler.scheduling.toll import Toll
from paddler.scheduling.waiting import WaitingQueue

__all__ = ["granting_by"]


def granting_by(
    policy: Policy | Prefix, random: Random, fleet: Fleet, queue: WaitingQueue
) -> Granting:
    """What finds room for waiters by a policy."""
    if isinstance(policy, Prefix):
        return Toll(policy, random, fleet, queue)
    return Granting(policy, random, fleet, queue)
