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
from paddler.agent.web import HttpCaller
from paddler.foreground import on_signals
from paddler.logs import twistd_observer

__all__ = ["AgentService", "Options", "makeService"]

log = Logger()

Options = AgentOptions

_LOOPBACK = ("127.", "localhost", "::1")


@attrs.define(eq=False)
class AgentService(MultiService):
    """Watches a llama-server and reports on it.

    :param reactor: connects, looks up names and keeps time.
    :param settings: the agent's settings.
    :param observer: what twistd shall log with; None: as it is used to.
    """

    _reactor: Any
    _settings: AgentSettings
    _observer: ILogObserver | None = None
    _balancer: HttpCaller = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        MultiService.__init__(self)
        reactor, settings = self._reactor, self._settings
        llama = HttpCaller.to(reactor, settings.local, settings.llamacpp_key)
        self._balancer = HttpCaller.to(
            reactor, settings.management, settings.management_token, keep=True
        )
        watch = LlamaWatch(reactor, llama.call, settings.local, settings.interval)
        reporting = ReportingService(
            reactor, self._balancer.call, settings, random.random, watch.in_use
        )
        polling = PollingService(reactor, settings.interval, watch.look, reporting.tell)
        # Started in this order: what was seen first is reported at once.
        reporting.setServiceParent(self)
        polling.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Become part of an application; twistd asks it what to log with."""
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

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
        on_signals(reactor, reactor.stop, lambda: None)
    settings = options.settings()
    for remark in options.remarks:
        log.info("{remark}", remark=remark)
    twistd = getattr(options, "parent", None)
    return AgentService(
        reactor, settings, None if twistd is None else twistd_observer(twistd, reactor)
    )
