"""Facts that keep Paddler from doing what it was asked to.

A name states the fact; what belongs to it is an attribute. Nothing here knows
of HTTP: `paddler.balancer.answers` has the one table from errors to answers.
"""

from __future__ import annotations

import attrs

__all__ = [
    "AdminEndpointDisabled",
    "BodyTooLarge",
    "ContextExceeded",
    "HeadTooLarge",
    "MalformedReport",
    "MalformedRequest",
    "MethodNotAllowed",
    "ModelNotFound",
    "NoConnection",
    "NoSuchAgent",
    "NoSuchPage",
    "NoUpstream",
    "OriginNotAllowed",
    "PaddlerError",
    "QueueFull",
    "SlotsEndpointDisabled",
    "Stopping",
    "Unauthorized",
    "UpstreamFailed",
    "UpstreamRefused",
    "UpstreamTimedOut",
    "UpstreamTruncated",
    "WaitedTooLong",
]


@attrs.define(eq=False, str=False)
class PaddlerError(Exception):
    """What Paddler says of a thing that it could not do, by its `problem` if it has one."""

    def __str__(self) -> str:
        return getattr(self, "problem", (self.__doc__ or "").partition("\n")[0])


@attrs.define(eq=False, str=False)
class QueueFull(PaddlerError):
    """The buffer has no room for another request.

    :param limit: the most requests, or bytes of them, that may wait.
    :param retry_after: seconds after which asking again makes sense.
    :param unit: what the limit counts.
    """

    limit: int
    retry_after: int = 1
    unit: str = "requests"

    def __str__(self) -> str:
        if not self.limit:
            return "all slots are busy and waiting is turned off"
        return f"the buffer is full: its limit is {self.limit} {self.unit}"


@attrs.define(eq=False, str=False)
class WaitedTooLong(PaddlerError):
    """No slot became free before the request's deadline.

    :param seconds: how long the request was allowed to wait.
    :param retry_after: seconds after which asking again makes sense.
    """

    seconds: float
    retry_after: int = 1

    def __str__(self) -> str:
        return f"no slot became free within {self.seconds:g} s"


@attrs.define(eq=False, str=False)
class ModelNotFound(PaddlerError):
    """No llama-server has ever served a model of that name.

    :param model: the name.
    :param there: those that are served.
    """

    model: str
    there: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(map(repr, self.there[:20])) or "none"
        more = f" and {len(self.there) - 20} more" if len(self.there) > 20 else ""
        return f"no server has the model {self.model[:200]!r}; there is {shown}{more}"


@attrs.define(eq=False, str=False)
class NoUpstream(PaddlerError):
    """No healthy llama-server is known for a request that never waits."""

    problem = "no healthy llama-server can answer this now"


@attrs.define(eq=False, str=False)
class Stopping(PaddlerError):
    """The balancer is stopping and takes nothing new."""

    problem = "the balancer is shutting down"


@attrs.define(eq=False, str=False)
class SlotsEndpointDisabled(PaddlerError):
    """`/slots` was asked for while it is closed."""

    problem = "/slots is closed here; the balancer opens it with --slots-endpoint-enable"


@attrs.define(eq=False, str=False)
class AdminEndpointDisabled(PaddlerError):
    """One of llama-server's own administration paths was asked for while they are closed.

    :param path: the path, decoded and normalised.
    """

    path: str

    def __str__(self) -> str:
        return (
            f"{self.path} administers one llama-server and is closed here; "
            "the balancer opens it with --admin-endpoints-enable"
        )


@attrs.define(eq=False, str=False)
class ContextExceeded(PaddlerError):
    """A prompt is too long for every server that has its model.

    :param tokens: how long it is.
    :param n_ctx: tokens that the largest context holds.
    """

    tokens: int
    n_ctx: int

    @property
    def wanted(self) -> int:
        """Tokens that a context must hold: llama-server takes no prompt that fills one."""
        return max(self.tokens, self.n_ctx) + 1

    def __str__(self) -> str:
        size = f"available context size ({self.n_ctx} tokens)"
        return f"request ({self.tokens} tokens) exceeds the {size}, try increasing it"


@attrs.define(eq=False, str=False)
class MalformedRequest(PaddlerError):
    """A client's request can't be passed on.

    :param problem: what is wrong with it.
    """

    problem: str


@attrs.define(eq=False, str=False)
class MalformedReport(PaddlerError):
    """A report that can't be understood.

    :param problem: the field and what is wrong with it.
    """

    problem: str


@attrs.define(eq=False, str=False)
class NoSuchAgent(PaddlerError):
    """No agent of that id is known.

    :param agent_id: the id that was asked for.
    """

    agent_id: str

    def __str__(self) -> str:
        return f"no agent has the id {self.agent_id!r}"


@attrs.define(eq=False, str=False)
class UpstreamFailed(PaddlerError):
    """A llama-server did not answer a request that it was sent.

    :param upstream: its address, as its agent gives it.
    :param problem: what happened.
    """

    upstream: str
    problem: str

    def __str__(self) -> str:
        return f"llama-server at {self.upstream} failed: {self.problem}"


@attrs.define(eq=False, str=False)
class UpstreamRefused(UpstreamFailed):
    """A connection to a llama-server was not made: it has seen nothing of the request."""


@attrs.define(eq=False, str=False)
class UpstreamTimedOut(UpstreamRefused):
    """A connection to a llama-server was not made in time."""


@attrs.define(eq=False, str=False)
class UpstreamTruncated(UpstreamFailed):
    """A llama-server's answer ended before it was complete."""


@attrs.define(eq=False, str=False)
class Unauthorized(PaddlerError):
    """The management server asks for a token, and none or a wrong one was shown."""

    problem = "this needs the header Authorization: Bearer TOKEN, with the balancer's token"


@attrs.define(eq=False, str=False)
class OriginNotAllowed(PaddlerError):
    """A web page of another origin asks for a change that its origin may not make.

    :param origin: where the page is from, as its browser says.
    """

    origin: str

    def __str__(self) -> str:
        return (
            f"a web page from {self.origin!r} may change nothing here; "
            "the balancer allows it with --management-cors-allowed-host"
        )


@attrs.define(eq=False, str=False)
class NoSuchPage(PaddlerError):
    """Nothing is served at that path."""

    problem = "nothing is served at this path"


@attrs.define(eq=False, str=False)
class MethodNotAllowed(PaddlerError):
    """What is at that path does not take this method.

    :param allowed: the methods that it takes.
    """

    allowed: tuple[str, ...]

    def __str__(self) -> str:
        return f"this path takes {', '.join(self.allowed)}"


@attrs.define(eq=False, str=False)
class BodyTooLarge(PaddlerError):
    """A request's body has more bytes than are taken.

    :param limit: the most that are taken.
    """

    limit: int

    def __str__(self) -> str:
        return f"the body has more than {self.limit} bytes"


@attrs.define(eq=False, str=False)
class HeadTooLarge(PaddlerError):
    """A request's line and headers are more than is taken.

    :param limit: the most bytes of them all together.
    :param headers: the most headers.
    """

    limit: int
    headers: int

    def __str__(self) -> str:
        return f"the request has more than {self.headers} headers or {self.limit} bytes of them"


@attrs.define(eq=False, str=False)
class NoConnection(PaddlerError):
    """The balancer has nothing left to connect to a llama-server with.

    :param problem: what the system said.
    """

    problem: str

    def __str__(self) -> str:
        return f"the balancer can make no connection to any llama-server: {self.problem}"
