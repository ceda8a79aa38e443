"""The real scheduler in front of simulated servers: the object that the balancer runs."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
import msgspec

from benchmarks.simulated.running import Send
from benchmarks.simulated.servers import Request
from benchmarks.simulated.traffic import Traffic
from paddler.facts import Facts
from paddler.prompts import Prompt, PromptFields, prompt_of
from paddler.scheduling.lines import Waiter
from paddler.scheduling.outcomes import Outcome
from paddler.scheduling.policies import IdleSlots, Prefix
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease
from paddler.values import Address, Report

__all__ = ["Ours", "idle_slots", "prefix"]

#: Bytes of a token.
TOKEN = 4
#: Agents report nothing more, and are not missed.
INTERVAL = 3600.0
_PATH = "/v1/chat/completions"


@attrs.define(eq=False)
class Ours:
    """Tells the scheduler what happens, and carries out what it says.

    :param policy: the scheduler's.
    """

    _traffic: Traffic
    _send: Send
    _scheduler: Scheduler
    _leases: dict[int, Lease] = attrs.field(factory=dict)
    _waiting: dict[Waiter, Request] = attrs.field(factory=dict)
    _servers: dict[str, int] = attrs.field(factory=dict)
    #: Of each chat what has been said, and the tokens of that.
    _texts: dict[int, tuple[list[bytes], int]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        fleet = self._traffic.fleet
        for number in range(fleet.servers):
            address = Address(f"10.0.0.{number + 1}", 8080)
            report = Report(f"gpu-{number}", address, INTERVAL, fleet.slots)
            self._servers[str(address)] = number
            self._scheduler.report(str(number), report, 0.0)

    def arrived(self, request: Request, now: float) -> None:
        """See `Balancer`."""
        waiter = Waiter(1, now, prompt=self._prompt(request))
        lease = self._scheduler.grant_at_once(waiter, now)
        if lease is not None:
            self._granted(request, lease)
            return
        self._waiting[waiter] = request
        self._carry_out(self._scheduler.request(waiter, now))

    def answers(self, request: Request, now: float) -> None:
        """See `Balancer`."""
        assert isinstance(request.note, Lease)
        self._scheduler.answers(request.note, now)

    def ended(self, request: Request, now: float) -> None:
        """See `Balancer`."""
        evaluated = request.prompt - request.cached
        took = request.first_at - request.began_at
        facts = Facts(
            request.cached, evaluated, request.answer, evaluated / took if took > 0 else None
        )
        assert isinstance(request.note, Lease)
        self._carry_out(self._scheduler.release(request.note, now, facts))

    def next_event(self) -> float | None:
        """See `Balancer`; that nobody reports is none."""
        return self._scheduler._granting.due

    def time_passed(self, now: float) -> None:
        """See `Balancer`."""
        self._carry_out(self._scheduler.pass_time(now))

    def _carry_out(self, outcome: Outcome) -> None:
        for grant in outcome.grants:
            self._granted(self._waiting.pop(grant.waiter), grant.lease)

    def _granted(self, request: Request, lease: Lease) -> None:
        request.note = lease
        self._send(request, self._servers[str(lease.upstream.address)])

    def _prompt(self, request: Request) -> Prompt | None:
        """The prompt as it would be read from a body."""
        texts, tokens = self._texts.get(request.chat, ([], 0))
        if texts:
            texts.append(_message(request, b"a", request.before - tokens))
        else:
            whose = b"all" if self._traffic.group else b"%d" % request.chat
            texts.append(_text(whose, request.system))
        texts.append(_message(request, b"u", request.prompt - request.before))
        self._texts[request.chat] = texts, request.prompt
        raw = msgspec.Raw(b"[" + b",".join(texts) + b"]")
        return prompt_of(_PATH, PromptFields(messages=raw))


def _message(request: Request, who: bytes, tokens: int) -> bytes:
    return _text(b"%s %d %d " % (who, request.chat, request.turn), tokens)


def _text(word: bytes, tokens: int) -> bytes:
    """A JSON string of so many tokens."""
    size = max(1, TOKEN * tokens - 2)
    return b'"' + (word * (size // len(word) + 1))[:size] + b'"'


def idle_slots(traffic: Traffic, send: Send, random: Random) -> Ours:
    """Paddler with `--balancing idle-slots`."""
    return Ours(traffic, send, Scheduler(IdleSlots(), random, 10**9, 3))


def prefix(settings: Prefix = Prefix()) -> Callable[[Traffic, Send, Random], Ours]:  # noqa: B008
    """Paddler with `--balancing prefix`."""

    def make(traffic: Traffic, send: Send, random: Random) -> Ours:
        return Ours(traffic, send, Scheduler(settings, random, 10**9, 3))

    return make
