"""One llama-server, as its own code has it.

Prompts are evaluated one after another, for the whole server; meanwhile each slot that answers
gets one token for each batch: it all but stops. With none to evaluate every slot gets its
tokens. What a slot has when it ends is kept, first in the slot and then in host memory, the
oldest saved first out; a prompt takes what it finds there out of it. Who finds all slots busy
waits in the server's own queue.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from random import Random

import attrs

from benchmarks.simulated.traffic import Fleet

__all__ = ["Request", "Server"]

#: Of a prompt that two must share for a slot to be taken for it, as `-sps` says; of what a slot
#: has, that must stay of use for it to be taken as it is; and of a saved one.
SIMILAR, IN_SLOT, SAVED = 0.1, 0.5, 0.25


@attrs.define(eq=False)
class Request:
    """One turn of a chat.

    :param chat: which, by its number.
    :param system: tokens of its system prompt.
    :param before: tokens of the chat before this turn.
    :param prompt: tokens of all.
    :param answer: tokens that come back.
    """

    chat: int
    turn: int
    arrived_at: float
    system: int
    before: int
    prompt: int
    answer: int
    server: int = -1
    sent_at: float = 0.0
    cached: int = 0
    left: float = 0.0
    began_at: float = 0.0
    first_at: float = 0.0
    #: What the balancer keeps with it.
    note: object = None


@attrs.define(eq=False)
class Server:
    """One of the fleet.

    :param pace: how fast it is.
    :param shared: all chats have one system prompt.
    :param loses: the share of prompts that it loses unnoticed.
    """

    fleet: Fleet
    pace: float
    shared: bool
    loses: float
    random: Random
    running: int = 0
    version: int = 0
    _now: float = 0.0
    #: Tokens that each slot that answers has had, ever.
    _given: float = 0.0
    _prompts: deque[Request] = attrs.field(factory=deque)
    _answers: list[tuple[float, int, Request]] = attrs.field(factory=list)
    _waiting: deque[Request] = attrs.field(factory=deque)
    #: What is still in idle slots: of which chat, how many tokens.
    _slots: list[tuple[int, int]] = attrs.field(factory=list)
    _saved: OrderedDict[int, int] = attrs.field(factory=OrderedDict)
    _saved_tokens: int = 0

    @property
    def prefill(self) -> float:
        """Tokens of a prompt in a second."""
        return self.fleet.prefill * self.pace

    @property
    def decode(self) -> float:
        """Tokens of an answer in a second."""
        return self.fleet.decode * self.pace

    def take(self, request: Request, now: float) -> None:
        """A request comes."""
        self.advance(now)
        if self.running < self.fleet.slots:
            self._launch(request)
        else:
            self._waiting.append(request)

    def advance(self, now: float) -> None:
        """Work until now; nothing begins or ends before that."""
        lasted = now - self._now
        if lasted > 0:
            if self._prompts:
                self._prompts[0].left -= lasted * self.prefill
                self._given += lasted * self.prefill / self.fleet.batch
            elif self._answers:
                self._given += lasted * self.decode
        self._now = now

    def next_change(self) -> float | None:
        """When something ends; None: nothing runs."""
        if self._prompts:
            lasts = self._prompts[0].left / self.prefill
            if self._answers:
                left = self._answers[0][0] - self._given
                lasts = min(lasts, left * self.fleet.batch / self.prefill)
        elif self._answers:
            lasts = (self._answers[0][0] - self._given) / self.decode
        else:
            return None
        return self._now + max(0.0, lasts)

    def first_tokens(self) -> list[Request]:
        """Requests whose prompts have just been evaluated."""
        firsts = []
        while self._prompts and self._prompts[0].left <= 1e-6 * self.prefill:
            request = self._prompts.popleft()
            request.first_at = self._now
            if self._prompts:
                self._prompts[0].began_at = self._now
            heapq.heappush(self._answers, (self._given + request.answer, request.chat, request))
            firsts.append(request)
        return firsts

    def ended(self) -> list[Request]:
        """Requests whose answers have just ended."""
        ended = []
        while self._answers and self._answers[0][0] <= self._given + 1e-6:
            request = heapq.heappop(self._answers)[2]
            self.running -= 1
            ended.append(request)
            if not (self.loses and self.random.random() < self.loses):
                self._slots.append((request.chat, request.prompt + request.answer))
            if self._waiting:
                self._launch(self._waiting.popleft())
        return ended

    def _launch(self, request: Request) -> None:
        found = self._find(request)
        self._slots = []
        self.running += 1
        request.cached = min(found, request.prompt - 1)
        request.left = float(max(1, request.prompt - found))
        if not self._prompts:
            request.began_at = self._now
        self._prompts.append(request)

    def _find(self, request: Request) -> int:
        """The tokens that need no evaluation: of a slot, or of what was saved."""
        best, place = 0, -1
        for number, kept in enumerate(self._slots):
            alike = self._alike(request, *kept)
            if alike > best and alike > SIMILAR * request.prompt:
                best, place = alike, number
        if place >= 0 and best >= IN_SLOT * self._slots[place][1]:
            del self._slots[place]
            self._save_slots()
            return best
        self._save_slots()
        chosen, of_use = None, 0.0
        if self.shared:
            for chat, tokens in self._saved.items():
                alike = self._alike(request, chat, tokens)
                if alike >= SAVED * tokens and alike / tokens > of_use and alike > best:
                    chosen, of_use, best = chat, alike / tokens, alike
        elif request.chat in self._saved:
            chosen = request.chat
            best = min(self._saved[chosen], request.before)
        if chosen is not None:
            self._saved_tokens -= self._saved.pop(chosen)
        return best

    def _alike(self, request: Request, chat: int, tokens: int) -> int:
        if chat == request.chat:
            return min(tokens, request.before)
        return min(request.system, tokens) if self.shared else 0

    def _save_slots(self) -> None:
        for chat, tokens in self._slots:
            if self._saved.get(chat, -1) >= tokens:
                continue
            self._saved_tokens += tokens - self._saved.pop(chat, 0)
            self._saved[chat] = tokens
            while self._saved_tokens > self.fleet.room and self._saved:
                self._saved_tokens -= self._saved.popitem(last=False)[1]
