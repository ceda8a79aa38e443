"""How often a llama-server is asked for its /slots.

Pure: `now` is an argument and nothing is asked here.

Note [falling asleep]: /slots is a task to llama-server. Asked often, it starves the
notice of clients that left and the pings of streams, so it is never asked twice within
`SHORTEST`. And each one resets the timer of --sleep-idle-seconds, or wakes it: polled
steadily, a server would never sleep. /health and /props disturb nothing, but neither
tells whether a server that is awake will ever sleep, nor that it works. So:

- Not asked while /props says that it sleeps.
- A version whose /props has no `is_sleeping` can't sleep: always asked at `SHORTEST`.
- One that works (a busy slot, a slot whose last task is another than before, or slots that
  the balancer has in use) is asked at `SHORTEST`: the timer runs only after its work anyway.
- One that stays idle is asked ever more rarely, with pauses of half the time that it has
  been idle. Some pause is then longer than any idle time the operator may have set, and
  in that pause it falls asleep, after two to four times as long as without an agent.
- Once it was seen to fall asleep after a pause, its idle time is no longer than that, so
  from then on an idle sample is followed by one such pause: it sleeps on time.
- One that sat through `LONGEST` without work or sleep is one that doesn't sleep: it is
  asked at `SHORTEST` until another process takes its place.

What that costs is that the work of clients that the balancer doesn't know is noticed
late on a server that was idle for long, until it is seen once.
"""

from __future__ import annotations

import attrs

from paddler.agent.llamacpp import Slots

__all__ = ["LONGEST", "SHORTEST", "SlotsPace"]

#: Seconds between two questions for /slots, at least.
SHORTEST = 2.0
#: The longest pause, which is the longest idle time that is recognised.
LONGEST = 3600.0
#: What is added to a pause known to let a server fall asleep, against rounding.
MARGIN = 1.0


@attrs.define(eq=False)
class SlotsPace:
    """When one process of llama-server may be asked for its /slots.

    :param asked_at: the clock's seconds of the last question, also to a process before.
    """

    asked_at: float | None = None
    _quiet_for: float = attrs.field(default=0.0, init=False)
    _idle_since: float | None = attrs.field(default=None, init=False)
    _tasks: tuple[int | None, ...] = attrs.field(default=(), init=False)
    _asleep: bool = attrs.field(default=False, init=False)
    _sleeps_within: float | None = attrs.field(default=None, init=False)
    _sleepless: bool = attrs.field(default=False, init=False)

    def seconds_until_due(self, now: float, *, can_sleep: bool) -> float:
        """How long to wait with the next question; 0 or less: ask.

        :param can_sleep: this version of llama-server knows sleep.
        """
        if self.asked_at is None:
            return 0.0
        return self.asked_at + (self._pause() if can_sleep else SHORTEST) - now

    def _pause(self) -> float:
        if self._sleepless or self._idle_since is None or self.asked_at is None:
            return SHORTEST
        idle = self.asked_at - self._idle_since
        pause = min(idle / 2, LONGEST)
        if self._sleeps_within is not None and idle > 0:
            pause = self._sleeps_within + MARGIN
        # Idle times are whole seconds. Half a second off, no question meets the very moment
        # in which it falls asleep, and wakes it.
        return int(max(SHORTEST, pause)) + 0.5

    def asked(self, now: float) -> None:
        """A question for /slots has ended, with an answer or without.

        Pauses are counted from here and not from its beginning, so that a slow way there
        does not bring two questions closer together.
        """
        self._quiet_for = 0.0 if self.asked_at is None else now - self.asked_at
        self.asked_at = now

    def answered(self, slots: Slots) -> None:
        """The question that ended last has brought a sample."""
        worked = slots.busy > 0 or slots.tasks != self._tasks
        self._tasks = slots.tasks
        if slots.busy:
            self._idle_since = None
        elif worked or self._idle_since is None:
            self._idle_since = self.asked_at
        elif self._quiet_for >= LONGEST:
            self._sleepless = True

    def in_use(self) -> None:
        """The balancer has slots in use there."""
        self._idle_since = None

    def seen(self, now: float, *, asleep: bool) -> None:
        """/props said whether it sleeps."""
        if asleep and not self._asleep and self.asked_at is not None:
            took = now - self.asked_at
            self._sleeps_within = min(took, self._sleeps_within or took)
        if self._asleep and not asleep:
            self._idle_since = None  # what woke it is work
        self._asleep = asleep
