"""How many files and connections this process may have open.

Many systems start a process with 1024 and let it ask for more by itself. A balancer has one
for each client that waits and two for each that is served. Nothing here knows of a balancer.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

from twisted.internet.selectreactor import SelectReactor

__all__ = ["most_of", "raise_descriptor_limit"]

#: select(2) knows no descriptors with greater numbers (FD_SETSIZE).
_MOST_OF_SELECT = 1024

#: Where the hard limit is none at all, some systems refuse to take it as it is, and take this.
_WITHOUT_HARD_LIMIT = 10240

_Limits = tuple[int, int]


def most_of(reactor: Any) -> int | None:
    """How many descriptors a reactor can wait for; None: as many as there are."""
    return _MOST_OF_SELECT if isinstance(reactor, SelectReactor) else None


def raise_descriptor_limit(
    get: Callable[[int], _Limits] = resource.getrlimit,
    put: Callable[[int, _Limits], None] = resource.setrlimit,
    most: int | None = None,
) -> int | None:
    """Raise the soft limit of open descriptors as far as the system lets us.

    :param get: reads a resource's soft and hard limit.
    :param put: sets them.
    :param most: more than these are of no use, and are not asked for; a limit that is higher
        already is lowered, so that there never is one too many.
    :returns: the limit from now on; None: there is none.
    """
    soft, hard = get(resource.RLIMIT_NOFILE)
    if most is not None and (hard == resource.RLIM_INFINITY or most <= hard):
        put(resource.RLIMIT_NOFILE, (most, hard))
        return most
    wanted = [hard]
    if hard == resource.RLIM_INFINITY:
        wanted.append(_WITHOUT_HARD_LIMIT)
    for limit in wanted:
        if soft == resource.RLIM_INFINITY or soft >= limit != resource.RLIM_INFINITY:
            break
        try:
            put(resource.RLIMIT_NOFILE, (limit, hard))
        except (OSError, ValueError):
            continue
        soft = limit
        break
    return None if soft == resource.RLIM_INFINITY else soft
