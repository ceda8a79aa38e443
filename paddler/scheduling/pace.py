"""What llama-servers are at, how fast, and what they had cached, as answers and the clock tell."""

from __future__ import annotations

import math

import attrs

from paddler.facts import Facts
from paddler.scheduling.slots import Upstream

__all__ = ["Pace", "Paces"]

#: Tokens of a prompt evaluated in a second, and seconds for which a request holds its slot, while
#: nothing is known of anybody.
SPEED, HOLD = 500.0, 5.0
#: How much the newest counts.
OF_SPEED, OF_HOLD = 0.2, 0.05
#: Seconds in which of requests without a prompt one is enough to learn from.
OFTEN = 1.0
#: Tokens that say something of the speed; of fewer the time is mostly what each batch costs.
TELLING = 32
#: Tokens in a second below which a speed is none, and nothing to divide by; and seconds that a
#: request holds its slot at least.
SLOWEST, SHORTEST = 0.001, 0.001


@attrs.define(eq=False)
class Pace:
    """Of one upstream.

    :ivar speed: tokens of prompts that it evaluates in a second; None: not known.
    :ivar hold: seconds for which a request holds its slot; None: not known.
    :ivar answer_speed: tokens of an answer in a second; None: not known.
    :ivar until: when it should have evaluated what it was sent.
    :ivar unanswered: requests of which nothing has come back yet.
    :ivar pending: tokens of their prompts that it has to evaluate.
    :ivar prompt_tokens: of all prompts whose answers have said what was cached.
    :ivar cached_tokens: those of them that were.
    :ivar asked_at: when a request without a prompt was last sent there whose answer is listened to.
    """

    speed: float | None = None
    hold: float | None = None
    answer_speed: float | None = None
    until: float = 0.0
    unanswered: int = 0
    pending: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    asked_at: float = -math.inf


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
        pace = self._paces.get(upstream) or self.of(upstream)
        pace.unanswered += 1
        pace.pending += tokens
        begins = pace.until if pace.until > now else now
        pace.until = begins + tokens / (pace.speed or self.unknown)

    def ask(self, upstream: Upstream, now: float) -> bool:
        """Whether to listen to what the answer to a request without a prompt says of itself."""
        pace = self._paces.get(upstream) or self.of(upstream)
        if 0.0 <= now - pace.asked_at < OFTEN:
            return False
        pace.asked_at = now
        return True

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
        known = pace.hold
        if known is None:
            before = self._holds.get(HOLD)
            pace.hold = before + OF_HOLD * (seconds - before)
            self._holds.change(None, pace.hold)
        else:
            pace.hold = known + (step := OF_HOLD * (seconds - known))
            self._holds.sum += step

    def learn(self, upstream: Upstream, facts: Facts) -> None:
        """An answer says how fast it was, and what was cached."""
        pace, evaluated = self._paces.get(upstream) or self.of(upstream), facts.evaluated
        if evaluated is not None:
            pace.prompt_tokens += facts.cached + evaluated
            pace.cached_tokens += facts.cached
        said = facts.answer_speed
        if said is not None and said > SLOWEST and facts.answered > 1:
            before = pace.answer_speed or said
            pace.answer_speed = before + OF_SPEED * (said - before)
        said = facts.prompt_speed
        if evaluated and evaluated >= TELLING and said is not None and said > SLOWEST:
            old = pace.speed
            before = old or said
            pace.speed = before + OF_SPEED * (said - before)
            self._speeds.change(old, pace.speed)
            # It comes down slowly when the quickest is no more.
            fastest = self._fastest * 0.999
            self._fastest = pace.speed if pace.speed > fastest else fastest

    def forget(self, upstream: Upstream) -> None:
        """An upstream is no more."""
        pace = self._paces.pop(upstream, None)
        if pace is not None:
            self._speeds.change(pace.speed, None)
            self._holds.change(pace.hold, None)
