"""Makes `twistd --reactor=uvloop` known: Twisted's asyncio reactor on a uvloop loop."""

from __future__ import annotations

from twisted.application.reactors import Reactor

__all__ = ["uvloop"]

uvloop = Reactor("uvloop", "paddler.uvloopreactor", "asyncio integration on uvloop's loop")
