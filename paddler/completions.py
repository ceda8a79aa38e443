"""What zsh completes after `twistd paddler-balancer` and `twistd paddler-agent`.

Twisted asks for it in a form of its own; zsh brings the function that asks twistd. Nothing here
knows what an option is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.python import usage

from paddler.coercions import shape_of

if TYPE_CHECKING:
    from paddler.options import Option

__all__ = ["completions", "parameters"]


def parameters(table: Sequence[Option]) -> list[list[str | None]]:
    """The options as Twisted lists them: name, letter, default and what it does."""
    return [[option.name, None, None, option.help] for option in table]


def completions(table: Sequence[Option]) -> usage.Completions:
    """What may follow each option, and which may be given again."""
    return usage.Completions(
        descriptions={"version": "Show Paddler's version and exit."},
        optActions={option.name: _values(shape_of(option.coerce)) for option in table},
        multiUse=[option.name for option in table if option.repeatable],
    )


def _values(shape: str) -> usage.Completer:
    if "|" in shape or shape.islower():
        return usage.CompleteList(shape.split("|"), descr=shape)
    kinds: dict[str, Any] = {"FILE": usage.CompleteFiles, "HOST": usage.CompleteHostnames}
    kind = kinds.get(shape, usage.Completer)
    completer: usage.Completer = kind(descr=shape)
    return completer
