"""What options may ask of EC2's instance metadata, and where it is asked.

Values, read from options and from the environment as the AWS SDKs read it. Nothing here
asks; `paddler.ec2` does.

The facts are from the AWS SDKs and Tools Reference Guide, "IMDS credential provider", and
the EC2 User Guide, "How Instance Metadata Service Version 2 works".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs
from twisted.python import usage

from paddler.values import Address

__all__ = ["MetadataKey", "MetadataService"]

#: Where every EC2 instance finds its metadata, over IPv4 and over IPv6.
ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}

_ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
_MODE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
_DISABLED = "AWS_EC2_METADATA_DISABLED"

_PORTS = {"http": 80, "https": 443}

_PREFIX = "aws:metadata:"
#: Names of categories, MAC addresses, and the names that instance tags may have.
_KEY = re.compile(r"(?!.*(^|/)\.\.?(/|$))[A-Za-z0-9+=.,_:@-]+(/[A-Za-z0-9+=.,_:@-]+)*")


@attrs.frozen
class MetadataKey:
    """One value of the instance metadata, given in place of a host.

    :param name: its path below `/latest/meta-data/`, such as `local-ipv4` or
        `network/interfaces/macs/02:29:96:8f:6a:2d/public-hostname`.
    """

    name: str

    def __str__(self) -> str:
        return _PREFIX + self.name

    @classmethod
    def read(cls, raw: str) -> MetadataKey | None:
        """From what an option was given; None: it asks for no metadata.

        :raises ValueError: saying what fits.
        """
        if not raw.startswith(_PREFIX):
            return None
        name = raw[len(_PREFIX) :]
        if _KEY.fullmatch(name) is None:
            raise ValueError("aws:metadata: and the key of one value, such as local-ipv4")
        return cls(name)


@attrs.frozen
class MetadataService:
    """Where instance metadata is asked.

    :param address: the server.
    :param path: what its paths begin with.
    :param version_1: whether version 1, which asks for no token, may be used too.
    """

    address: Address
    path: str = ""
    version_1: bool = False

    def __str__(self) -> str:
        return f"{self.address.scheme}://{self.address.authority}{self.path}"

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *, version_1: bool = False
    ) -> MetadataService:
        """The one that the environment means, by the names that the AWS SDKs know.

        `AWS_EC2_METADATA_SERVICE_ENDPOINT` goes before the `..._ENDPOINT_MODE`, which is IPv4
        or IPv6; `AWS_EC2_METADATA_DISABLED=true` forbids to ask.

        :raises usage.UsageError: naming the variable, what was given and what fits.
        """
        disabled = environment.get(_DISABLED, "")
        if disabled.lower() == "true":
            needs = "a host given as aws:metadata:KEY needs it to be false"
            raise usage.UsageError(f"{_DISABLED}: got {disabled!r}; {needs}")
        mode = environment.get(_MODE) or "ipv4"
        if mode.lower() not in ENDPOINTS:
            raise usage.UsageError(f"{_MODE}: got {mode!r}; it needs IPv4 or IPv6")
        url = environment.get(_ENDPOINT) or ENDPOINTS[mode.lower()]
        try:
            address, path = _read_url(url)
        except ValueError:
            needs = f"it needs a URL such as {ENDPOINTS['ipv4']}"
            raise usage.UsageError(f"{_ENDPOINT}: got {url!r}; {needs}") from None
        return cls(address, path, version_1)


def _read_url(url: str) -> tuple[Address, str]:
    """The server of a URL, and its path without the last slash.

    :raises ValueError: it is none, or has more than these.
    """
    parts = urlsplit(url)
    host, path = parts.hostname, parts.path.rstrip("/")
    port = parts.port or _PORTS.get(parts.scheme)
    whole = parts.query or parts.fragment or "@" in parts.netloc
    if not host or port is None or whole or not re.fullmatch(r"[A-Za-z0-9._~/-]*", path):
        raise ValueError("a URL of a server")
    return Address(host, port, "https" if parts.scheme == "https" else "http"), path
