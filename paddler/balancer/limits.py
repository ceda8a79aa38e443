"""What one client may take: bytes, time and connections."""

from __future__ import annotations

import attrs

__all__ = ["BodyBudget", "Limits"]

#: One descriptor in so many is for llama-servers, agents and files.
KEPT_SHARE = 4


@attrs.frozen
class Limits:
    """What a connection may ask for.

    :param body: bytes of one request's body.
    :param quiet: seconds that a client may keep us waiting: for its headers, for more of
        its body, for taking more of what is sent to it.
    :param connections: how many there may be at a time.
    """

    body: int
    quiet: float
    connections: int

    def within(self, descriptors: int | None) -> Limits:
        """The same, with no more connections than there can be.

        Where descriptors run out, new connections are closed without an answer, those of agents
        too; where a limit of ours is reached, they wait.

        :param descriptors: how many files and connections the process may have open; None: as
            many as it likes.
        """
        if descriptors is None:
            return self
        most = descriptors - descriptors // KEPT_SHARE
        return attrs.evolve(self, connections=max(1, min(self.connections, most)))


@attrs.define(eq=False)
class BodyBudget:
    """Bytes of request bodies that are here and not yet with a llama-server.

    :param limit: the most; None: as many as come.
    """

    limit: int | None = None
    used: int = attrs.field(default=0, init=False)

    def has_room(self, size: int) -> bool:
        """Whether so many more are still within the limit."""
        return self.limit is None or self.used + size <= self.limit
