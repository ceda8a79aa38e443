"""The agent as a Twisted plugin: options in, a service out. One of the roots."""

from __future__ import annotations

import random
from typing import Any

import attrs
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger

from paddler.agent.polling import PollingService
from paddler.agent.reporter import ReportingService
from paddler.agent.settings import AgentOptions, AgentSettings
from paddler.agent.watching import LlamaWatch
from paddler.agent.whereabouts import LOOK_EVERY, Whereabouts
from paddler.ec2 import InstanceMetadata
from paddler.hosts import settle_hosts
from paddler.logs import twistd_observer
from paddler.twistd import WithLog, prepare
from paddler.web import HttpCaller

__all__ = ["AgentService", "Options", "makeService"]

log = Logger()

Options = AgentOptions

_LOOPBACK = ("127.", "localhost", "::1")


@attrs.define(eq=False)
class AgentService(WithLog, MultiService):
    """Watches a llama-server and reports on it.

    :param reactor: connects, looks up names and keeps time.
    :param settings: the agent's settings.
    :param observer: what twistd shall log with; None: as it is used to.
    """

    _reactor: Any
    _settings: AgentSettings
    _observer: ILogObserver | None = None
    _balancer: HttpCaller = attrs.field(init=False)
    _watch: LlamaWatch = attrs.field(init=False)
    _reporting: ReportingService = attrs.field(init=False)
    _following: PollingService[AgentSettings] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        MultiService.__init__(self)
        reactor, settings = self._reactor, self._settings
        self._balancer = self._dial_balancer()
        self._watch = watch = LlamaWatch(
            reactor, self._dial_llama().call, settings.local, settings.interval
        )
        self._reporting = ReportingService(
            reactor, self._balancer.call, settings, random.random, watch.in_use, self._look_around
        )
        polling = PollingService(reactor, settings.interval, watch.look, self._reporting.tell)
        # Started in this order: what was seen first is reported at once.
        self._reporting.setServiceParent(self)
        polling.setServiceParent(self)
        if settings.host_keys is not None:
            metadata = InstanceMetadata.to(reactor, settings.host_keys.service)
            whereabouts = Whereabouts(metadata, settings.host_keys, settings)
            self._following = PollingService(reactor, LOOK_EVERY, whereabouts.look, self._moved)
            self._following.setServiceParent(self)

    def _dial_llama(self) -> HttpCaller:
        return HttpCaller.to(self._reactor, self._settings.local, self._settings.llamacpp_key)

    def _dial_balancer(self) -> HttpCaller:
        settings = self._settings
        return HttpCaller.to(
            self._reactor, settings.management, settings.management_token, keep=True
        )

    def _look_around(self) -> None:
        """The balancer was lost or found: what came between may be a move of ours."""
        if self._following is not None:
            self._following.look_now()

    def _moved(self, settings: AgentSettings) -> None:
        """Some server of ours is elsewhere now."""
        before, self._settings = self._settings, settings
        log.info(
            "by instance metadata the llama-server is at {local}, which the balancer reaches at "
            "{external}, and the balancer at {management}; the agent is {agent_id} now",
            local=str(settings.local),
            external=str(settings.external),
            management=str(settings.management),
            agent_id=settings.agent_id,
        )
        if settings.local != before.local:
            self._watch.move(settings.local, self._dial_llama().call)
        if settings.management != before.management:
            self._balancer.close()
            self._balancer = self._dial_balancer()
        self._reporting.move(settings, self._balancer.call)

    def startService(self) -> None:
        """Start both, and say who is who."""
        settings = self._settings
        log.info(
            "agent {name} ({agent_id}) watches the llama-server at {local}, which the balancer "
            "reaches at {external}, and reports to {management}",
            name=settings.name,
            agent_id=settings.agent_id,
            local=str(settings.local),
            external=str(settings.external),
            management=str(settings.management),
        )
        if _is_loopback(settings.external.host) and not _is_loopback(settings.management.host):
            log.warn(
                "{external} is a loopback address, which a balancer on another machine can't "
                "reach; give this machine's own with --external-llamacpp-host",
                external=str(settings.external),
            )
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop both; fires when leave was taken and the last connection is closed."""
        stopped: Deferred[Any] = super().stopService()
        return stopped.addCallback(lambda _: self._balancer.close())


def _is_loopback(host: str) -> bool:
    return host.startswith(_LOOPBACK)


def makeService(options: AgentOptions, reactor: Any = None) -> IService:
    """Make the agent's service.

    :param options: parsed options.
    :param reactor: None: the global one, and its signals, as twistd wants.
    """
    if reactor is None:
        from twisted.internet import reactor as the_reactor

        reactor = the_reactor
        prepare(options, reactor, listens=False)
    settle_hosts(options)
    settings = options.settings()
    for remark in options.remarks:
        log.info("{remark}", remark=remark)
    return AgentService(reactor, settings, twistd_observer(options.parent, reactor))
