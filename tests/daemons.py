"""What tests of daemons share: twistd's command, and waiting for what daemons do by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["TWISTD", "soon"]

_T = TypeVar("_T")

#: Python's words that run twistd.
TWISTD = ("-c", "import sys; from twisted.scripts.twistd import run; run()")


def soon(ask: Callable[[], _T], fits: Callable[[_T], bool], seconds: float = 10.0) -> _T:
    """The first answer that fits, else the one after so many seconds."""
    deadline = time.monotonic() + seconds
    while not fits(answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer
