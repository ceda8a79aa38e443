"""The agent's options, and the settings made of them.

Nothing below the root sees options; nothing here knows what the settings are for.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

import attrs
from twisted.python import usage

from paddler.coercions import choice, duration, host_or_key, path_of_secret, port, shaped, text
from paddler.foreground import SERVICE_SECTIONS
from paddler.metadata import MetadataKey, MetadataService
from paddler.options import AWS_IMDSV1, Option, PaddlerOptions
from paddler.usage_text import Section
from paddler.values import Address, agent_id_for

__all__ = ["AgentOptions", "AgentSettings", "HostKeys"]

_scheme = choice("http", "https")


@shaped("NAME")
def _name(raw: str) -> str:
    if len(text(raw)) > 128:
        raise ValueError("printable text of 128 characters at most")
    return raw


@shaped("DURATION")
def _interval(raw: str) -> float:
    seconds = duration(raw)
    if not 0.05 <= seconds <= 3600:
        raise ValueError("a duration from 50ms to 1h")
    return seconds


@shaped("KEY")
def _key(raw: str) -> str:
    if not raw or not raw.isascii() or not raw.isprintable() or " " in raw:
        raise ValueError("printable ASCII without spaces")
    return raw


@attrs.frozen
class HostKeys:
    """The hosts that instance metadata told, and may tell anew.

    :param service: where it is asked.
    :param keys: the key of each, by its name in `AgentSettings`.
    """

    service: MetadataService
    keys: Mapping[str, MetadataKey]


@attrs.frozen
class AgentSettings:
    """What one agent needs to know.

    :param local: where the agent reaches its llama-server.
    :param external: where the balancer reaches it.
    :param management: the balancer's management server.
    :param name: shown wherever the agent is shown.
    :param interval: seconds from one report, and one look at the llama-server, to the next.
    :param llamacpp_key: llama-server's API key.
    :param management_token: the management server's bearer token.
    :param host_keys: hosts that may change; None: all of them were given.
    """

    local: Address
    external: Address
    management: Address
    name: str
    interval: float = 1.0
    llamacpp_key: str | None = attrs.field(default=None, repr=False)
    management_token: str | None = attrs.field(default=None, repr=False)
    host_keys: HostKeys | None = None

    @property
    def agent_id(self) -> str:
        """The agent's id in the management server's paths."""
        return agent_id_for(self.name, self.external)


class AgentOptions(PaddlerOptions):
    """The options of `twistd paddler-agent` and `paddler agent`."""

    command = "paddler agent"
    purpose = (
        "Watch one llama-server, and report its free slots to a balancer. Run one beside each "
        "llama-server."
    )
    table = (
        Option(
            "local-llamacpp-host",
            host_or_key,
            "127.0.0.1",
            "The host on which the agent reaches it.",
            heading="The llama-server",
        ),
        Option("local-llamacpp-port", port, 8088, "Its port there."),
        Option("local-llamacpp-scheme", _scheme, "http", "How it is spoken to there."),
        Option(
            "local-llamacpp-api-key-file",
            path_of_secret,
            None,
            "Holds its API key, for the agent's own look at its slots; or give the key itself in "
            "PADDLER_LOCAL_LLAMACPP_API_KEY.",
        ),
        Option(
            "local-llamacpp-api-key",
            _key,
            None,
            "That key itself, for everyone to see who lists processes.",
            secret=True,
        ),
        Option(
            "external-llamacpp-host",
            host_or_key,
            None,
            "The host on which the balancer reaches it.",
            shown="as local",
        ),
        Option("external-llamacpp-port", port, None, "Its port there.", shown="as local"),
        Option(
            "external-llamacpp-scheme",
            _scheme,
            None,
            "How it is spoken to there.",
            shown="as local",
        ),
        Option(
            "management-host",
            host_or_key,
            "127.0.0.1",
            "The balancer's --management-host, as this machine reaches it.",
            heading="The balancer",
        ),
        Option("management-port", port, 8085, "Its --management-port."),
        Option("management-scheme", _scheme, "http", "How it is spoken to."),
        Option(
            "management-token-file",
            path_of_secret,
            None,
            "Holds its bearer token; or give the token itself in PADDLER_MANAGEMENT_TOKEN.",
        ),
        Option(
            "name",
            _name,
            None,
            "What the agent is called wherever it is shown.",
            shown="HOST:EXTERNAL_PORT",
            heading="Reporting",
        ),
        Option("reporting-interval", _interval, 1.0, "From one report to the next."),
        AWS_IMDSV1,
    )
    sections = (
        *SERVICE_SECTIONS,
        Section(
            "Examples",
            (
                ("", "paddler agent --external-llamacpp-host 10.0.0.2 --management-host 10.0.0.1"),
                ("", "twistd --pidfile /run/a.pid paddler-agent --management-host 10.0.0.1"),
            ),
        ),
    )

    def postOptions(self) -> None:
        """Check what no option can check alone."""
        self.exclude("local-llamacpp-api-key", "local-llamacpp-api-key-file")
        self.read_secrets("management-token", "local-llamacpp-api-key")
        self.check_hosts()

    def check_hosts(self) -> None:
        """See that hosts fit their options.

        :raises usage.UsageError: one does not.
        """
        if self["external-llamacpp-host"] in ("0.0.0.0", "::"):
            raise usage.UsageError(
                f"--external-llamacpp-host: got {self['external-llamacpp-host']!r}; it needs the "
                "address that the balancer connects to, and nobody can connect to that one"
            )
        for side in ("local-llamacpp", "external-llamacpp", "management"):
            host = self[f"{side}-host"] or self["local-llamacpp-host"]
            scheme = self[f"{side}-scheme"] or self["local-llamacpp-scheme"]
            if scheme == "https" and isinstance(host, str) and "_" in host:
                raise usage.UsageError(
                    f"--{side}-host: got {host!r}; with https it needs a name "
                    "without underscores, for no certificate is valid for one with them"
                )

    def settings(self) -> AgentSettings:
        """The settings that these options make."""
        local = self._address("local-llamacpp")
        external = Address(
            self["external-llamacpp-host"] or local.host,
            self["external-llamacpp-port"] or local.port,
            self["external-llamacpp-scheme"] or local.scheme,
        )
        name = self["name"] or f"{socket.gethostname()}:{external.port}"
        return AgentSettings(
            local=local,
            external=external,
            management=self._address("management"),
            name=name,
            interval=self["reporting-interval"],
            llamacpp_key=self["local-llamacpp-api-key"] or self.secrets["local-llamacpp-api-key"],
            management_token=self.secrets["management-token"],
            host_keys=self._host_keys() if self.metadata_keys else None,
        )

    def _host_keys(self) -> HostKeys:
        of = {
            "local": "local-llamacpp-host",
            "external": "external-llamacpp-host",
            "management": "management-host",
        }
        if self["external-llamacpp-host"] is None:
            of["external"] = of["local"]
        known = self.metadata_keys
        keys = {name: known[option] for name, option in of.items() if option in known}
        return HostKeys(self.metadata_service(), keys)

    def _address(self, side: str) -> Address:
        return Address(self[f"{side}-host"], self[f"{side}-port"], self[f"{side}-scheme"])
