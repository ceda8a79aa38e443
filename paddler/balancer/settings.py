"""The balancer's options, and the settings that they become."""

from __future__ import annotations

import re

import attrs
from twisted.python import usage

from paddler.balancer.doubts import Patience
from paddler.balancer.exchanges import Ways
from paddler.balancer.limits import Limits
from paddler.balancer.requests import Doors
from paddler.balancer.statsd import StatsdSettings
from paddler.coercions import (
    boolean,
    choice,
    duration,
    host_or_key,
    listening_port,
    path_of_secret,
    port,
    positive,
    size,
    text,
    whole,
)
from paddler.options import AWS_IMDSV1, Option, PaddlerOptions

__all__ = ["BalancerOptions", "BalancerSettings"]


@attrs.frozen
class BalancerSettings:
    """What the balancer does, settled.

    :param ways: how requests are passed on.
    :param management: a server endpoint description, for agents and operators.
    :param reverseproxy: likewise, for clients.
    :param token: what agents and operators must show; None: nothing.
    :param allowed_origins: web origins that may use the management API.
    :param buffer_size: the most requests that may wait.
    :param buffer_bytes: the most bytes of their bodies.
    :param buffer_timeout: seconds that one may wait.
    :param limits: what one client may take.
    :param connect_timeout: seconds in which a llama-server must accept a connection.
    :param quarantine: seconds that a llama-server which keeps failing is left out.
    :param agent_expiry: reports missed before an agent is stale.
    :param metrics: serve them to Prometheus, on the management server.
    :param statsd: where gauges are reported; None: nowhere.
    :param shutdown_grace: seconds that a stop waits for running answers.
    """

    management: str
    reverseproxy: str
    token: str | None = attrs.field(repr=False)
    allowed_origins: tuple[str, ...]
    dashboard: bool
    ways: Ways
    buffer_size: int
    buffer_bytes: int
    buffer_timeout: float
    limits: Limits
    connect_timeout: float
    quarantine: float
    agent_expiry: int
    shutdown_grace: float
    metrics: bool
    statsd: StatsdSettings | None
    access_log: bool
    log_json: bool
    fast_lane: bool
    remarks: tuple[str, ...]


def _origin(raw: str) -> str:
    """A web origin; browsers send scheme://host[:port].

    :raises ValueError: saying what fits.
    """
    scheme, found, rest = raw.rstrip("/").partition("://")
    if not rest:
        scheme, rest = "", scheme
    if (found and scheme not in ("http", "https")) or not rest or set(rest) & set("/?# \t"):
        raise ValueError("an origin such as https://ops.example.com, or a host")
    return raw.rstrip("/").lower()


def _prefix(raw: str) -> str:
    """The beginning of a metric's name.

    :raises ValueError: saying what fits.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", raw) or len(raw) > 200:
        raise ValueError("letters, digits, '_', '-', and single dots between them")
    return raw


_TABLE = (
    Option("management-host", host_or_key, "127.0.0.1", "Where agents report, and the API lives."),
    Option("management-port", listening_port, 8085, "Its TCP port."),
    Option(
        "management-endpoint",
        text,
        None,
        "A Twisted server endpoint instead, e.g. unix:/run/p.sock.",
    ),
    Option("management-dashboard-enable", boolean, False, "Serve /dashboard there."),
    Option(
        "management-token-file",
        path_of_secret,
        None,
        "A file with the bearer token that the management server asks for, /health excepted.",
    ),
    Option(
        "management-cors-allowed-host",
        _origin,
        (),
        "A web origin that may use the management API. Repeatable.",
        repeatable=True,
    ),
    Option("reverseproxy-host", host_or_key, "127.0.0.1", "Where clients are served."),
    Option("reverseproxy-port", listening_port, 8086, "Its TCP port."),
    Option("reverseproxy-endpoint", text, None, "A Twisted server endpoint instead."),
    Option("request-buffer-size", whole(0, 10**7), 1000, "Most requests waiting; 0: none waits."),
    Option(
        "request-buffer-bytes",
        size,
        256 * 2**20,
        "Most bytes of waiting requests' bodies.",
        shown="256MiB",
    ),
    Option(
        "request-buffer-timeout",
        positive(duration),
        60.0,
        "How long a request may wait for a slot; it never cuts an answer.",
        shown="60s",
    ),
    Option(
        "max-request-body",
        size,
        100 * 2**20,
        "Most bytes of one request's body.",
        shown="100MiB",
    ),
    Option(
        "client-timeout",
        positive(duration),
        60.0,
        "How long a client may take for its headers, pause in its body, or take nothing.",
        shown="60s",
    ),
    Option("max-connections", whole(1, 10**7), 10000, "Most connections of clients at a time."),
    Option("rewrite-host-header", boolean, False, "Send llama-server its own host:port as Host."),
    Option("slots-endpoint-enable", boolean, False, "Let /slots through."),
    Option(
        "admin-endpoints-enable", boolean, False, "Let llama-server's own administration through."
    ),
    Option("balancing", choice("idle-slots"), "idle-slots", "How a server is picked."),
    Option(
        "upstream-connect-timeout",
        positive(duration),
        5.0,
        "How long a llama-server may take to accept a connection.",
        shown="5s",
    ),
    Option(
        "max-tries",
        whole(1, 1000),
        2,
        "Servers that a request is sent to in all, when they die with it.",
    ),
    Option(
        "stall-timeout",
        positive(duration),
        60.0,
        "How long an answer may pause while its agent finds the server slow.",
        shown="60s",
    ),
    Option(
        "quarantine",
        positive(duration),
        10.0,
        "How long a llama-server that keeps failing is left out.",
        shown="10s",
    ),
    Option("agent-expiry", whole(1, 1000), 3, "Reports missed before an agent is stale."),
    Option(
        "fast-lane", boolean, True, "Serve plain requests beside twisted.web, where that can be."
    ),
    Option("access-log", boolean, False, "Log one line for each request."),
    Option("log-format", choice("text", "json"), "text", "Of the log: text, or JSON by lines."),
    Option(
        "shutdown-grace", duration, 30.0, "How long a stop waits for running answers.", shown="30s"
    ),
    Option("metrics-endpoint-enable", boolean, True, "Serve /metrics to Prometheus, likewise."),
    Option("statsd-enable", boolean, False, "Report to StatsD, over UDP."),
    Option("statsd-host", host_or_key, "127.0.0.1", "Where StatsD listens."),
    Option("statsd-port", port, 8125, "Its UDP port."),
    Option("statsd-scheme", choice("http", "https"), "http", "Accepted; means nothing."),
    Option("statsd-prefix", _prefix, "paddler", "What its metrics' names begin with."),
    Option(
        "statsd-reporting-interval",
        positive(duration),
        1.0,
        "Time between two reports.",
        shown="1s",
    ),
    AWS_IMDSV1,
)


class BalancerOptions(PaddlerOptions):
    """Options of the balancer."""

    synopsis = "Usage: twistd [twistd options] paddler-balancer [options]"
    table = _TABLE
    not_yet = frozenset(
        (
            "fairness-bound",
            "model-routing",
            "prefix-memory",
        )
    )

    def postOptions(self) -> None:
        """Refuse what contradicts itself."""
        for side in ("management", "reverseproxy"):
            self.exclude(f"{side}-endpoint", f"{side}-host", f"{side}-port")
        largest, room = self["max-request-body"], self["request-buffer-bytes"]
        if largest > room:
            raise usage.UsageError(
                f"--max-request-body: {largest} bytes and --request-buffer-bytes: {room} "
                "contradict each other; the buffer needs room for one such body"
            )
        self.read_secrets("management-token")

    def settings(self) -> BalancerSettings:
        """The settings that these options mean."""
        return BalancerSettings(
            management=self._endpoint("management"),
            reverseproxy=self._endpoint("reverseproxy"),
            token=self.secrets["management-token"],
            allowed_origins=self["management-cors-allowed-host"],
            dashboard=self["management-dashboard-enable"],
            ways=Ways(
                doors=Doors(self["slots-endpoint-enable"], self["admin-endpoints-enable"]),
                rewrite_host=self["rewrite-host-header"],
                max_tries=self["max-tries"],
                patience=Patience(timeout=self["stall-timeout"]),
            ),
            buffer_size=self["request-buffer-size"],
            buffer_bytes=self["request-buffer-bytes"],
            buffer_timeout=self["request-buffer-timeout"],
            limits=Limits(
                body=self["max-request-body"],
                quiet=self["client-timeout"],
                connections=self["max-connections"],
            ),
            connect_timeout=self["upstream-connect-timeout"],
            quarantine=self["quarantine"],
            agent_expiry=self["agent-expiry"],
            shutdown_grace=self["shutdown-grace"],
            metrics=self["metrics-endpoint-enable"],
            statsd=self._statsd() if self["statsd-enable"] else None,
            access_log=self["access-log"],
            log_json=self["log-format"] == "json",
            fast_lane=self["fast-lane"],
            remarks=tuple(self.remarks),
        )

    def _statsd(self) -> StatsdSettings:
        return StatsdSettings(
            host=self["statsd-host"],
            port=self["statsd-port"],
            prefix=self["statsd-prefix"],
            interval=self["statsd-reporting-interval"],
        )

    def _endpoint(self, side: str) -> str:
        """Where one side listens, as Twisted describes it."""
        described: str | None = self[f"{side}-endpoint"]
        if described is not None:
            return described
        interface = self[f"{side}-host"].replace(":", "\\:")
        return f"tcp:{self[f'{side}-port']}:interface={interface}:backlog=1024"
