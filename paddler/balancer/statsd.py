"""Gauges and counters for StatsD, over UDP.

What is sent is lost when nobody listens; nothing here waits for anybody, and nothing
that goes wrong here reaches a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.error import CannotListenError, DNSLookupError
from twisted.internet.protocol import DatagramProtocol

from paddler.balancer.admission import Admission
from paddler.balancer.increments import PromptIncrements, part_of_name
from paddler.balancer.ticks import Ticks
from paddler.dialing import look_up

__all__ = ["StatsdService", "StatsdSettings", "datagrams", "gauges"]

#: Bytes of a datagram: what fits into one packet of an Ethernet, with room for tunnels.
DATAGRAM = 1432
#: Seconds after which the host's name is looked up again.
LOOK_UP_EVERY = 10.0
#: Seconds that the first look-up may hold up the last report.
PATIENCE = 1.0


@attrs.frozen
class StatsdSettings:
    """Where gauges go.

    :param host: a name, looked up again as it may move, or an IP address.
    :param port: a UDP port.
    :param prefix: what their names begin with.
    :param interval: seconds from report to report.
    """

    host: str
    port: int
    prefix: str
    interval: float


def datagrams(
    prefix: str, values: Mapping[str, float], kind: Literal["g", "c"] = "g"
) -> Iterator[bytes]:
    """Values as StatsD reads them, as many in a datagram as fit.

    :param kind: gauges, or what is added to counters.
    """
    text = b""
    for name, value in values.items():
        line = f"{prefix}.{name}:{value}|{kind}".encode()
        if text and len(text) + 1 + len(line) > DATAGRAM:
            yield text
            text = b""
        text += b"\n" + line if text else line
    if text:
        yield text


def gauges(admission: Admission) -> dict[str, float]:
    """What is reported; `requests_buffered` counts from one call to the next.

    Of models with one name, once what StatsD can't read is replaced, the sum; of agents, one.
    """
    fleet = admission.fleet()
    by_model: dict[str, int] = {}
    for model, load in admission.demands().items():
        name = part_of_name(model)
        for word, value in (("requests_waiting", load.requests_waiting), ("demand", load.demand)):
            by_model[f"models.{name}.{word}"] = by_model.get(f"models.{name}.{word}", 0) + value
    speeds: dict[str, float] = {}
    for agent, pace in admission.paces().items():
        name = f"agents.{part_of_name(agent)}"
        if pace.measured is not None:
            speeds[f"{name}.prompt_tokens_per_second"] = round(pace.measured, 1)
        if pace.answer_speed is not None:
            speeds[f"{name}.answer_tokens_per_second"] = round(pace.answer_speed, 1)
    return {
        "slots_idle": fleet.slots_idle,
        "slots_processing": fleet.slots_processing,
        "slots_total": fleet.slots_total,
        "requests_buffered": admission.count_buffered(),
        "requests_waiting": fleet.requests_waiting,
        "agents": fleet.agents,
        **by_model,
        **speeds,
    }


class StatsdService(Ticks):
    """Reports at each interval, and once more at the end.

    :param reactor: sends, keeps the time and looks names up.
    :param settings: where to.
    :param read: reads the gauges.
    :param added: what was added to counters since it was called last.
    """

    def __init__(
        self,
        reactor: Any,
        settings: StatsdSettings,
        read: Callable[[], Mapping[str, float]],
        added: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        super().__init__(reactor, settings.interval, "reporting to StatsD", self._report)
        self._reactor = reactor
        self._settings = settings
        self._read = read
        self._added = added
        self._address: str | None = None
        self._looked_up_at: float | None = None
        self._looking: Deferred[None] = succeed(None)
        self._trouble: str | None = None
        self._port: Any = None
        self._closed: Deferred[None] = succeed(None)
        self._sender = DatagramProtocol()

    @classmethod
    def of(cls, reactor: Any, settings: StatsdSettings, admission: Admission) -> StatsdService:
        """One that reports of a balancer."""
        added = PromptIncrements(admission.paces).take
        return cls(reactor, settings, lambda: gauges(admission), added)

    def stopService(self) -> Deferred[None]:
        """Report once more, and no more; fires when the socket is closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._address is None:
            # A first look-up that is still under way is worth a moment's wait.
            await self._looking.addTimeout(PATIENCE, self._reactor, lambda *_: None)
        self._looking.cancel()
        try:
            self._send()
        finally:
            self._close()
            await self._closed

    def _report(self) -> None:
        now, last = self._reactor.seconds(), self._looked_up_at
        # The clock may be set back.
        if self._looking.called and (last is None or abs(now - last) >= LOOK_UP_EVERY):
            self._looked_up_at = now
            self._looking = Deferred.fromCoroutine(self._look_up())
        self._send()

    async def _look_up(self) -> None:
        """Find out where the host is now; where it was serves meanwhile."""
        try:
            addresses = await look_up(self._reactor, self._settings.host)
        except DNSLookupError:
            if self._address is None:
                self._has_trouble("no address found for its name")
            return
        except CancelledError:
            return  # a stop waits no longer
        before, self._address = self._address, _chosen(addresses, self._address)
        if before is not None and isIPv6Address(before) != isIPv6Address(self._address):
            self._close()  # a socket is for one kind of address

    def _send(self) -> None:
        if self._address is None:
            return
        try:
            if self._port is None:
                interface = "::" if isIPv6Address(self._address) else ""
                self._sender = DatagramProtocol()
                self._sender.noisy = False
                self._port = self._reactor.listenUDP(0, self._sender, interface=interface)
            prefix = self._settings.prefix
            for datagram in chain(
                datagrams(prefix, self._read()), datagrams(prefix, self._added(), "c")
            ):
                self._sender.transport.write(  # type: ignore[union-attr]
                    datagram, (self._address, self._settings.port)
                )
        except CannotListenError as error:
            self._has_trouble(str(error.socketError))
        except OSError as error:
            self._has_trouble(error.strerror or str(error))
        else:
            self._has_trouble(None)

    def _has_trouble(self, trouble: str | None) -> None:
        """Say once what keeps reports from going out, and once that they do again."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        where = f"{self._settings.host}:{self._settings.port}"
        if trouble is not None:
            self._log.warn("can't report to StatsD at {where}: {why}", where=where, why=trouble)
        else:
            self._log.info("reports to StatsD at {where} go out again", where=where)

    def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            both = gatherResults([self._closed, maybeDeferred(port.stopListening)])
            self._closed = both.addCallback(lambda _: None)


def _chosen(addresses: list[str], before: str | None) -> str:
    """Of a host's addresses the one to report to.

    The one before, as long as it is one of them, for a gauge's last value stays where it was sent
    to; else one of IPv4, for StatsD does not listen on IPv6 unless it is told to, and what is
    sent there comes to nothing without a word.
    """
    if before in addresses:
        return before
    return next(filter(isIPAddress, addresses), addresses[0])
