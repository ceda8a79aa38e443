"""Waiting for something before the reactor runs.

What a service needs before it can be made, and what takes a connection to learn. It is waited
for here, where what goes wrong still reaches the terminal: twistd becomes a daemon only after
it has made the service, and tells no one of what happens once its reactor runs.

A reactor runs once, so the process' own is not used for this: it would have no threads to look
up names in, and must have none when twistd forks. Nothing here knows what is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

__all__ = ["run_ahead"]

_T = TypeVar("_T")


class _Ahead(SelectReactor):
    """Runs without a word in the log, and ends at once at Ctrl-C."""

    def mainLoop(self) -> None:
        while self.running:
            due = self.timeout()
            self.iterate(1.0 if due is None else due)


def run_ahead(work: Callable[[Any], Deferred[_T]]) -> _T:
    """Do something that takes a reactor, and wait for it; signals do what they did before.

    :param work: given a reactor that nothing else runs on.
    :returns: what its Deferred fires with; its failure is raised.
    """
    reactor = _Ahead()
    results: list[_T | Failure] = []

    def begin() -> None:
        try:
            work(reactor).addBoth(results.append).addBoth(stop)
        except BaseException:  # Ctrl-C too, which Twisted would log here, and go on
            results.append(Failure())
            stop(None)

    def stop(_: None) -> None:
        # Not at once: connections that were given up are closed on the reactor's next turn.
        reactor.callLater(0, reactor.stop)

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result
