"""What one picture is made of: the data, how it is come by, and what the operator has chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import attrs

from paddler.terminal.agent import Agent
from paddler.terminal.figures import clock, span
from paddler.terminal.fleet import Counts, Fleet
from paddler.terminal.glyphs import ASCII, BLOCKS, Glyphs
from paddler.terminal.past import MINUTES

__all__ = ["Asked", "Choices", "Link", "Scene"]

#: What the last line asks for.
Asked = Literal["", "filter", "drain"]


@attrs.frozen
class Link:
    """The connection to the management server.

    :param live: data comes.
    :param ever: it has come before.
    :param since: when it was lost, Unix seconds.
    :param heard_at: when something came last.
    :param retry_at: when it is tried again.
    :param problem: why there is none.
    :param refused: whether it wanted a token, or another one than was given.
    """

    live: bool = False
    ever: bool = False
    since: float = 0.0
    heard_at: float = 0.0
    retry_at: float = 0.0
    problem: str = ""
    refused: Literal["", "no token", "wrong token"] = ""

    @property
    def fresh(self) -> bool:
        """Whether the first try is still on."""
        return not (self.live or self.ever or self.problem)

    def sentence(self, now: float) -> str:
        """What is said of it while there is none."""
        again = f"trying again in {span(max(1, math.ceil(self.retry_at - now)))}"
        if self.refused == "no token":
            return "The balancer wants a token: give it with --management-token-file FILE."
        if self.refused == "wrong token":
            return "The balancer refused the token that --management-token-file gave."
        if self.ever:
            return f"Connection lost {span(now - self.since)} ago, {again}."
        if self.fresh:
            return "Connecting."
        return f"No connection, {again}: {self.problem}."


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
    :param ascii_only: this terminal shows no others.
    :param log: charts have a logarithmic scale.
    :param minutes: how far back they go.
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
    ascii_only: bool = False
    log: bool = False
    minutes: int = MINUTES
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
    :param address: the management server's.
    :param scheme: how it is reached.
    :param clock: a time of day, as it is shown, from Unix seconds.
    """

    fleet: Fleet
    link: Link
    choices: Choices
    listed: tuple[Agent, ...]
    now: float
    local: float
    address: str
    scheme: str = "http"
    clock: Callable[[float], str] = clock

    @property
    def glyphs(self) -> Glyphs:
        """The characters to draw with."""
        return self.choices.glyphs

    def counts(self) -> Counts:
        """All agents, added up."""
        return Counts.of(self.fleet.agents.values(), self.now)

    def since(self, then: float) -> str:
        """When something was by the clock here.

        :param then: when it was by the balancer's, Unix seconds.
        """
        return self.clock(self.local - (self.now - then))

    @property
    def remark(self) -> str:
        """What is known of a lost connection beside that it is lost."""
        stood = f"how things stood at {self.clock(self.link.heard_at)}."
        return f"{stood} Last try: {self.link.problem}."

    @property
    def selected(self) -> Agent | None:
        """The marked agent, if it is listed."""
        return next((a for a in self.listed if a.agent_id == self.choices.selected), None)

    @property
    def mapped(self) -> bool:
        """Whether the agents are shown as a map."""
        chosen = self.choices.map
        return len(self.listed) > 200 if chosen is None else chosen
