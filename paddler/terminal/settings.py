"""The options of `paddler dashboard`, and the settings made of them."""

from __future__ import annotations

import attrs
from twisted.python import usage

from paddler.coercions import boolean, choice, host_or_key, path_of_secret, port, read_secret
from paddler.options import AWS_IMDSV1, Option, PaddlerOptions
from paddler.usage_text import Section
from paddler.values import Address

__all__ = ["DashboardOptions", "DashboardSettings"]


@attrs.frozen
class DashboardSettings:
    """What the dashboard needs to know.

    :param management: the balancer's management server.
    :param token: its bearer token.
    :param ascii: draw with plain characters.
    """

    management: Address
    token: str | None = attrs.field(default=None, repr=False)
    ascii: bool = False


class DashboardOptions(PaddlerOptions):
    """The options of `paddler dashboard`."""

    command = "paddler dashboard"
    purpose = "Look at a balancer's agents and queue in the terminal; ? shows the keys, q ends it."
    table = (
        Option(
            "management-host",
            host_or_key,
            "127.0.0.1",
            "Its --management-host, as this machine reaches it.",
            heading="The balancer",
        ),
        Option("management-port", port, 8085, "Its --management-port."),
        Option("management-scheme", choice("http", "https"), "http", "How it is spoken to."),
        Option("management-token-file", path_of_secret, None, "Holds its bearer token."),
        Option(
            "ascii",
            boolean,
            False,
            "Draw with plain ASCII characters.",
            heading="The terminal",
        ),
        AWS_IMDSV1,
    )
    sections = (Section("Example", (("", "paddler dashboard --management-host 10.0.0.1"),)),)

    def settings(self) -> DashboardSettings:
        """The settings that these options make.

        :raises usage.UsageError: when the token's file can't be read any more, or host and scheme
            don't fit.
        """
        path = self["management-token-file"]
        try:
            token = None if path is None else read_secret(path)
        except ValueError as error:
            raise usage.UsageError(f"--management-token-file: needs {error}") from None
        name = self["management-host"]
        if self["management-scheme"] == "https" and "_" in name:
            raise usage.UsageError(
                f"--management-host: got {name!r}; with https it needs a name without "
                "underscores, for no certificate is valid for one with them"
            )
        management = Address(
            self["management-host"], self["management-port"], self["management-scheme"]
        )
        return DashboardSettings(management, token, self["ascii"])
