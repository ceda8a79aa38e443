"""What is known of a llama-server after a look at it, and the words for it.

Nothing here knows how it was learned or who is told.
"""

from __future__ import annotations

import attrs

from paddler.values import Issue, Model

__all__ = ["LlamaStatus", "in_words"]

_WORDS: dict[Issue, str] = {
    "unreachable": "it can't be reached",
    "timeout": "it does not answer in time",
    "loading": "it is loading its model",
    "bad_status": "it answers with an unexpected status",
    "bad_json": "its answers are not llama-server's",
    "unauthorized": "it refuses the API key; give the right one with --local-llamacpp-api-key-file",
    "slots_disabled": "it does not serve /slots, so only the balancer's own requests are counted",
    "no_slots": "it has no slots that are known",
}


@attrs.frozen
class LlamaStatus:
    """What is known of a llama-server after a look at it.

    :param slots_total: its slots; 0 when they are not known.
    :param slots_busy: how many were busy at `sampled_at`; None when that is not known.
    :param sampled_at: the clock's seconds when they were read.
    :param n_ctx: tokens that a slot's context holds.
    :param sleeping: its model is unloaded until the next request.
    :param issues: what is wrong, most important first.
    :param models: what it serves.
    :param router: it starts a llama-server for each model that is asked for.
    """

    slots_total: int = 0
    slots_busy: int | None = None
    sampled_at: float | None = None
    n_ctx: int | None = None
    sleeping: bool = False
    issues: tuple[Issue, ...] = ()
    models: tuple[Model, ...] = ()
    router: bool = False

    @property
    def news(self) -> object:
        """What the balancer must hear at once when it differs; the rest can wait."""
        told = self.slots_total, self.n_ctx, self.sleeping, self.issues, self.models
        return (*told, self.router)


def in_words(status: LlamaStatus, problem: str = "") -> str:
    """One line about a status.

    :param problem: more about the first issue.
    """
    if not status.issues:
        slots = "1 slot" if status.slots_total == 1 else f"{status.slots_total} slots"
        return f"all is well, {slots}{', asleep' if status.sleeping else ''}"
    first, *others = (_WORDS.get(issue, issue) for issue in status.issues)
    return "; ".join([f"{first} ({problem})" if problem else first, *others])
