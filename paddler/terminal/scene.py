"""What one picture is made of: the data, how it is come by, and what the operator has chosen."""

from __future__ import annotations

from typing import Literal

import attrs

from paddler.terminal.counting import Counts
from paddler.terminal.figures import seconds, span
from paddler.terminal.fleet import Agent, Fleet
from paddler.terminal.glyphs import ASCII, BLOCKS, Glyphs

__all__ = ["Asked", "Choices", "Link", "Scene"]

#: What the last line asks for.
Asked = Literal["", "filter", "drain"]


@attrs.frozen
class Link:
    """The connection to the management server.

    :param live: data comes.
    :param ever: it has come before.
    :param since: when it was lost, Unix seconds.
    :param retry_at: when it is tried again.
    :param problem: why there is none.
    :param refused: whether it wanted a token, or another one than was given.
    """

    live: bool = False
    ever: bool = False
    since: float = 0.0
    retry_at: float = 0.0
    problem: str = ""
    refused: Literal["", "no token", "wrong token"] = ""

    @property
    def fresh(self) -> bool:
        """Whether the first try is still on."""
        return not (self.live or self.ever or self.problem)

    def sentence(self, now: float) -> str:
        """What is said of it while there is none."""
        wait = seconds(max(1.0, round(self.retry_at - now))).replace(".0 s", " s")
        again = f"next try in {wait}."
        if self.refused == "no token":
            return "The balancer wants a token: give it with --management-token-file FILE."
        if self.refused == "wrong token":
            return "The balancer refused the token that --management-token-file gave."
        if self.ever:
            return f"Connection lost {span(now - self.since)} ago, {again}"
        if self.fresh:
            return "Connecting."
        return f"Cannot connect: {self.problem}; {again}"


@attrs.frozen
class Choices:
    """What the operator has chosen.

    :param selected: the id of the marked agent.
    :param first: the first row that is shown.
    :param text: what rows must have in them.
    :param trouble_only: show only agents in trouble.
    :param sort: one of `ordering.ORDERS`.
    :param asked: what the last line asks for.
    :param about: the id of the agent that it asks of.
    :param typed: what was typed there.
    :param details: the marked agent's details are open.
    :param help: so is the help.
    :param map: the map instead of rows; None: above 200 agents.
    :param ascii: plain characters.
    :param note: what came of the last command.
    """

    selected: str = ""
    first: int = 0
    text: str = ""
    trouble_only: bool = False
    sort: str = "trouble"
    asked: Asked = ""
    about: str = ""
    typed: str = ""
    details: bool = False
    help: bool = False
    map: bool | None = None
    ascii: bool = False
    note: str = ""

    @property
    def glyphs(self) -> Glyphs:
        """The characters to draw with."""
        return ASCII if self.ascii else BLOCKS


@attrs.frozen
class Scene:
    """All that a picture shows.

    :param listed: the agents to list, in order.
    :param now: Unix seconds by the balancer's clock.
    :param local: the same by this machine's, which the link's times are in.
    :param clock: the time of day, as it is shown.
    :param address: the management server's.
    :param scheme: how it is reached.
    """

    fleet: Fleet
    link: Link
    choices: Choices
    listed: tuple[Agent, ...]
    now: float
    local: float
    clock: str
    address: str
    scheme: str = "http"

    @property
    def glyphs(self) -> Glyphs:
        """The characters to draw with."""
        return self.choices.glyphs

    def counts(self) -> Counts:
        """All agents, added up."""
        return Counts.of(self.fleet.agents.values(), self.now)

    @property
    def selected(self) -> Agent | None:
        """The marked agent, if it is listed."""
        return next((a for a in self.listed if a.agent_id == self.choices.selected), None)

    @property
    def mapped(self) -> bool:
        """Whether the agents are shown as a map."""
        chosen = self.choices.map
        return len(self.listed) > 200 if chosen is None else chosen
