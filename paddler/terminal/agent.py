"""An agent and its llama-server: a value as the API gives it, and what follows from it.

Fields that a newer balancer adds are ignored, and all but an agent's id may be missing.
"""

from __future__ import annotations

import attrs

from paddler.terminal.figures import port_in
from paddler.terminal.words import ISSUES, LOADING_LONG

__all__ = ["Agent", "Issue", "Prompts"]

#: In these states an agent takes requests, now or once a slot is free.
_TAKING = frozenset(("ready", "full", "sleeping"))
#: In these an agent is sent requests, or ends those that it has.
_SERVING = frozenset(("ready", "full", "sleeping", "draining"))
#: These are trouble by themselves.
_REMARKABLE = frozenset(("unreachable", "quarantined", "stale"))


@attrs.frozen
class Issue:
    """What is wrong with a llama-server, since when (Unix seconds), and who saw it."""

    issue: str
    since: float = 0.0
    seen_by: str = "agent"

    @property
    def by_agent(self) -> bool:
        """Whether it was seen from beside the llama-server."""
        return self.seen_by == "agent"


@attrs.frozen
class Prompts:
    """What a llama-server's answers have said of their prompts.

    :param tokens: of those that said what was cached.
    :param cached: those of them that were.
    :param tokens_per_second: of a prompt, as learnt; None: not known.
    :param answer_tokens_per_second: likewise of one answer.
    """

    tokens: int = 0
    cached: int = 0
    tokens_per_second: float | None = None
    answer_tokens_per_second: float | None = None

    @property
    def share(self) -> float | None:
        """The share of them that was cached; None: not known."""
        return self.cached / self.tokens if self.tokens else None


@attrs.frozen
class Agent:
    """An agent and its llama-server, as `GET /api/v1/agents` shows them."""

    agent_id: str
    agent_name: str = "?"
    external_llamacpp_addr: str = ""
    state: str = "unreachable"
    issues: tuple[Issue, ...] = ()
    slots_total: int = 0
    slots_idle: int = 0
    slots_processing: int = 0
    in_flight: int = 0
    promised: int = 0
    foreign_busy: int = 0
    client_left: int = 0
    models: tuple[str, ...] = ()
    quarantined_until: float | None = None
    draining: bool = False
    last_update: float = 0.0
    error: str | None = None
    prompts: Prompts | None = None

    @property
    def known(self) -> bool:
        """Whether it is known what all its slots do."""
        return self.serving and self.slots_total > 0

    @property
    def taking(self) -> bool:
        """Whether it takes requests, now or once a slot is free."""
        return self.state in _TAKING and not self.draining

    @property
    def drained(self) -> bool:
        """Whether it was drained and answers nothing any more."""
        return self.draining and not self.busy

    @property
    def serving(self) -> bool:
        """Whether it answers requests, wrong with it what may be."""
        return self.state in _SERVING

    @property
    def busy(self) -> int:
        """Slots in use, by whomever."""
        return self.in_flight + self.foreign_busy + self.client_left

    @property
    def cells(self) -> dict[str, int]:
        """How many slots do what, by the kinds of cells in the order they are drawn.

        Those in use are known even in trouble; the rest is out then.
        """
        rest = max(0, self.slots_total - self.busy)
        return {
            "answering": max(0, self.in_flight - self.promised),
            "promised": self.promised,
            "foreign": self.foreign_busy,
            "left": self.client_left,
            "idle": rest if self.taking else 0,
            "out": 0 if self.taking else rest,
        }

    @property
    def model(self) -> str:
        """The model it serves, and how many names it has besides; of a path only its end."""
        if not self.models:
            return ""
        name = self.models[0]
        name = name.rpartition("/")[2] or name if name.startswith("/") else name
        return name + (f" +{len(self.models) - 1}" if len(self.models) > 1 else "")

    @property
    def port(self) -> int:
        """The port of its llama-server."""
        return int(port_in(self.external_llamacpp_addr) or 8088)

    def trouble(self, now: float) -> Issue | None:
        """The issue that a person should look at first, the one behind its state if there is one.

        None for an agent that was drained, for that one may be stopped.

        :param now: Unix seconds.
        """
        if self.drained:
            return None
        wanted = [i for i in self.issues if i.issue != "loading" or now - i.since > LOADING_LONG]
        behind = [i for i in wanted if i.issue == self.state]
        if self.state == "unreachable":
            behind = [i for i in wanted if i.issue not in ("stale", "quarantined")]
        if self.state == "loading":
            return behind[0] if behind else None
        first = next(iter(behind or wanted), None)
        if first is None:
            return Issue(self.state, now, "balancer") if self.state in _REMARKABLE else None
        if first.issue == "unreachable":
            # Who is beside llama-server and gets no answer either knows more.
            return next((i for i in behind if i.issue == first.issue and i.by_agent), first)
        return first

    def severe(self, now: float) -> bool:
        """Whether a person is needed now: it is in trouble that does not mend by itself."""
        issue = self.trouble(now)
        advice = None if issue is None else ISSUES.get(issue.issue)
        return advice is not None and advice.severe and not self.serving
