"""What llama-servers are at, how fast, and what they had cached, as answers and the clock tell.

Note [Silence]. A server that is thought to be slow gets little, and so says little of itself: one
whose first answer was slow, as it had yet to read its model, would be left out for ever. So what is
known of a speed counts for less the longer nothing is heard, and what the others are like for more.
"""

from __future__ import annotations

import attrs

from paddler.facts import Facts
from paddler.scheduling.slots import Upstream

__all__ = ["Pace", "Paces"]

#: Tokens of a prompt evaluated in a second, and seconds for which a request holds its slot, while
#: nothing is known of anybody.
SPEED, HOLD = 500.0, 5.0
#: How much the newest counts, where there is news all the time.
OF_SPEED, OF_HOLD = 0.2, 0.05
#: Tokens that say something of the speed; of fewer the time is mostly what each batch costs.
TELLING = 32
#: Seconds of silence in which what is known of a speed comes to count half.
HALF = 60.0
#: Seconds from look to look at who was silent.
LOOKS = 10.0


@attrs.define(eq=False)
class Pace:
    """Of one upstream.

    :ivar speed: tokens of prompts that it is taken to evaluate in a second; None: not known.
    :ivar measured: the same as its answers have said.
    :ivar hold: seconds for which a request holds its slot; None: not known.
    :ivar answer_speed: tokens of an answer in a second; None: not known.
    :ivar until: when it should have evaluated what it was sent.
    :ivar unanswered: requests of which nothing has come back yet.
    :ivar pending: tokens of their prompts that it has to evaluate.
    :ivar prompt_tokens: of all prompts whose answers have said what was cached.
    :ivar cached_tokens: those of them that were.
    """

    speed: float | None = None
    measured: float | None = None
    hold: float | None = None
    answer_speed: float | None = None
    until: float = 0.0
    unanswered: int = 0
    pending: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    #: How much counts what was measured, of 1; and that it was since the last look.
    _sure: float = 1.0
    _heard: bool = False

    def measure(self, speed: float) -> None:
        """An answer says how fast it was."""
        before = speed if self.measured is None else self.measured
        # Nothing makes a server faster than it is, while much slows it down for a moment.
        share = 1.0 - (1.0 - OF_SPEED) * self._sure if speed > before else OF_SPEED
        self.speed = self.measured = before + share * (speed - before)
        self._sure, self._heard = 1.0, True

    def fade(self, seconds: float, mean: float) -> None:
        """What is known of its speed is so much older than at the last look.

        :param mean: how fast all are.
        """
        if self._heard:
            # When, in that time, was not noted.
            self._heard, seconds = False, seconds - 2 * LOOKS
        if self.measured is not None and seconds > 0.0:
            self._sure *= 0.5 ** (seconds / HALF)
            self.speed = mean + self._sure * (self.measured - mean)


@attrs.define(eq=False)
class _Mean:
    """The mean of what is known of each, kept as they change."""

    sum: float = 0.0
    count: int = 0

    def change(self, old: float | None, new: float | None) -> None:
        """One of them is another."""
        if old is not None and new is not None:
            self.sum += new - old
            return
        self.sum += (new or 0.0) - (old or 0.0)
        self.count += (new is not None) - (old is not None)

    def get(self, unknown: float) -> float:
        """The mean; `unknown` where nothing is known of anybody."""
        return self.sum / self.count if self.count else unknown


@attrs.define(eq=False)
class Paces:
    """Of all upstreams. One of which nothing is known is taken to be as fast as the others are."""

    _paces: dict[Upstream, Pace] = attrs.field(factory=dict, init=False)
    _speeds: _Mean = attrs.field(factory=_Mean, init=False)
    _holds: _Mean = attrs.field(factory=_Mean, init=False)
    _fastest: float = attrs.field(default=0.0, init=False)
    _looked_at: float = attrs.field(default=0.0, init=False)

    @property
    def fastest(self) -> float:
        """Tokens of a prompt in a second, where that is quickest; nobody is quicker."""
        return self._fastest or SPEED

    @property
    def unknown(self) -> float:
        """The same of one of which nothing is known."""
        return self._speeds.get(SPEED)

    def of(self, upstream: Upstream) -> Pace:
        """What is known of an upstream."""
        pace = self._paces.get(upstream)
        if pace is None:
            pace = self._paces[upstream] = Pace()
        return pace

    def speed(self, pace: Pace) -> float:
        """Tokens of a prompt in a second."""
        return self.unknown if pace.speed is None else pace.speed

    def hold(self, pace: Pace) -> float:
        """Seconds for which a request holds its slot."""
        return self._holds.get(HOLD) if pace.hold is None else pace.hold

    def sent(self, upstream: Upstream, tokens: float, now: float) -> None:
        """An upstream has so many tokens more to evaluate."""
        if not 0 <= now - self._looked_at < LOOKS:
            self._look(now)
        pace = self.of(upstream)
        pace.unanswered += 1
        pace.pending += tokens
        begins = pace.until if pace.until > now else now
        pace.until = begins + tokens / (pace.speed or self.unknown)

    def answers(self, upstream: Upstream, tokens: float, now: float) -> None:
        """A prompt that was sent has been evaluated, or nobody waits for it any more.

        :param tokens: as they were when it was sent.
        """
        pace = self._paces.get(upstream)
        if pace is None or not pace.unanswered:
            return
        pace.unanswered -= 1
        pace.pending = max(0.0, pace.pending - tokens) if pace.unanswered else 0.0
        # It has no more to do than what is unanswered, however much it was thought to have.
        pace.until = min(pace.until, now + pace.pending / (pace.speed or self.unknown))

    def ended(self, upstream: Upstream, seconds: float) -> None:
        """A request has held its slot for so long."""
        pace = self.of(upstream)
        known = pace.hold
        before = self._holds.get(HOLD) if known is None else known
        pace.hold = before + OF_HOLD * ((seconds if seconds > 0.001 else 0.001) - before)
        self._holds.change(known, pace.hold)

    def learn(self, upstream: Upstream, facts: Facts) -> None:
        """An answer says how fast it was, and what was cached."""
        pace = self.of(upstream)
        if facts.evaluated is not None:
            pace.prompt_tokens += facts.cached + facts.evaluated
            pace.cached_tokens += facts.cached
        if facts.answer_speed is not None and facts.answered > 1:
            before = facts.answer_speed if pace.answer_speed is None else pace.answer_speed
            pace.answer_speed = before + OF_SPEED * (facts.answer_speed - before)
        if facts.prompt_speed is not None and (facts.evaluated or 0) >= TELLING:
            old = pace.speed
            pace.measure(facts.prompt_speed)
            self._speeds.change(old, pace.speed)
            # It comes down slowly when the quickest is no more.
            self._fastest = max(pace.speed or 0.0, self._fastest * 0.999)

    def forget(self, upstream: Upstream) -> None:
        """An upstream is no more."""
        pace = self._paces.pop(upstream, None)
        if pace is not None:
            self._speeds.change(pace.speed, None)
            self._holds.change(pace.hold, None)

    def _look(self, now: float) -> None:
        """See Note [Silence]."""
        seconds, mean = now - self._looked_at, self.unknown
        self._looked_at = now
        for pace in self._paces.values():
            old = pace.speed
            pace.fade(seconds, mean)
            self._speeds.change(old, pace.speed)
