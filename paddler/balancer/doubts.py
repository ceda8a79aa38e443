"""Running answers of upstreams whose agents doubt them: how long nothing may come."""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from paddler.scheduling.slots import Upstream

__all__ = ["Patience", "Running", "Watch"]


@attrs.frozen
class Patience:
    """Seconds without a byte after which a running answer is given up.

    :param unreachable: when its agent has found the server's port closed: llama-server that
        was told to end keeps its connections open and says nothing more.
    :param timeout: when its agent gets no answer in time, which a long prompt can do too.
    """

    unreachable: float = 2.0
    timeout: float = 60.0


class Watched(Protocol):
    """An attempt, as far as doubts go."""

    upstream: Upstream
    watch: Watch | None

    def heard_at(self) -> float:
        """When something last came, or could not for reasons of our own."""

    def give_up(self, problem: str) -> None:
        """End as if the server had died."""


@attrs.define(eq=False)
class Watch:
    """Looks whether something comes, while an agent doubts the upstream."""

    _clock: IReactorTime
    _attempt: Watched
    _patience: float
    _since: float = attrs.field(init=False)
    _check: IDelayedCall | None = attrs.field(default=None, init=False)

    def begin(self) -> None:
        """Look for the first time when that can tell something."""
        self._since = self._clock.seconds()
        self._check = self._clock.callLater(self._patience, self._look)

    def end(self) -> None:
        """Look no more."""
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def _look(self) -> None:
        """Give up if nothing came for too long; else look again when that can be."""
        self._check = None
        heard = max(self._since, self._attempt.heard_at())
        left = heard + self._patience - self._clock.seconds()
        if left > 0:
            self._check = self._clock.callLater(left, self._look)
        else:
            self._attempt.give_up(
                f"nothing came for {self._patience:g} s, and its agent gets no answer either"
            )


@attrs.define(eq=False)
class Running:
    """The attempts that are under way, by upstream."""

    _clock: IReactorTime
    _patience: Patience
    _attempts: dict[Upstream, set[Watched]] = attrs.field(factory=dict, init=False)

    def add(self, attempt: Watched) -> None:
        """One begins."""
        there = self._attempts.get(attempt.upstream)
        if there is None:
            there = self._attempts[attempt.upstream] = set()
        there.add(attempt)
        if attempt.upstream.report.issues and attempt.upstream.doubt is not None:
            self._watch(attempt)

    def discard(self, attempt: Watched) -> None:
        """One has ended."""
        there = self._attempts[attempt.upstream]
        there.discard(attempt)
        if not there:
            del self._attempts[attempt.upstream]
        if attempt.watch is not None:
            attempt.watch.end()

    def doubted(self, upstream: Upstream) -> None:
        """An upstream's agent has begun to doubt that it works, or no longer does."""
        for attempt in list(self._attempts.get(upstream, ())):
            self._watch(attempt)

    def _watch(self, attempt: Watched) -> None:
        if attempt.watch is not None:
            attempt.watch.end()
            attempt.watch = None
        doubt = attempt.upstream.doubt
        if doubt is not None:
            patience = self._patience
            wait = patience.unreachable if doubt == "unreachable" else patience.timeout
            attempt.watch = Watch(self._clock, attempt, wait)
            attempt.watch.begin()
