"""How far an upstream is trusted, by how it answered us.

Its agent sees it from beside; what counts here is what happened to our own requests. One that
refused or died gets nothing more until its agent has found it well again. One that
fails again and again is left out by the clock, longer each time, and must then answer
one request before it is trusted.
"""

from __future__ import annotations

from typing import Literal

import attrs

__all__ = ["FastErrors", "Fault", "Trust"]

#: What an upstream did to a request: took no connection; lost it before the answer had begun;
#: was loading its model; answered with an error of its own within milliseconds.
Fault = Literal["refused", "died", "loading", "error"]

#: Faults in a row that put it into quarantine: fast errors make a server look idle, so that it
#: draws all requests.
FAULTS_IN_A_ROW = 3
#: How much longer the longest quarantine is than the first: by default 40 s, within the time
#: that a request may wait for its server.
LONGEST = 4
#: How many requests that got a fast error are remembered.
REMEMBERED = 256


@attrs.define(eq=False)
class Trust:
    """What is held against one upstream.

    :param length: seconds of a first quarantine.
    """

    _length: float
    #: Until its agent's next good report nothing goes there, for this reason.
    waits_for_report: Literal["unreachable", "loading"] | None = attrs.field(
        default=None, init=False
    )
    #: When that began.
    since: float = attrs.field(default=0.0, init=False)
    #: When its quarantine is over; None: it is in none.
    until: float | None = attrs.field(default=None, init=False)
    #: When it came into quarantine.
    quarantined_at: float = attrs.field(default=0.0, init=False)
    #: The quarantine is over and one request may try it.
    on_trial: bool = attrs.field(default=False, init=False)
    #: What that request was granted, while it is under way and has no answer.
    trial: object = attrs.field(default=None, init=False)
    #: Something is held against it, which a good answer would clear.
    suspect: bool = attrs.field(default=False, init=False)
    _in_a_row: int = attrs.field(default=0, init=False)
    _last_cause: object = attrs.field(default=None, init=False)
    _quarantines: int = attrs.field(default=0, init=False)

    def fault(self, kind: Fault, cause: object, now: float, *, alone: bool) -> None:
        """It failed a request.

        :param cause: the request; one that a server dies of again is no news of the server.
        :param alone: no other upstream could serve instead: its quarantine does not grow.
        """
        waited = self.waits_for_report
        if kind != "error":
            why: Literal["unreachable", "loading"]
            why = "loading" if kind == "loading" else "unreachable"
            if why != self.waits_for_report:
                self.since = now
            self.waits_for_report = why
        if kind == "loading" or (self.until is not None and not self.on_trial):
            # What was under way when a quarantine began says nothing more.
            return
        # Of one crash many requests die: that is one fault.
        another = waited is None and (cause is None or cause != self._last_cause)
        if self.on_trial or kind == "error" or another:
            self._in_a_row += 1
            self.suspect = True
            self._last_cause = cause
        if self.on_trial or self._in_a_row >= FAULTS_IN_A_ROW:
            longer = 1 if alone else min(LONGEST, 2**self._quarantines)
            self._quarantines += 1
            self.suspect = True
            self._in_a_row = 0
            self.on_trial = False
            self.until = now + longer * self._length
            self.quarantined_at = now

    def answered(self) -> None:
        """It answered a request as it should: all is forgiven."""
        self._in_a_row = self._quarantines = 0
        self.suspect = False
        self._last_cause = None
        self.until = self.trial = None
        self.on_trial = False

    def reported_well(self) -> None:
        """Its agent has found it well."""
        self.waits_for_report = None

    def pass_time(self, now: float) -> None:
        """A quarantine that is over ends in a trial."""
        if self.until is not None and self.until <= now:
            self.on_trial = True


@attrs.define(eq=False)
class FastErrors:
    """Requests that got a fast error, and where first."""

    _first: dict[object, str] = attrs.field(factory=dict, init=False)

    def is_its_own(self, cause: object, where: str) -> bool:
        """Whether a request got an error of this kind elsewhere too: then it is its own fault.

        :param cause: tells the request from others; None: it is like no other.
        :param where: it got this one.
        """
        if cause is None:
            return False
        first = self._first.setdefault(cause, where)
        if len(self._first) > REMEMBERED:
            del self._first[next(iter(self._first))]
        return first != where
