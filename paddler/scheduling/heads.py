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
        if prompt.session is not None and prompt.session in self._no_sessions:
            prompt.session = None
        depths = _, last, _ = self._beginnings.look(prompt.chain)
        tokens = prompt.size / self.bytes_per_token
        shared = prompt.ends[last] / self.bytes_per_token if last >= 0 else 0.0
        elsewhere = tokens - shared, shared
        return Seen(prompt, tokens, shared, {}, elsewhere, False, self.generation, *depths)

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
        prompt, depth = seen.prompt, seen.deepest
        if upstream not in seen.holders:
            depth = self._beginnings.depth(prompt.chain, upstream, depth)
            if depth < 0 and prompt.session is None:
                return seen.elsewhere
        there = seen.there[upstream] = self._missing(seen, upstream, depth)
        return there

    def only_holder(self, seen: Seen) -> Upstream | None:
        """The one that has most of a prompt; None: nobody, several, or the session may be there."""
        if len(seen.holders) != 1 or seen.prompt.session is not None:
            return None
        (upstream,) = seen.holders
        seen.there[upstream] = self._missing(seen, upstream, seen.deepest)
        return upstream

    def holders(self, seen: Seen) -> list[Upstream]:
        """Those that have most of a prompt, or its session; not all, where there are many."""
        session, have = seen.prompt.session, seen.holders
        some = list(have if len(have) <= HOLDERS else islice(have, HOLDERS))
        if session is not None:
            named = islice(self._beginnings.holders(session), HOLDERS)
            some += (u for u in named if u not in have)
        return some

    def least_elsewhere(self, seen: Seen, upstream: Upstream) -> float:
        """The least tokens that any other has to evaluate, where only this one has most of it."""
        prompt = seen.prompt
        depth = self._beginnings.several(prompt.chain, seen.deepest, seen.last_shared)
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
        end, size, held = 0, prompt.size, None
        if depth >= 0:
            end, held = prompt.ends[depth], cache.ending(prompt.chain[depth])
            if held is not None and held.tail and not held.goes_on_as(prompt):
                held = None
        missing = (size - end) / per_token
        if held is None and prompt.session is not None:
            held = cache.of_session(prompt.session)
        if held is not None and held.size <= size:
            # It is this chat's, and its answer is there too, but its last message is not.
            beyond = (size - held.size) / per_token - held.answered
            last = prompt.last / per_token
            if beyond < last:
                beyond = last
            if beyond < missing:
                missing = beyond
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
        prompt, known = seen.prompt, self._beginnings
        chain, size, session = prompt.chain, prompt.size, prompt.session
        if not chain:
            return None
        cache = self._caches.get(upstream)
        if cache is None:
            cache = self._caches[upstream] = Cache()
        own, _ = seen.there.get(upstream) or self.missing(seen, upstream)
        depth = known.depth(chain, upstream, seen.deepest)
        before = cache.ending(chain[depth]) if depth >= 0 else None
        if before is None:
            begin, at_edge, goes_on, own_chain = 0, False, False, chain.copy()
            tokens = size / self.bytes_per_token
        else:
            # The server goes on with it, and keeps what comes of that in its place.
            begin, tokens = depth + 1, before.tokens
            if size > before.size:
                tokens += (size - before.size) / self.bytes_per_token
            at_edge = self._take_out(cache, before)
            goes_on = not before.tail or before.goes_on_as(prompt)
            if not goes_on:
                known.differ(chain)
            # What it began with is here already.
            own_chain = before.chain
            own_chain += chain[begin:]
        # More than a context holds is not kept.
        n_ctx = upstream.report.n_ctx
        if n_ctx and tokens > n_ctx:
            tokens = n_ctx
        self._number += 1
        # Of what others begin with too, nothing can be told.
        believed = tokens - seen.shared - own
        sizes = size, tokens, seen.shared, believed if believed > 0.0 else 0.0
        number = self._number, prompt.tails[-1] if prompt.tails else 0
        by_name = session is not None and not goes_on
        held = Held(upstream, own_chain, session, *sizes, at_edge, *number, by_name)
        if begin < len(chain):
            known.add(chain, upstream, begin)
        if session is not None:
            known.add([session], upstream)
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
        tokens, evaluated = held.tokens, facts.evaluated
        if evaluated is not None:
            tokens = told = float(facts.cached + evaluated)
            if told >= TELLING:
                size = held.size
                if not LEAST_BYTES <= size / told <= MOST_BYTES:
                    # One answer that makes no sense is not all that is learnt.
                    told = min(max(told, size / MOST_BYTES), size / LEAST_BYTES)
                self._said_bytes = 0.98 * self._said_bytes + size
                self._said_tokens = 0.98 * self._said_tokens + told
                self.bytes_per_token = self._said_bytes / self._said_tokens
        cache = self._caches[held.upstream]
        cache.learn(held, tokens, facts.answered)
        if held.believed >= TELLING and evaluated is not None:
            found = facts.cached - held.shared >= held.believed / 2
            if held.by_name and not found:
                # All chats of a client may be called alike; of the cache that says nothing.
                self._no_sessions.add(held.session)
                return self._trim(cache)
            gone = cache.judge(held, found=found)
            if gone:
                for old in gone:
                    self._drop(cache, old)
                self.generation += 1
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
