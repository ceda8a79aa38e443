"""Values that both services speak of: addresses, issues and reports.

They are checked where they enter, by msgspec, and trusted from then on.
"""

from __future__ import annotations

import codecs
import hashlib
from functools import lru_cache
from typing import Annotated, Literal

import attrs
import msgspec
from msgspec import Meta

from paddler.errors import MalformedReport

__all__ = ["BLOCKING_ISSUES", "Address", "Issue", "Model", "Report", "agent_id_for"]

# Python finds it on disk when it is first used; with twistd's --chroot or --uid it may by then
# be out of reach.
codecs.lookup("idna")

Issue = Literal[
    "unreachable",
    "unauthorized",
    "slots_disabled",
    "loading",
    "bad_status",
    "bad_json",
    "timeout",
    "no_slots",
    "stale",
    "quarantined",
]

#: With one of these a llama-server is sent nothing new. The others tell a person
#: what to mend, and the balancer goes on by its own count.
BLOCKING_ISSUES: frozenset[Issue] = frozenset(
    ("unreachable", "loading", "bad_status", "bad_json", "timeout")
)

# Both end up in log lines, so neither may hold what ends a line or steers a terminal.
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=rf"^[^{_CONTROLS}]+\Z")]
_Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=rf"^[^\s/@?#\[\]{_CONTROLS}]+\Z")]


class Address(msgspec.Struct, frozen=True):
    """Where a server is reached.

    :param host: a name or an IP address; names may have underscores.
    :param port: a TCP port.
    :param scheme: http or https.
    """

    host: _Host
    port: Annotated[int, Meta(ge=1, le=65535)]
    scheme: Literal["http", "https"] = "http"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """As it stands in a URL, and in Host: without the port that its scheme implies."""
        return str(self).removesuffix({"http": ":80", "https": ":443"}[self.scheme])


_ModelName = Annotated[str, Meta(max_length=1024)]


@attrs.frozen
class Model:
    """A model that a llama-server serves.

    :param id: its name.
    :param aliases: what it may be called instead.
    :param owned_by: whose it is, in llama-server's words.
    :param capabilities: what it can do, such as completion.
    :param meta: what its server tells of it, such as n_params; nothing here depends on it.
    """

    id: _ModelName
    aliases: Annotated[tuple[_ModelName, ...], Meta(max_length=256)] = ()
    owned_by: Annotated[str, Meta(max_length=128)] = "llamacpp"
    capabilities: Annotated[
        tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=32)
    ] = ()
    meta: Annotated[
        dict[Annotated[str, Meta(max_length=64)], bool | int | float | str | None],
        Meta(max_length=32),
    ] = attrs.field(factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All that it may be called."""
        return (self.id, *self.aliases)


@attrs.frozen
class Report:
    """What an agent says of its llama-server.

    :param agent_name: shown wherever the agent is shown.
    :param external: where the balancer reaches the llama-server.
    :param interval_s: seconds until the agent's next report.
    :param slots_total: the llama-server's slots; 0 when they are not known.
    :param slots_busy: how many were busy when they were last read; None when that
        can't be known (slots hidden, asleep).
    :param slots_age_s: how many seconds before this report they were read.
    :param n_ctx: tokens a slot's context holds.
    :param sleeping: its model is unloaded until the next request.
    :param issues: what is wrong, most important first.
    :param models: the names it serves, aliases included.
    :param model_details: the same, told apart by model; without them each name is a model.
    :param router: it takes no request that names no model, or one that it has not.
    :param version: the agent's own.
    """

    agent_name: _Name
    external: Address
    interval_s: Annotated[float, Meta(ge=0.05, le=3600)]
    slots_total: Annotated[int, Meta(ge=0, le=65536)]
    slots_busy: Annotated[int, Meta(ge=0, le=65536)] | None = None
    slots_age_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    n_ctx: Annotated[int, Meta(ge=0, le=2**40)] | None = None
    sleeping: bool = False
    issues: Annotated[tuple[Issue, ...], Meta(max_length=16)] = ()
    models: Annotated[tuple[_ModelName, ...], Meta(max_length=4096)] = ()
    model_details: Annotated[tuple[Model, ...], Meta(max_length=4096)] = ()
    router: bool = False
    version: Annotated[str, Meta(max_length=64)] = ""

    @property
    def served(self) -> tuple[Model, ...]:
        """The models that it serves."""
        return self.model_details or tuple(map(Model, self.models))

    def says_again(self, last: Report) -> bool:
        """Whether another said the same, but for slots in use and the agent's version."""
        return (
            self.slots_total == last.slots_total
            and self.n_ctx == last.n_ctx
            and self.interval_s == last.interval_s
            and self.sleeping == last.sleeping
            and self.router == last.router
            and self.issues == last.issues
            and self.agent_name == last.agent_name
            and self.models == last.models
            and self.model_details == last.model_details
            and self.external == last.external
        )

    @classmethod
    def from_json(cls, text: bytes) -> Report:
        """Read a report; fields that are not known are ignored.

        :raises MalformedReport: naming the field and what it must be.
        """
        try:
            report = _report_decoder.decode(text)
        except UnicodeDecodeError:
            raise MalformedReport("a report is JSON in UTF-8") from None
        except RecursionError:
            raise MalformedReport("a report is not nested so deeply") from None
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `$")
            field = path.rstrip("`").lstrip(".")
            raise MalformedReport(f"{field}: {problem}" if field else problem) from None
        except msgspec.DecodeError as error:
            raise MalformedReport(f"a report is JSON: {error}") from None
        try:
            _see_name(report.external.host)
        except UnicodeError:
            problem = "the parts of a name have 1 to 63 characters"
            raise MalformedReport(f"external.host: {problem}") from None
        return report

    def to_json(self) -> bytes:
        """The report as it goes over the wire."""
        return _encoder.encode(self)


@lru_cache
def _see_name(host: str) -> None:
    """See that a host's name is one.

    :raises UnicodeError: it is not.
    """
    host.encode("idna")  # as the resolver does, without good words for it


_report_decoder = msgspec.json.Decoder(Report)
_encoder = msgspec.json.Encoder()


def agent_id_for(name: str, external: Address) -> str:
    """The id of an agent: the same after a restart, another for another llama-server."""
    return hashlib.sha256(f"{name}\n{external}".encode()).hexdigest()[:16]
