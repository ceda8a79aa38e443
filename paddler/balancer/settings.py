"""The balancer's options, and the settings that they become."""

from __future__ import annotations

from itertools import chain

import attrs
from twisted.python import usage

from paddler.balancer.doubts import Patience
from paddler.balancer.exchanges import Ways
from paddler.balancer.limits import Limits
from paddler.balancer.requests import Doors
from paddler.balancer.statsd import StatsdSettings
from paddler.balancer.table import SECTIONS, TABLE
from paddler.options import PaddlerOptions
from paddler.scheduling.policies import IdleSlots, Policy, Prefix
from paddler.scheduling.routing import Mode
from paddler.twistd import masked

__all__ = ["BalancerOptions", "BalancerSettings"]


@attrs.frozen
class BalancerSettings:
    """What the balancer does, settled.

    :param ways: how requests are passed on.
    :param policy: how a server is picked.
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
    :param routing: what models' names mean.
    :param models: names of models that are known from the beginning.
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
    policy: Policy | Prefix
    buffer_size: int
    buffer_bytes: int
    buffer_timeout: float
    limits: Limits
    connect_timeout: float
    quarantine: float
    agent_expiry: int
    routing: Mode
    models: tuple[str, ...]
    shutdown_grace: float
    metrics: bool
    statsd: StatsdSettings | None
    access_log: bool
    log_json: bool
    fast_lane: bool
    remarks: tuple[str, ...]


class BalancerOptions(PaddlerOptions):
    """Options of the balancer."""

    command = "paddler balancer"
    purpose = (
        "Take requests from clients, and send each to a llama-server with a free slot, where its "
        "prompt costs least; until there is one it waits."
    )
    table = TABLE
    sections = SECTIONS

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
        if self["models"] and self["model-routing"] == "off":
            raise usage.UsageError(
                "--models and --model-routing: 'off' contradict each other; without routing names "
                "mean nothing"
            )
        for name in ("fairness-bound", "prefix-memory"):
            if name in self.given and self["balancing"] != "prefix":
                raise usage.UsageError(
                    f"{self.source(name)}: means nothing with --balancing=idle-slots"
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
                prompts=self["balancing"] == "prefix",
            ),
            policy=self._policy(),
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
            routing=self["model-routing"],
            models=tuple(dict.fromkeys(chain.from_iterable(self["models"]))),
            shutdown_grace=self["shutdown-grace"],
            metrics=self["metrics-endpoint-enable"],
            statsd=self._statsd() if self["statsd-enable"] else None,
            access_log=self["access-log"],
            log_json=self["log-format"] == "json",
            fast_lane=self["fast-lane"],
            remarks=tuple(self.remarks),
        )

    def _policy(self) -> Policy | Prefix:
        if self["balancing"] == "prefix":
            # Nobody is sent away while a slot is free that it might have had.
            bound = min(self["fairness-bound"], self["request-buffer-timeout"] / 2)
            return Prefix(bound, self["prefix-memory"])
        return IdleSlots()

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
            return masked(described, self)
        interface = self[f"{side}-host"].replace(":", "\\:")
        return f"tcp:{self[f'{side}-port']}:interface={interface}:backlog=1024"
