"""Reports to the balancer: at each interval, and at once when something changed.

Nothing here knows how a llama-server is looked at.

Note [pauses]: while the balancer takes reports, the next one is due an interval after
the last one began, and news wakes the loop earlier. When it doesn't, the pause before
the next try doubles from try to try and news wakes nobody. A balancer that refuses the
connection is one that is being restarted, and such a try costs next to nothing: there
the pause stays below two intervals, so that all agents are back within two.

Note [moving]: an agent's id is made of its name and of its llama-server's external address,
so that it is the same after a restart. When that address changes, the balancer is first told
the new one under the old id: it moves the agent there at once, by its name, and what runs at
the old address ends there. The next report, sent right after, has the new id, which takes the
new address over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any

import attrs
import msgspec
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from paddler import __version__
from paddler.agent.settings import AgentSettings
from paddler.agent.status import LlamaStatus
from paddler.calls import Answer, Call, NoAnswer, Outcome
from paddler.values import Report

__all__ = ["ReportingService", "pause_after", "report_of"]

#: Seconds that a report may take; a balancer under load answers late rather than not.
REPORT_TIMEOUT = 2.0
#: Seconds that taking leave may take.
LEAVE_TIMEOUT = 1.0
#: The longest pause between two tries, in seconds.
LONGEST_PAUSE = 10.0


def report_of(settings: AgentSettings, status: LlamaStatus, now: float) -> Report:
    """The report of a status that is sent `now`."""
    age = 0.0 if status.sampled_at is None else min(max(0.0, now - status.sampled_at), 86400.0)
    names = chain.from_iterable(model.names for model in status.models)
    return Report(
        agent_name=settings.name,
        external=settings.external,
        interval_s=settings.interval,
        slots_total=status.slots_total,
        slots_busy=status.slots_busy,
        slots_age_s=round(age, 3),
        n_ctx=status.n_ctx,
        sleeping=status.sleeping,
        issues=status.issues,
        models=tuple(dict.fromkeys(names))[:4096],
        model_details=status.models,
        router=status.router,
        version=__version__,
    )


def pause_after(
    failures: int, *, refused: bool, interval: float, jitter: Callable[[], float]
) -> float:
    """Seconds until the next try.

    :param failures: tries in a row that failed.
    :param refused: the last one met nobody who listens.
    :param interval: seconds between reports.
    :param jitter: draws from 0 to 1; agents that lost a balancer together don't come back
        together.
    """
    longest = min(LONGEST_PAUSE, 1.8 * interval) if refused else LONGEST_PAUSE
    doubled = min(interval, 1.0) * 2.0 ** min(failures - 1, 16)
    return min(longest, doubled) * (0.5 + 0.5 * jitter())


def _why(outcome: Outcome) -> str:
    """Why a report was not taken, as one line."""
    if isinstance(outcome, NoAnswer):
        return outcome.problem
    try:
        said: Any = msgspec.json.decode(outcome.body)["error"]["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError):
        said = outcome.body[:1000].decode("utf-8", "replace")
    said = re.sub(r"[\s\x00-\x1f\x7f]+", " ", str(said)).strip()[:200]
    return f"it answers {outcome.status}" + (f", {said!r}" if said else "")


class _Taken(msgspec.Struct):
    """What the balancer answers to a report."""

    slots_in_use: int = 0


def _slots_in_use(body: bytes) -> int:
    try:
        return msgspec.json.decode(body, type=_Taken).slots_in_use
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0


@attrs.define(eq=False)
class ReportingService(Service):
    """Tells the balancer what is known, one report at a time, and takes leave at the end.

    :param clock: times the reports.
    :param call: asks the management server.
    :param settings: who reports, and how often.
    :param jitter: draws from 0 to 1.
    :param in_use: told how many slots the balancer has in use at the llama-server.
    :param contact: called when the balancer is lost, and when it is found again.
    """

    _clock: IReactorTime
    _call: Call
    _settings: AgentSettings
    _jitter: Callable[[], float]
    _in_use: Callable[[int], None]
    _contact: Callable[[], None] = lambda: None
    log = Logger()
    _status: LlamaStatus | None = attrs.field(default=None, init=False)
    _told: object = attrs.field(default=None, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _trouble: str | None = attrs.field(default=None, init=False)
    _met: bool = attrs.field(default=False, init=False)
    #: What the balancer knows the agent as, and what it was last told; see Note [moving].
    _known_as: str | None = attrs.field(default=None, init=False)
    _tried_as: str | None = attrs.field(default=None, init=False)
    _alarm: Deferred[None] | None = attrs.field(default=None, init=False)
    _reporting: Deferred[None] = attrs.field(factory=lambda: succeed(None), init=False)

    def startService(self) -> None:
        """Report from now on, as soon as there is something to say."""
        super().startService()
        self._reporting = Deferred.fromCoroutine(self._report_on())

    def stopService(self) -> Deferred[None]:
        """Report no more and take leave; fires when that is done, or after a second."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._reporting.cancel()
        await self._reporting
        if self._tried_as is None:
            return
        path = f"/api/v1/agents/{self._tried_as}"
        outcome = await self._call("DELETE", path, seconds=LEAVE_TIMEOUT)
        if isinstance(outcome, Answer) and outcome.status in (200, 204, 404):
            self.log.info("took leave of the balancer")
        else:
            self.log.info("could not take leave of the balancer: {why}", why=_why(outcome))

    def tell(self, status: LlamaStatus) -> None:
        """Take in what is known now; the balancer hears of it when it is due."""
        self._status = status
        self._heed_news()

    def move(self, settings: AgentSettings, call: Call) -> None:
        """Take in where things are now; see Note [moving].

        :param call: asks the management server, where it is now.
        """
        self._settings, self._call = settings, call
        self._heed_news()

    @property
    def _news(self) -> object:
        """What the balancer must hear at once when it differs."""
        return self._status and self._status.news, self._settings.external

    def _heed_news(self) -> None:
        if not self._failures and self._news != self._told:
            self._wake()

    def _wake(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.callback(None)

    async def _report_on(self) -> None:
        try:
            while True:
                await self._wait(await self._report())
        except CancelledError:
            pass

    async def _report(self) -> float | None:
        """Send one report.

        :returns: seconds until the next; None: there is nothing to say yet.
        """
        began, settings = self._clock.seconds(), self._settings
        if self._status is None:
            return None
        self._tried_as, self._told = self._known_as or settings.agent_id, self._news
        path = f"/api/v1/agent_status_update/{self._tried_as}"
        try:
            report = report_of(settings, self._status, began).to_json()
            outcome = await self._call("POST", path, report, seconds=REPORT_TIMEOUT)
        except CancelledError:
            raise
        except Exception:  # the owner's boundary: the next report must come
            self.log.failure("a report failed")
            outcome = NoAnswer("lost", "the report failed")
        if not isinstance(outcome, Answer) or outcome.status != 200:
            return self._failed(outcome)
        self._succeeded()
        self._in_use(_slots_in_use(outcome.body))
        self._known_as = settings.agent_id
        if self._news != self._told or self._known_as != self._tried_as:
            return 0.0
        return max(0.0, began + self._settings.interval - self._clock.seconds())

    def _failed(self, outcome: Outcome) -> float:
        self._failures += 1
        if self._failures == 1:
            self._contact()
        refused = isinstance(outcome, NoAnswer) and outcome.kind == "refused"
        why = _why(outcome)
        if why != self._trouble:
            self._trouble = why
            self.log.warn(
                "the balancer at {balancer} does not take reports: {why}; trying again",
                balancer=str(self._settings.management),
                why=why,
            )
        return pause_after(
            self._failures,
            refused=refused,
            interval=self._settings.interval,
            jitter=self._jitter,
        )

    def _succeeded(self) -> None:
        if not self._met or self._failures:
            self.log.info(
                "the balancer at {balancer} takes reports{again}",
                balancer=str(self._settings.management),
                again=" again" if self._met else "",
            )
        found = self._failures > 0
        self._met, self._failures, self._trouble = True, 0, None
        if found:
            self._contact()

    async def _wait(self, seconds: float | None) -> None:
        """Wait, until woken at the latest when `seconds` are over."""
        if seconds is not None and seconds <= 0:
            return
        alarm = self._alarm = Deferred[None]()
        timer: IDelayedCall | None = None
        if seconds is not None:
            timer = self._clock.callLater(seconds, self._wake)
        try:
            await alarm
        finally:
            if timer is not None and timer.active():
                timer.cancel()
