"""Chats of 4 kB: what knowing their prompts costs, beside HAProxy and beside idle-slots."""

from __future__ import annotations

import json
from random import Random

from benchmarks.rows import Goal, Plan, Row
from benchmarks.small import DONE, compare, usual
from benchmarks.stand import Stand

__all__ = ["measure"]

#: Bytes of a chat, how many there are, and turns of each.
SIZE, CHATS, TURNS = 4_000, 64, 4
GOALS = Goal(0.5, at_least=True), Goal(2.0)
_WORDS = "the cat and the dog went to a house by the sea where it was warm".split()
_SCRIPT = """
local bodies, requests, next = {{ {bodies} }}, {{}}, 0
init = function()
    local headers = {{ ["Content-Type"] = "application/json", ["Authorization"] = "Bearer sk" }}
    for number, body in ipairs(bodies) do
        requests[number] = wrk.format("POST", nil, headers, body)
    end
end
request = function()
    next = next % #requests + 1
    return requests[next]
end
"""


def _bodies() -> list[str]:
    """Turn after turn of some chats, each some hundred bytes longer than the one before."""
    random, bodies = Random(1), []
    said = [[_message("system", random, SIZE // 3)] for _ in range(CHATS)]
    for chat in said:
        while len(json.dumps(chat)) < SIZE - 200 * TURNS:
            chat.append(_message("user", random, 300))
    for _ in range(TURNS):
        for chat in said:
            bodies.append(json.dumps({"model": "model.gguf", "messages": chat}))
            chat += [_message("assistant", random, 200), _message("user", random, 100)]
    return bodies


def _message(role: str, random: Random, size: int) -> dict[str, str]:
    return {"role": role, "content": " ".join(random.choices(_WORDS, k=size // 4))}


def measure(stand: Stand, plan: Plan) -> list[Row]:
    """Each proxy in turn, in front of the same nginx."""
    server = stand.nginx()
    quoted = ",".join(f"[[{body}]]" for body in _bodies())
    script = stand.write("chats.lua", _SCRIPT.format(bodies=quoted) + DONE)
    return compare("chats of 4 kB", usual(stand, server), server, script, plan, GOALS)
