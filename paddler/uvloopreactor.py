"""Twisted's asyncio reactor on a loop of uvloop's; `install` is what `--reactor=uvloop` calls."""

from __future__ import annotations

from twisted.internet import asyncioreactor

__all__ = ["install"]


def install() -> None:
    """Make it the global reactor.

    :raises ImportError: uvloop is not installed.
    """
    import uvloop

    asyncioreactor.install(uvloop.new_event_loop())
