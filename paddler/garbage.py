"""What is there when a service has started is there until it ends, and no garbage.

Python's collector now and then looks at all that there is, and everything stands still meanwhile:
for a balancer's modules alone some 50 ms, in which no answer goes on. So it is told to pass over
them.
"""

from __future__ import annotations

import gc
from typing import Any

__all__ = ["spare_the_start"]


def spare_the_start(reactor: Any) -> None:
    """Have what is there when the reactor runs never be looked at for garbage."""
    reactor.callWhenRunning(_spare)


def _spare() -> None:
    gc.collect()
    gc.freeze()
