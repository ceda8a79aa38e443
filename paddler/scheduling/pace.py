"""What llama-servers are at, how fast, and what they had cached, as answers and the clock tell.

Note [Silence]. A server that is thought to be slow gets little, and so says little of itself: one
whose first answer was slow, as it had yet to read its model, would be left out for ever. So what is
known of a speed counts for less the longer nothing is heard, and what the others are like for more.

Note [Short prompts]. The next turn of a chat is some ten tokens behind thousands, and evaluated at
a fraction of the speed of a whole prompt: what a batch costs is most of it. What is to be told is
what a chat would cost elsewhere, where all of it is to be evaluated. So a prompt says as much of
the speed as it has tokens.
"""

from __future__ import annotations

import attrs

from paddler.facts import Facts
from paddler.scheduling.slots import Upstream

__all__ = ["Pace", "Paces"]

#: Tokens of a prompt evaluated in a second, and seconds for which a request holds its slot, while
#: nothing is known of anybody.
SPEED, HOLD = 500.0, 5.0
#: How much the newest counts; of the seconds that a slot is held the first ones count more.
OF_ANSWER, OF_HOLD = 0.2, 0.05
#: Tokens of a prompt that say as much of the speed as more would, and how many are remembered.
MUCH, REMEMBERED = 1000, 4000.0
#: Tokens that say something of the speed; of fewer the time is mostly what each batch costs.
TELLING = 32
#: Tokens in a second below and above which a speed is none; and seconds that a request holds its
#: slot at least.
SLOWEST, FASTEST, SHORTEST = 0.001, 1e6, 0.001
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
    #: Tokens by which it was measured, of late; how much that counts, of 1; and that there was
    #: something since the last look.
    _told: float = 0.0
    _sure: float = 1.0
    _heard: bool = False
    #: How much the next hold counts: what is known at first counts as one.
    _of_hold: float = 0.5

    def measure(self, tokens: int, speed: float) -> None:
        """An answer says how fast it was.

        See Note [Short prompts].

        :param tokens: that were evaluated.
        """
        tokens = tokens if tokens < MUCH else MUCH
        told, before = self._told + tokens, self.measured or speed
        # Nothing makes a server faster than it is, while much slows it down for a moment.
        share = tokens / (told if speed > before else REMEMBERED + tokens)
        self.speed = self.measured = before + share * (speed - before)
        self._told = told if told < REMEMBERED else REMEMBERED
        self._sure, self._heard = 1.0, True

    def fade(self, seconds: float, mean: float) -> None:
        """What is known of its speed is so much older than at the last look.

        :param mean: how fast all are.
        """
        if self._heard:
            # When, in that time, was not noted.
            self._heard, seconds = False, seconds - 2 * LOOKS
        if self.measured is not None and seconds > 0.0:
            faded = 0.5 ** (seconds / HALF)
            self._told *= faded
            self._sure *= faded
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
        pace = self._paces.get(upstream) or self.of(upstream)
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
        left = pace.pending - tokens
        pace.pending = left = left if left > 0.0 and pace.unanswered else 0.0
        # It has no more to do than what is unanswered, however much it was thought to have.
        until = now + left / (pace.speed or self.unknown)
        if until < pace.until:
            pace.until = until

    def ended(self, upstream: Upstream, seconds: float) -> None:
        """A request has held its slot for so long."""
        pace = self._paces.get(upstream) or self.of(upstream)
        if seconds < SHORTEST:
            seconds = SHORTEST
        known, share = pace.hold, pace._of_hold
        before = self._holds.get(HOLD) if known is None else known
        pace.hold = before + share * (seconds - before)
        if share > OF_HOLD:
            pace._of_hold = max(OF_HOLD, share / (1.0 + share))
        self._holds.change(known, pace.hold)

    def learn(self, upstream: Upstream, facts: Facts) -> None:
        """An answer says how fast it was, and what was cached."""
        pace, evaluated = self._paces.get(upstream) or self.of(upstream), facts.evaluated
        if evaluated is not None:
            pace.prompt_tokens += facts.cached + evaluated
            pace.cached_tokens += facts.cached
        said = facts.answer_speed
        if said is not None and SLOWEST < said < FASTEST and facts.answered > 1:
            before = pace.answer_speed or said
            pace.answer_speed = before + OF_ANSWER * (said - before)
        said = facts.prompt_speed
        if evaluated and evaluated >= TELLING and said is not None and SLOWEST < said < FASTEST:
            old = pace.speed
            pace.measure(evaluated, said)
            self._speeds.change(old, pace.speed)
            # It comes down slowly when the quickest is no more.
            fastest, speed = self._fastest * 0.999, pace.speed or 0.0
            self._fastest = speed if speed > fastest else fastest

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
            if seconds < 0.0:
                # The clock was set back: what was to end before now might seem to last for hours.
                pace.until = min(pace.until, now + pace.pending / (pace.speed or mean))
            old = pace.speed
            pace.fade(seconds, mean)
            self._speeds.change(old, pace.speed)
