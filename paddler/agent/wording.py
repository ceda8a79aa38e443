"""What is known of a llama-server, in words for the log."""

from __future__ import annotations

from paddler.agent.llamacpp import LlamaStatus
from paddler.values import Issue

__all__ = ["in_words"]

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


def in_words(status: LlamaStatus, problem: str = "") -> str:
    """One line about a status.

    :param problem: more about the first issue.
    """
    if not status.issues:
        slots = "1 slot" if status.slots_total == 1 else f"{status.slots_total} slots"
        return f"all is well, {slots}{', asleep' if status.sleeping else ''}"
    first, *others = (_WORDS.get(issue, issue) for issue in status.issues)
    return "; ".join([f"{first} ({problem})" if problem else first, *others])
