"""Tokens of prompts as StatsD counts them: what was added since it was told last."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping

import attrs

from paddler.scheduling.pace import Pace

__all__ = ["PromptIncrements", "part_of_name"]

#: What a part of a name may not hold: dots part it, the others end it.
_ODD = re.compile(r"[^A-Za-z0-9_-]+")


def part_of_name(text: str) -> str:
    """Text as StatsD can read it, as one part of a name."""
    return _ODD.sub("_", text)


@attrs.define(eq=False)
class PromptIncrements:
    """Tokens that were evaluated, and that were found in a cache, in all and by agent.

    :param paces: what is learnt of each agent's llama-server, by name; nothing where nobody looks
        at prompts.
    """

    _paces: Callable[[], Mapping[str, Pace]]
    #: Of each agent: evaluated and cached, as they were told last.
    _told: dict[str, tuple[int, int]] = attrs.field(factory=dict, init=False)

    def take(self) -> dict[str, int]:
        """What was added since this was asked last.

        Of agents whose names are alike, once what StatsD can't read is replaced, the sum.
        """
        paces, added = self._paces(), Counter[str]()
        if not paces:
            return {}
        before, self._told = self._told, {}
        for name, pace in paces.items():
            now = pace.prompt_tokens - pace.cached_tokens, pace.cached_tokens
            self._told[name] = now
            then = before.get(name, (0, 0))
            if sum(now) < sum(then):
                # It has left, and come anew.
                then = 0, 0
            for word, new, old in zip(("evaluated", "cached"), now, then, strict=True):
                added[f"prompt_tokens.{word}"] += new - old
                if new > old:
                    added[f"agents.{part_of_name(name)}.prompt_tokens.{word}"] += new - old
        return dict(added)
