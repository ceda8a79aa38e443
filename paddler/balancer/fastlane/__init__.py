"""The fast lane: plain requests on asyncio's transports, beside twisted.web's connections."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from importlib.util import find_spec
from typing import Any

__all__ = ["loop_of"]


def loop_of(reactor: Any) -> AbstractEventLoop | None:
    """The asyncio loop that a reactor runs on; None: there is no fast lane on it.

    It takes Twisted's asyncio reactor, and httptools.
    """
    # Twisted has no public name for it.
    loop: AbstractEventLoop | None = getattr(reactor, "_asyncioEventloop", None)
    return loop if find_spec("httptools") is not None else None
