"""Which llama-server is believed to have how much of a prompt.

For each upstream the prompts that were sent there are remembered, the least recently used first
out beyond what its cache is believed to hold. Answers put right what is believed wrongly.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

import attrs

from paddler.facts import Facts
from paddler.prompts import Prompt
from paddler.scheduling.beginnings import Beginnings
from paddler.scheduling.caches import TOKENS_KEPT, Cache, Held
from paddler.scheduling.seen import NoSessions, Seen
from paddler.scheduling.slots import Upstream

__all__ = ["Heads", "Seen"]

#: Bytes for a token until answers have said; English has 4 to 5.
BYTES_PER_TOKEN = 4.0
#: And what an answer may say.
LEAST_BYTES, MOST_BYTES = 0.5, 20.0
#: Holders of a beginning that are found at a time.
HOLDERS = 8
#: Holders of which each is asked for itself.
FEW = 3
#: Tokens from which a prompt that was gone says something, and one that was not says what a
#: token is.
TELLING = 200.0
#: Bytes of this process's memory for a prompt, and for each of its blocks, as measured.
_HELD, _BLOCK = 700, 20


@attrs.define(eq=False)
class Heads:
    """How the prompts begin that upstreams are believed to have.

    :param limit: the most bytes of memory for it.
    """

    _limit: int
    #: Another whenever what was seen before may be wrong.
    generation: int = attrs.field(default=0, init=False)
    #: Learnt from answers.
    bytes_per_token: float = attrs.field(default=BYTES_PER_TOKEN, init=False)
    _beginnings: Beginnings = attrs.field(factory=Beginnings, init=False)
    _caches: dict[Upstream, Cache] = attrs.field(factory=dict, init=False)
    #: All prompts, the least recently used first, and the bytes of memory for them.
    _all: OrderedDict[Held, None] = attrs.field(factory=OrderedDict, init=False)
    _taken: int = attrs.field(default=0, init=False)
    _number: int = attrs.field(default=0, init=False)
    _no_sessions: NoSessions = attrs.field(factory=NoSessions, init=False)
    _said_bytes: float = attrs.field(default=0.0, init=False)
    _said_tokens: float = attrs.field(default=0.0, init=False)

    @property
    def used(self) -> int:
        """Bytes of memory that it takes, about."""
        return self._beginnings.used + self._taken

    # Questions.

    def look(self, prompt: Prompt) -> Seen:
        """What is known of a prompt; who has it is told when it is asked."""
        known, chain, per_token = self._beginnings, prompt.chain, self.bytes_per_token
        if prompt.session in self._no_sessions:
            prompt.session = None
        deepest = known.deepest(chain)
        last = known.shared(chain, deepest)
        tokens = prompt.size / per_token
        shared = prompt.ends[last] / per_token if last >= 0 else 0.0
        elsewhere = (tokens - shared, shared)
        return Seen(prompt, tokens, shared, {}, elsewhere, False, self.generation, deepest)

    def see(self, prompt: Prompt) -> Seen:
        """Who has how much of a prompt."""
        seen = self.look(prompt)
        known, chain, there = self._beginnings, prompt.chain, seen.there
        if prompt.session is not None:
            for upstream in islice(known.holders(prompt.session), HOLDERS):
                there[upstream] = self._missing(seen, upstream, known.depth(chain, upstream))
        for depth in range(seen.deepest, -1, -1):
            holders = known.holders(chain[depth])
            if len(holders) <= len(there):
                continue
            for upstream in holders:
                if upstream in there:
                    continue
                if len(there) >= HOLDERS:
                    return seen
                there[upstream] = self._missing(seen, upstream, depth)
        seen.whole = True
        return seen

    def missing(self, seen: Seen, upstream: Upstream) -> tuple[float, float]:
        """The tokens that an upstream would have to evaluate: for this chat alone, and shared."""
        there = seen.there.get(upstream)
        if there is not None:
            return there
        if seen.whole:
            return seen.elsewhere
        prompt = seen.prompt
        depth = self._beginnings.depth(prompt.chain, upstream, seen.deepest)
        if depth < 0 and prompt.session is None:
            return seen.elsewhere
        there = seen.there[upstream] = self._missing(seen, upstream, depth)
        return there

    def only_holder(self, seen: Seen) -> Upstream | None:
        """The one that has most of a prompt; None: nobody, several, or the session may be there."""
        if seen.deepest < 0 or seen.prompt.session is not None:
            return None
        have = self._beginnings.holders(seen.prompt.chain[seen.deepest])
        if len(have) != 1:
            return None
        (upstream,) = have
        seen.there[upstream] = self._missing(seen, upstream, seen.deepest)
        return upstream

    def holders(self, seen: Seen) -> list[Upstream]:
        """Those that have most of a prompt, or its session; not all, where there are many."""
        known, prompt, deepest = self._beginnings, seen.prompt, seen.deepest
        have = known.holders(prompt.chain[deepest]) if deepest >= 0 else {}
        some = list(have if len(have) <= HOLDERS else islice(have, HOLDERS))
        if prompt.session is not None:
            named = islice(known.holders(prompt.session), HOLDERS)
            some += (u for u in named if u not in have)
        return some

    def least_elsewhere(self, seen: Seen, upstream: Upstream) -> float:
        """The least tokens that any other has to evaluate, where only this one has most of it."""
        prompt = seen.prompt
        depth = self._beginnings.several(prompt.chain, seen.deepest)
        if depth < 0:
            return seen.tokens
        others = self._beginnings.holders(prompt.chain[depth])
        if len(others) <= FEW:
            least = seen.tokens
            for other in others:
                if other is not upstream:
                    own, shared = self.missing(seen, other)
                    least = min(least, own + shared)
            return least
        # What several begin with is no chat of one of them.
        return (prompt.size - prompt.ends[depth]) / self.bytes_per_token

    def _missing(self, seen: Seen, upstream: Upstream, depth: int) -> tuple[float, float]:
        prompt, per_token, cache = seen.prompt, self.bytes_per_token, self._caches.get(upstream)
        if cache is None:
            return seen.elsewhere
        end, held = 0, None
        if depth >= 0:
            end, held = prompt.ends[depth], cache.ending(prompt.chain[depth])
        missing = (prompt.size - end) / per_token
        if prompt.session is not None and (held is None or not held.goes_on_as(prompt)):
            held = cache.of_session(prompt.session)
        elif held is not None and not held.goes_on_as(prompt):
            held = None
        if held is not None and held.size <= prompt.size:
            # It is this chat's, and its answer is there too.
            beyond = (prompt.size - held.size) / per_token - held.answered
            missing = min(missing, max(beyond, prompt.last / per_token))
        if missing < 1.0:
            missing = 1.0
        shared = seen.shared - end / per_token
        if shared <= 0.0:
            return missing, 0.0
        shared = min(missing, shared)
        return missing - shared, shared

    # What happens.

    def sent(self, seen: Seen, upstream: Upstream) -> Held | None:
        """A prompt is sent to an upstream, which will have it; None: it is too short to matter."""
        prompt, known, per_token = seen.prompt, self._beginnings, self.bytes_per_token
        chain = prompt.chain
        if not chain:
            return None
        cache = self._caches.get(upstream)
        if cache is None:
            cache = self._caches[upstream] = Cache()
        own, _ = self.missing(seen, upstream)
        depth = known.depth(chain, upstream, seen.deepest)
        before = cache.ending(chain[depth]) if depth >= 0 else None
        tokens, at_edge, begin, goes_on = prompt.size / per_token, False, 0, False
        if before is None:
            own_chain = chain.copy()
        else:
            # The server goes on with it, and keeps what comes of that in its place.
            begin = depth + 1
            tokens = before.tokens + max(0, prompt.size - before.size) / per_token
            at_edge, goes_on = self._take_out(cache, before), before.goes_on_as(prompt)
            if not goes_on:
                known.differ(chain)
            # What it began with is here already.
            own_chain = before.chain
            own_chain += chain[begin:]
        # More than a context holds is not kept.
        tokens = min(tokens, upstream.report.n_ctx or tokens)
        self._number += 1
        # Of what others begin with too, nothing can be told.
        believed = max(0.0, tokens - seen.shared - own)
        sizes = prompt.size, tokens, seen.shared, believed
        tail, by_name = prompt.tails[-1:], prompt.session is not None and not goes_on
        number = self._number, tail[0] if tail else 0
        held = Held(upstream, own_chain, prompt.session, *sizes, at_edge, *number, by_name)
        if begin < len(chain):
            known.add(chain, upstream, begin)
        if prompt.session is not None:
            known.add([prompt.session], upstream)
        cache.put(held)
        self._all[held] = None
        self._taken += _HELD + _BLOCK * len(chain)
        if cache.tokens > cache.room or known.used + self._taken > self._limit:
            self._trim(cache)
        return held

    def answered(self, held: Held, facts: Facts) -> None:
        """An upstream has answered a prompt, and says what it found."""
        if held.dropped:
            return
        tokens = held.tokens
        if facts.evaluated is not None:
            tokens = float(facts.cached + facts.evaluated)
            self._learn(held.size, tokens)
        cache = self._caches[held.upstream]
        cache.learn(held, tokens, facts.answered)
        if facts.evaluated is not None and held.believed >= TELLING:
            found = facts.cached - held.shared >= held.believed / 2
            if held.by_name and not found:
                # All chats of a client may be called alike; of the cache that says nothing.
                self._no_sessions.add(held.session)
                return self._trim(cache)
            gone = cache.judge(held, found=found)
            for old in gone:
                self._drop(cache, old)
            self.generation += bool(gone)
        if cache.tokens > cache.room:
            self._trim(cache)

    def refused(self, held: Held) -> None:
        """An upstream was sent a prompt and has evaluated nothing of it."""
        if not held.dropped:
            self._drop(self._caches[held.upstream], held)

    def forget(self, upstream: Upstream) -> None:
        """An upstream has nothing any more."""
        cache = self._caches.pop(upstream, None)
        if cache is not None:
            self.generation += 1
            for held in cache.all():
                self._drop(cache, held)

    def kept(self, upstream: Upstream) -> tuple[float, float]:
        """Tokens that an upstream is believed to have, and to have room for."""
        cache = self._caches.get(upstream)
        return (0.0, TOKENS_KEPT) if cache is None else (cache.tokens, cache.room)

    # Inside.

    def _learn(self, size: int, tokens: float) -> None:
        """Learn how many bytes a token has."""
        if tokens < TELLING:
            return
        # One answer that makes no sense is not all that is learnt.
        tokens = min(max(tokens, size / MOST_BYTES), size / LEAST_BYTES)
        self._said_bytes = 0.98 * self._said_bytes + size
        self._said_tokens = 0.98 * self._said_tokens + tokens
        self.bytes_per_token = self._said_bytes / self._said_tokens

    def _take_out(self, cache: Cache, held: Held) -> bool:
        """Out of its cache, what is known of its blocks left as it is.

        :returns: whether it was among the oldest there.
        """
        at_edge = cache.take_out(held)
        if held.session is not None:
            self._beginnings.remove([held.session], held.upstream)
        del self._all[held]
        self._taken -= _HELD + _BLOCK * len(held.chain)
        return at_edge

    def _drop(self, cache: Cache, held: Held) -> None:
        self._take_out(cache, held)
        self._beginnings.remove(held.chain, held.upstream)

    def _trim(self, cache: Cache) -> None:
        while cache.tokens > cache.room and (old := cache.too_many()) is not None:
            self._drop(cache, old)
        while self._beginnings.used + self._taken > self._limit and len(self._all) > 1:
            oldest = next(iter(self._all))
            self._drop(self._caches[oldest.upstream], oldest)
