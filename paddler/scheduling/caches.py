"""What one llama-server is believed to have evaluated and kept.

Note [What a cache holds]. Nobody says how many tokens a llama-server keeps: its host memory and
the model decide. So it is learnt at the edge: where one of the oldest prompts was
still there, more is believed; where it was gone, less. One that was lost elsewhere says
nothing of that. Several in a row that were gone are a restart that nobody saw.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs
import msgspec

from paddler.prompts import Prompt
from paddler.scheduling.slots import Upstream
from paddler.values import Report

__all__ = ["TOKENS_KEPT", "Cache", "Held", "Running", "loses_cache"]

#: Tokens that a llama-server is believed to keep at first: 8 GiB of an 8B model's.
TOKENS_KEPT = 64_000.0
LEAST_KEPT = 2_000.0
#: How much one at the edge changes that, and how many more may be gone there than elsewhere.
STEP, MORE_AT_THE_EDGE = 0.15, 0.25
#: So unlikely it must be that the last in a row were gone by chance, for it to be a restart.
BY_CHANCE = 0.001
#: The share that is gone by chance, at first and at least, and how much the newest counts.
GONE, GONE_LEAST, OF_GONE = 0.1, 0.02, 0.03


def loses_cache(before: Report, report: Report) -> bool:
    """Whether a llama-server has lost what it had evaluated, for what its agent says of it now.

    One that takes no connections has ended or is being started again; one that sleeps
    has no model; and one that serves something else has been started anew.
    """
    if report.sleeping or "unreachable" in report.issues or "loading" in report.issues:
        return True
    # What is not known at the moment is no other than before.
    pairs = (
        (before.models, report.models),
        (before.n_ctx, report.n_ctx),
        (before.slots_total, report.slots_total),
    )
    return any(old and new and old != new for old, new in pairs)


class Held(msgspec.Struct, eq=False, gc=False):
    """A prompt that an upstream has evaluated, or is evaluating.

    :param size: its bytes.
    :param tokens: of the prompt; estimated until its answer says.
    :param shared: those that other chats begin with too.
    :param believed: tokens of its own that were believed to be there when it was sent.
    :param at_edge: it had been among the oldest there, by half of all tokens.
    :param number: later ones have higher ones.
    :param tail: the hash of all of it; 0: it ends with its last block.
    :param by_name: what was believed to be there was so for its session's name.
    :ivar answered: tokens of its answer, which are kept with it.
    :ivar dropped: it is no longer believed to be there.
    """

    upstream: Upstream
    chain: list[int]
    session: int | None
    size: int
    tokens: float
    shared: float
    believed: float
    at_edge: bool
    number: int
    tail: int = 0
    by_name: bool = False
    answered: float = 0.0
    dropped: bool = False

    def goes_on_as(self, prompt: Prompt) -> bool:
        """Whether a prompt that has all its blocks is the same chat, as far as can be told.

        It is where this ends with its last block.
        """
        return not self.tail or len(prompt.chain) > len(self.chain) or self.tail in prompt.tails


class Running(msgspec.Struct, eq=False, gc=False):
    """A prompt that was sent.

    :param tokens: of it, that were to be evaluated.
    :param answers: something of its answer has come.
    """

    held: Held | None
    tokens: float
    answers: bool = False


@attrs.define(eq=False)
class Cache:
    """The prompts of one upstream.

    :ivar tokens: of all of them.
    :ivar room: the tokens that it is believed to have room for.
    """

    tokens: float = attrs.field(default=0.0, init=False)
    room: float = attrs.field(default=TOKENS_KEPT, init=False)
    #: By their last hashes, the least recently used first: those that were used last, of half of
    #: the tokens that there is room for, and all others.
    _young: OrderedDict[int, Held] = attrs.field(factory=OrderedDict, init=False)
    _old: OrderedDict[int, Held] = attrs.field(factory=OrderedDict, init=False)
    _young_tokens: float = attrs.field(default=0.0, init=False)
    _sessions: dict[int, Held] = attrs.field(factory=dict, init=False)
    #: The share of prompts that were gone, and how likely the last ones in a row were by chance.
    _gone: float = attrs.field(default=GONE, init=False)
    _chance: float = attrs.field(default=1.0, init=False)
    _first_gone: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def ending(self, value: int) -> Held | None:
        """The prompt whose last hash this is."""
        return self._young.get(value) or self._old.get(value)

    def of_session(self, session: int) -> Held | None:
        """The last prompt of a session."""
        return self._sessions.get(session)

    def put(self, held: Held) -> None:
        """Add a prompt, the most recently used; none that ends alike is there."""
        if held.session is not None:
            self._sessions[held.session] = held
        tokens = held.tokens + held.answered
        self.tokens += tokens
        self._young_tokens += tokens
        self._young[held.chain[-1]] = held
        if self._young_tokens > self.room / 2:
            self._age()

    def take_out(self, held: Held) -> bool:
        """A prompt is there no more, or another has taken its place.

        :returns: whether tokens of more than half the room were used since it was.
        """
        end, tokens = held.chain[-1], held.tokens + held.answered
        at_edge = self._young.pop(end, None) is None
        if at_edge:
            del self._old[end]
        else:
            self._young_tokens -= tokens
        if held.session is not None and self._sessions.get(held.session) is held:
            del self._sessions[held.session]
        self.tokens -= tokens
        held.dropped = True
        return at_edge

    def learn(self, held: Held, tokens: float, answered: float) -> None:
        """A prompt has so many tokens, and its answer."""
        more = tokens + answered - held.tokens - held.answered
        held.tokens, held.answered = tokens, answered
        self.tokens += more
        if held.chain[-1] in self._young:
            self._young_tokens += more

    def too_many(self) -> Held | None:
        """The least recently used, where there are more tokens than room; the last is let be."""
        if len(self) > 1:
            return next(iter((self._old or self._young).values()))
        return None

    def all(self) -> list[Held]:
        """All of them, the least recently used first."""
        return [*self._old.values(), *self._young.values()]

    def _age(self) -> None:
        """The oldest of the young is old when those behind it fill half the room."""
        young, half = self._young, self.room / 2
        while len(young) > 1:
            end = next(iter(young))
            oldest = young[end]
            left = self._young_tokens - oldest.tokens - oldest.answered
            if left <= half:
                break
            del young[end]
            self._young_tokens = left
            self._old[end] = oldest

    def judge(self, held: Held, *, found: bool) -> list[Held]:
        """Learn from a prompt that was there, or was not, as it was believed to be.

        :returns: those that can't be there either.
        """
        gone = self._gone
        if held.at_edge:
            # As many may be gone there as elsewhere, and some more.
            expected = min(1.0, gone + MORE_AT_THE_EDGE)
            step = STEP * (expected if found else expected - 1)
            self.room = max(LEAST_KEPT, self.room * (1 + step))
            return []
        self._gone += OF_GONE * ((not found) - gone)
        if found:
            self._chance = 1.0
            return []
        if self._chance == 1.0:
            self._first_gone = held.number
        self._chance *= max(GONE_LEAST, gone)
        if self._chance > BY_CHANCE:
            return []
        self._chance = 1.0
        return [old for old in self.all() if old.number < self._first_gone]
