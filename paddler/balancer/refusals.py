"""Reports that were refused: counted, and told to operators when something changes.

Whoever can reach the management server can send it rubbish, so what is remembered of
it is bounded, and so is what is logged, per sender: nobody's rubbish hides another's.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["RefusedReports"]

#: Senders that are told apart, and agents of each.
SENDERS = 256
AGENTS = 64
#: Seconds of silence after which a sender may be forgotten for another.
SILENCE = 600.0
#: Lines that a sender may cause at once, and seconds until it may cause one more.
LINES = 10
SECONDS_PER_LINE = 30.0

_SHOWN_AGENT = 128
_SHOWN_PROBLEM = 300
_THE_REST = "other addresses"


@attrs.define(eq=False)
class _Sender:
    """What is known of one address."""

    heard_at: float
    problems: OrderedDict[str, str] = attrs.field(factory=OrderedDict)
    lines: float = LINES
    unsaid: int = 0


@attrs.define(eq=False)
class RefusedReports:
    """Remembers what was wrong, to say it once.

    :param clock: the time.
    """

    _log = Logger()

    _clock: IReactorTime
    #: How many reports were refused.
    count: int = attrs.field(default=0, init=False)
    _senders: OrderedDict[str, _Sender] = attrs.field(factory=OrderedDict, init=False)

    @property
    def remembered(self) -> int:
        """How many problems are remembered."""
        return sum(len(sender.problems) for sender in self._senders.values())

    def refused(self, address: str, agent_id: str, problem: str) -> None:
        """A report was refused; a line is logged if its problem is another than before.

        :param address: who sent it.
        :param agent_id: whom it claims to be from, good or bad.
        :param problem: what is wrong with it.
        """
        self.count += 1
        address, sender = self._sender(address)
        agent, problem = _clean(agent_id, _SHOWN_AGENT), _clean(problem, _SHOWN_PROBLEM)
        if sender.problems.get(agent) == problem:
            return
        sender.problems[agent] = problem
        if len(sender.problems) > AGENTS:
            sender.problems.popitem(last=False)
        if self._may_say(sender):
            self._log.warn(
                "reports of agent {agent} from {address} are refused: {problem}{unsaid}",
                agent=agent,
                address=address,
                problem=problem,
                unsaid=_unsaid(sender),
            )

    def accepted(self, address: str, agent_id: str) -> None:
        """A report was good; a line is logged if the one before was not."""
        if not self._senders:
            return
        sender = self._senders.get(address)
        if sender is None or sender.problems.pop(agent_id, None) is None:
            return
        if self._may_say(sender):
            self._log.info(
                "reports of agent {agent} from {address} are taken again{unsaid}",
                agent=agent_id,
                address=address,
                unsaid=_unsaid(sender),
            )

    def _sender(self, address: str) -> tuple[str, _Sender]:
        """Who sent it; when there are too many, the later ones are one."""
        now, senders = self._clock.seconds(), self._senders
        if address not in senders and len(senders) >= SENDERS:
            oldest = next(iter(senders))
            if now - senders[oldest].heard_at > SILENCE:
                del senders[oldest]
            else:
                address = _THE_REST
        sender = senders.setdefault(address, _Sender(now))
        senders.move_to_end(address)
        sender.lines = min(LINES, sender.lines + (now - sender.heard_at) / SECONDS_PER_LINE)
        sender.heard_at = now
        return address, sender

    def _may_say(self, sender: _Sender) -> bool:
        if sender.lines < 1:
            sender.unsaid += 1
            return False
        sender.lines -= 1
        return True


def _unsaid(sender: _Sender) -> str:
    """How many lines there would have been since the last one."""
    unsaid, sender.unsaid = sender.unsaid, 0
    return f" ({unsaid} more such changes from there were not logged)" if unsaid else ""


def _clean(text: str, limit: int) -> str:
    """Text as it can stand in a line of a log, whoever wrote it."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return shown + "..." if len(text) > limit else shown
