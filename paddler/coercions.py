"""Readings of options' values: from what was written to what was meant.

Each raises ValueError saying what fits; who calls it says what was given and where. Its `shape`
is how such a value is told of in a help: `PORT`, `text|json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.internet.abstract import isIPv6Address

from paddler.metadata import MetadataKey

__all__ = [
    "boolean",
    "choice",
    "duration",
    "endpoint",
    "host",
    "host_or_key",
    "is_boolean",
    "listening_port",
    "path_of_secret",
    "port",
    "positive",
    "read_secret",
    "secret",
    "shape_of",
    "shaped",
    "size",
    "text",
    "whole",
]

_TRUE = frozenset(("true", "1", "yes", "on"))
_FALSE = frozenset(("false", "0", "no", "off"))
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h|)")

_BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "B": 1, "": 1}
_SIZE = re.compile(r"([0-9]{1,12})(KiB|MiB|GiB|B|)")

_T = TypeVar("_T")
_Coerce = Callable[[str], _T]


def shaped(shape: str) -> Callable[[_Coerce[_T]], _Coerce[_T]]:
    """Give a reading its shape.

    :param shape: words between bars are all that it takes.
    """

    def mark(coerce: _Coerce[_T]) -> _Coerce[_T]:
        coerce.__dict__["shape"] = shape
        return coerce

    return mark


def shape_of(coerce: _Coerce[_T]) -> str:
    """How a value that it takes is told of."""
    return str(getattr(coerce, "shape", "TEXT"))


def is_boolean(raw: str) -> bool:
    """Whether `boolean` takes it."""
    return raw.lower() in _TRUE | _FALSE


@shaped("true|false")
def boolean(raw: str) -> bool:
    """true/false/1/0/yes/no/on/off, in any case.

    :raises ValueError: saying what fits.
    """
    word = raw.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("true or false (also 1/0, yes/no, on/off)")


@shaped("DURATION")
def duration(raw: str) -> float:
    """Seconds from `500ms`, `60s`, `2m`, `1h` or a bare number of seconds.

    :raises ValueError: saying what fits.
    """
    found = _DURATION.fullmatch(raw)
    if found is None:
        raise ValueError("a duration such as 500ms, 60s or 2m (a bare number is seconds)")
    return float(found[1]) * _SECONDS[found[2]]


@shaped("SIZE")
def size(raw: str) -> int:
    """Bytes from `64KiB`, `100MiB`, `1GiB` or a bare number of bytes.

    :raises ValueError: saying what fits.
    """
    found = _SIZE.fullmatch(raw)
    if found is None:
        raise ValueError("a size such as 64KiB or 100MiB (a bare number is bytes)")
    return int(found[1]) * _BYTES[found[2]]


def positive(of: Callable[[str], float]) -> Callable[[str], float]:
    """The same values without zero."""

    @shaped(shape_of(of))
    def coerce(raw: str) -> float:
        value = of(raw)
        if value <= 0:
            raise ValueError("more than 0")
        return value

    return coerce


def whole(least: int, most: int | None = None, shape: str = "N") -> Callable[[str], int]:
    """Whole numbers from `least` to `most`."""

    @shaped(shape)
    def coerce(raw: str) -> int:
        number = int(raw) if re.fullmatch(r"[0-9]{1,18}", raw) else -1
        if number < least or (most is not None and number > most):
            reach = f"a whole number from {least}"
            raise ValueError(reach if most is None else f"{reach} to {most}")
        return number

    return coerce


#: A port that something listens on.
port = whole(1, 65535, "PORT")
#: A port to listen on: 0 lets the system choose one.
listening_port = whole(0, 65535, "PORT")


@shaped("HOST")
def host(raw: str) -> str:
    """A host name (underscores are allowed) or an IP address.

    :raises ValueError: saying what fits.
    """
    bare = raw[1:-1] if raw.startswith("[") and raw.endswith("]") else raw
    if not bare or re.search(r"[\s/@?#]", bare) or (":" in bare and not isIPv6Address(bare)):
        raise ValueError("a host name or address, without scheme or port")
    try:
        bare.encode("idna")  # as the resolver will, which has no good words for it
    except UnicodeError:
        raise ValueError("a host name whose parts have 1 to 63 characters") from None
    return bare


@shaped("HOST")
def host_or_key(raw: str) -> str | MetadataKey:
    """A host, or `aws:metadata:KEY` for one that EC2's instance metadata tells.

    :raises ValueError: saying what fits.
    """
    key = MetadataKey.read(raw)
    return host(raw) if key is None else key


def choice(*words: str) -> Callable[[str], str]:
    """One of a few words."""

    @shaped("|".join(words))
    def coerce(raw: str) -> str:
        if raw not in words:
            raise ValueError(" or ".join(words))
        return raw

    return coerce


def text(raw: str) -> str:
    """Printable text that is not empty.

    :raises ValueError: saying what fits.
    """
    if not raw.strip() or not raw.isprintable():
        raise ValueError("printable text")
    return raw


@shaped("ENDPOINT")
def endpoint(raw: str) -> str:
    """How Twisted describes a place to listen; who listens there finds out whether it fits.

    :raises ValueError: saying what fits.
    """
    return text(raw)


def secret(raw: str | None) -> str | None:
    """A secret as it is given, without the blanks around it; None stays None.

    :raises ValueError: saying what fits.
    """
    if raw is None:
        return None
    bare = raw.strip()
    if not bare or not bare.isascii() or not bare.isprintable() or " " in bare:
        raise ValueError("one line of printable ASCII without spaces")
    return bare


def read_secret(path: Path) -> str | None:
    """The one line that a secret's file holds.

    :raises ValueError: saying what is wrong with the file.
    """
    try:
        return secret(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("a text file") from None


@shaped("FILE")
def path_of_secret(raw: str) -> Path:
    """The path of a file that holds a secret; it is read once here to see that it can be.

    :raises ValueError: saying what is wrong with the file.
    """
    path = Path(raw).expanduser().absolute()
    read_secret(path)
    return path
