"""The balancer's root: makes its parts, starts them, and stops them in order."""

from __future__ import annotations

import sys
from random import Random
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from paddler import __version__
from paddler.balancer.access import AccessLog
from paddler.balancer.accounts import Ledger, Ledgers
from paddler.balancer.admission import Admission
from paddler.balancer.bodies import no_folder_for_files
from paddler.balancer.doorkeeping import Doorkeeper
from paddler.balancer.exchanges import Exchanges
from paddler.balancer.fastlane import loop_of
from paddler.balancer.history import History, HistoryService
from paddler.balancer.limits import BodyBudget, Limits
from paddler.balancer.management import management_resource
from paddler.balancer.metrics import MetricsText
from paddler.balancer.proxy import ProxyResource
from paddler.balancer.refusals import RefusedReports
from paddler.balancer.reports import REPORT_LIMIT, ReportDesk
from paddler.balancer.settings import BalancerOptions, BalancerSettings
from paddler.balancer.sites import ConnectionSite
from paddler.balancer.statsd import StatsdService
from paddler.balancer.streams import Streams
from paddler.balancer.tallies import Tallies
from paddler.balancer.upstream import AgentHop
from paddler.descriptors import most_of, raise_descriptor_limit
from paddler.foreground import CannotStart
from paddler.hosts import settle_hosts
from paddler.logs import twistd_observer
from paddler.scheduling.routing import Routing
from paddler.scheduling.scheduler import Scheduler
from paddler.twistd import WithLog, prepare

__all__ = ["BalancerService", "Options", "makeService"]

Options = BalancerOptions

#: Seconds that clients get to take what was written to them before a stop closes on them.
FLUSH_TIME = 2.0

#: Of agents and operators, who send nothing larger than reports.
_MANAGEMENT_LIMITS = Limits(body=REPORT_LIMIT, quiet=60.0, connections=100_000)


class BalancerService(WithLog):
    """Both servers and what is between them.

    :param settings: what to do.
    :param reactor: the one everything runs on.
    :param observer: what twistd shall log with; None: as it is used to.
    """

    _log = Logger()

    def __init__(
        self, settings: BalancerSettings, reactor: Any, observer: ILogObserver | None = None
    ) -> None:
        self.settings = settings
        self._observer = observer
        self._reactor = reactor
        rules = settings.buffer_size, settings.agent_expiry, settings.quarantine
        routing = Routing(settings.routing, settings.models)
        scheduler = Scheduler(settings.policy, Random(), *rules, routing)
        self.bodies = BodyBudget(settings.buffer_bytes)
        self.admission = Admission(reactor, scheduler, settings.buffer_timeout, self.bodies)
        self.hop: Any = AgentHop(reactor, settings.connect_timeout)
        loop = loop_of(reactor) if settings.fast_lane else None
        if loop is not None:
            from paddler.balancer.fastlane.hop import FastHop

            self.hop = FastHop(loop, reactor, settings.connect_timeout, self.hop)
        history, tallies = History(), Tallies(self.admission.states)
        told: list[Ledger] = [history, tallies] if settings.metrics else [history]
        if settings.access_log:
            told.append(AccessLog())
        ledgers = Ledgers(tuple(told))
        self.exchanges = Exchanges(reactor, self.admission, self.hop, settings.ways, ledgers)
        desk = ReportDesk(self.admission, RefusedReports(reactor))
        door = Doorkeeper(settings.token, settings.allowed_origins)
        lane = reporting = None
        if loop is not None:
            from paddler.balancer.fastlane.adoption import FastLane
            from paddler.balancer.fastlane.reporting import FastReports

            lane = FastLane(loop, self.exchanges)
            reporting = FastLane(loop, FastReports(desk, door))
        self.public = ConnectionSite(
            ProxyResource(self.exchanges),
            reactor,
            "reverseproxy",
            settings.limits,
            self.bodies,
            self.admission.no_room_for_body,
            ledgers,
            lane,
        )
        self._streams = Streams.of(self.admission, reactor)
        root = management_resource(
            admission=self.admission,
            clock=reactor,
            started_at=reactor.seconds(),
            desk=desk,
            door=door,
            dashboard=settings.dashboard,
            reverseproxy=settings.reverseproxy,
            management=settings.management,
            history=history,
            metrics=MetricsText(reactor, self.admission, tallies) if settings.metrics else None,
            streams=self._streams,
        )
        self._history = HistoryService(reactor, self.admission, history)
        self._statsd: StatsdService | None = None
        if settings.statsd is not None:
            self._statsd = StatsdService.of(reactor, settings.statsd, self.admission)
        self.private = ConnectionSite(
            root, reactor, "management", _MANAGEMENT_LIMITS, lane=reporting
        )
        self._management = _Port(settings.management, self.private, reactor)
        self._reverseproxy = _Port(settings.reverseproxy, self.public, reactor)

    def privilegedStartService(self) -> None:
        """Bind both ports.

        :raises CannotStart: one is taken or is not ours to take; one line says which.
        """
        self._management.bind()
        self._reverseproxy.bind()
        super().privilegedStartService()

    def startService(self) -> None:
        """Begin to serve."""
        super().startService()
        for remark in self.settings.remarks:
            self._log.warn("{remark}", remark=remark)
        self._history.startService()
        if self._statsd is not None:
            self._statsd.startService()
        self._raise_descriptor_limit()
        if (problem := no_folder_for_files()) is not None:
            self._log.warn("large bodies of requests stay in memory: {problem}", problem=problem)
        self._log.info(
            "paddler {version}: clients on {reverseproxy}, agents and operators on {management}",
            version=__version__,
            reverseproxy=self._reverseproxy.where,
            management=self._management.where,
        )

    def _raise_descriptor_limit(self) -> None:
        """Have as many connections as the system allows, and say how many those are."""
        most, wanted = most_of(self._reactor), self.public.limits
        limit = raise_descriptor_limit(most=most)
        self.public.limits = limits = wanted.within(limit)
        if limits.connections < wanted.connections:
            self._log.warn(
                "{limit} files and connections may be open, so {connections} of clients and not "
                "{wanted} (--max-connections); {advice}",
                limit=limit,
                advice=(
                    "the reactor can't wait for more; take another --reactor than select"
                    if limit == most
                    else "raise the limit (ulimit -n, LimitNOFILE=)"
                ),
                connections=limits.connections,
                wanted=wanted.connections,
            )
        else:
            self._log.info(
                "{limit} files and connections may be open",
                limit="any number of" if limit is None else limit,
            )

    def stopService(self) -> Deferred[None]:
        """Take nothing new, let what runs and waits end within the grace, then cut the rest."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.exchanges.begin_stop()
        await self._reverseproxy.stop()
        if not await self._within(self.settings.shutdown_grace, self.exchanges.drained()):
            self._log.warn("the grace is over: what still runs is cut")
        self.admission.stop()
        self.exchanges.cut()
        self._history.stopService()
        self._streams.stop()
        await self._management.stop()
        for site in (self.public, self.private):
            if not await self._within(FLUSH_TIME, site.close()):
                site.abort()
        await self.hop.close()
        if self._statsd is not None:
            await self._statsd.stopService()

    async def _within(self, seconds: float, done: Deferred[None]) -> bool:
        """Wait for something, but not for ever; tell whether it came."""

        def too_late(result: object, _: float) -> None:
            if isinstance(result, Failure):
                result.trap(CancelledError)
            late.append(True)

        late: list[bool] = []
        await done.addTimeout(seconds, self._reactor, onTimeoutCancel=too_late)
        return not late


@attrs.define(eq=False)
class _Port:
    """One port that is listened on.

    :param described: a server endpoint description.
    :param site: serves; its name is what its options begin with.
    """

    _described: str
    _site: ConnectionSite
    _reactor: Any
    _endpoint: IStreamServerEndpoint = attrs.field(init=False)
    _listening: IListeningPort | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            self._endpoint = serverFromString(self._reactor, self._described)
        except Exception as error:
            # Each kind of endpoint complains in its own way.
            sys.exit(f"--{self._site.name}-endpoint: got {self._described!r}; {error}")

    @property
    def where(self) -> str:
        """What is listened on, for people."""
        address = None if self._listening is None else self._listening.getHost()
        port = getattr(address, "port", None)
        return self._described if port is None else f"http://{_shown(address)}:{port}"

    def bind(self) -> None:
        """Listen.

        :raises CannotStart: that can't be; one line says why.
        """
        failures: list[Failure] = []
        self._endpoint.listen(self._site).addCallbacks(self._bound, failures.append)
        if not failures:
            return
        error = failures[0].value
        where, reason = self._described, error
        if isinstance(error, CannotListenError):
            if isinstance(error.port, int):
                where = f"{error.interface}:{error.port}" if error.interface else str(error.port)
            reason = getattr(error.socketError, "strerror", None) or error.socketError
        # Short and ASCII: of what a daemon could not start for twistd shows 98 bytes, as a repr.
        raise CannotStart(f"--{self._site.name}-*: can't listen on {where}: {reason}")

    def stop(self) -> Deferred[None]:
        """Listen no more; connections that were made go on."""
        listening, self._listening, self._site.port = self._listening, None, None
        stopping = None if listening is None else listening.stopListening()
        return succeed(None) if stopping is None else stopping

    def _bound(self, listening: IListeningPort) -> None:
        self._listening = self._site.port = listening


def _shown(address: Any) -> str:
    """A host as it stands in a URL."""
    return f"[{address.host}]" if ":" in address.host else str(address.host)


def makeService(options: BalancerOptions, reactor: Any = None) -> IService:
    """The balancer, as its options say.

    :param reactor: None takes the global one, and its signals, as twistd wants.
    """
    if reactor is None:
        from twisted.internet import reactor as the_reactor

        reactor = the_reactor
        prepare(options, reactor, listens=True)
    settle_hosts(options)
    settings = options.settings()
    observer = twistd_observer(options.parent, reactor, as_json=settings.log_json)
    return BalancerService(settings, reactor, observer)
