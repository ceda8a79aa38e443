"""The fast lane: plain requests on asyncio's transports, beside twisted.web's connections."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Any

__all__ = ["loop_of"]


def loop_of(reactor: Any) -> AbstractEventLoop | None:
    """The asyncio loop that a reactor runs on; None: it runs on none."""
    # Twisted has no public name for it.
    loop: AbstractEventLoop | None = getattr(reactor, "_asyncioEventloop", None)
    return loop
