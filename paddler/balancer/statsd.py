"""Gauges for StatsD, over UDP.

What is sent is lost when nobody listens; nothing here waits for anybody, and nothing
that goes wrong here reaches a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.error import CannotListenError, DNSLookupError
from twisted.internet.protocol import DatagramProtocol

from paddler.balancer.admission import Admission
from paddler.balancer.ticks import Ticks
from paddler.dialing import look_up

__all__ = ["StatsdService", "StatsdSettings", "datagrams", "gauges"]

#: Bytes of a datagram: what fits into one packet of an Ethernet, with room for tunnels.
DATAGRAM = 1432
#: What a part of a gauge's name may not hold: dots part it, the others end it.
_ODD = re.compile(r"[^A-Za-z0-9_-]+")
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


def datagrams(prefix: str, gauges: Mapping[str, int]) -> Iterator[bytes]:
    """Gauges as StatsD reads them, as many in a datagram as fit."""
    text = b""
    for name, value in gauges.items():
        line = f"{prefix}.{name}:{value}|g".encode()
        if text and len(text) + 1 + len(line) > DATAGRAM:
            yield text
            text = b""
        text += b"\n" + line if text else line
    if text:
        yield text


def gauges(admission: Admission) -> dict[str, int]:
    """What is reported; `requests_buffered` counts from one call to the next.

    Of models with one name, once what StatsD can't read is replaced, the sum.
    """
    fleet = admission.fleet()
    by_model: dict[str, int] = {}
    for model, load in admission.demands().items():
        name = _ODD.sub("_", model)
        for word, value in (("requests_waiting", load.requests_waiting), ("demand", load.demand)):
            by_model[f"models.{name}.{word}"] = by_model.get(f"models.{name}.{word}", 0) + value
    return {
        "slots_idle": fleet.slots_idle,
        "slots_processing": fleet.slots_processing,
        "slots_total": fleet.slots_total,
        "requests_buffered": admission.count_buffered(),
        "requests_waiting": fleet.requests_waiting,
        "agents": fleet.agents,
        **by_model,
    }


class StatsdService(Ticks):
    """Reports at each interval, and once more at the end.

    :param reactor: sends, keeps the time and looks names up.
    :param settings: where to.
    :param read: reads the gauges.
    """

    def __init__(
        self, reactor: Any, settings: StatsdSettings, read: Callable[[], Mapping[str, int]]
    ) -> None:
        super().__init__(reactor, settings.interval, "reporting to StatsD", self._report)
        self._reactor = reactor
        self._settings = settings
        self._read = read
        self._address: str | None = None
        self._looked_up_at: float | None = None
        self._looking: Deferred[None] = succeed(None)
        self._trouble: str | None = None
        self._port: Any = None
        self._closed: Deferred[None] = succeed(None)
        self._sender = DatagramProtocol()

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
            for datagram in datagrams(self._settings.prefix, self._read()):
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
