"""What the keys do: the operator's choices after a key, and what has to be done beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import attrs

from paddler.terminal.guide import first_steps
from paddler.terminal.header import after
from paddler.terminal.ordering import ORDERS
from paddler.terminal.saying import fix_of
from paddler.terminal.scene import Scene
from paddler.terminal.screen import Screen

__all__ = ["Deed", "kept", "pressed"]

_MOVES = {"j": "down", "k": "up", "h": "left", "l": "right", "g": "home", "G": "end"}


#: Keys that copy what makes the first agent, while there is none.
_STEPS = "123"
_MOST_TYPED = 200


@attrs.frozen
class Deed:
    """Something to do for the operator.

    :param kind: what.
    :param of: the id of the agent to drain or resume, or the text to copy.
    """

    kind: Literal["quit", "drain", "resume", "copy"]
    of: str = ""


def pressed(key: str, char: str | None, scene: Scene, screen: Screen) -> tuple[Scene, Deed | None]:
    """What follows from a key.

    :param key: its name.
    :param char: what it types or pastes, if anything.
    :param screen: what the operator sees.
    """
    choices = scene.choices
    if key == "ctrl+c":
        return scene, Deed("quit")
    if choices.asked == "filter":
        return _chosen(scene, **_filtering(key, char, choices.typed)), None
    if choices.asked == "drain":
        deed = Deed("drain", choices.about) if char in ("y", "Y") else None
        note = "" if deed else "Not drained."
        return _chosen(scene, asked="", note=note), deed
    word = char if char and char.isprintable() else key
    move = _MOVES.get(word, key)
    if move in ("up", "down", "left", "right", "pageup", "pagedown", "home", "end"):
        selected = _moved(screen, choices.selected, move)
        return _chosen(scene, selected=selected, note=""), None
    return _command(word, scene)


def _chosen(scene: Scene, **changes: object) -> Scene:
    # attrs' own types can't tell which fields these are.
    choices = attrs.evolve(scene.choices, **changes)  # type: ignore[arg-type]
    return attrs.evolve(scene, choices=choices)


def _filtering(key: str, char: str | None, typed: str) -> dict[str, object]:
    if key == "escape":
        return {"asked": "", "typed": "", "text": ""}
    if key == "enter":
        return {"asked": "", "typed": "", "text": typed}
    if key == "backspace":
        return {"typed": typed[:-1]}
    if key == "ctrl+u":
        return {"typed": ""}
    more = "".join(c for c in char or "" if c.isprintable())
    return {"typed": (typed + more)[:_MOST_TYPED]}


def _command(word: str, scene: Scene) -> tuple[Scene, Deed | None]:
    choices, agent = scene.choices, scene.selected
    if word == "q":
        return scene, Deed("quit")
    if word == "escape":
        if choices.help or choices.details:
            return _chosen(scene, help=False, details=False, note=""), None
        return _chosen(scene, text="", trouble_only=False, note=""), None
    if word in _SWITCHES:
        return _chosen(scene, **{"note": "", **_SWITCHES[word](scene)}), None
    if word in _STEPS and scene.link.live and not scene.fleet.agents:
        command = " ".join(first_steps(scene)[_STEPS.index(word)][1])
        return _copied(scene, command)
    if agent is not None and word in ("enter", "d", "r", "c"):
        return _to_agent(word, scene)
    return _chosen(scene, note=""), None


def _sorted(scene: Scene) -> dict[str, object]:
    ways = list(ORDERS)
    sort = ways[(ways.index(scene.choices.sort) + 1) % len(ways)]
    return {"sort": sort, "note": f"Sorted by {ORDERS[sort]}."}


def _lettered(scene: Scene) -> dict[str, object]:
    if scene.choices.ascii_only:
        return {"note": "This terminal shows plain ASCII characters only."}
    return {"ascii": not scene.choices.ascii}


#: What each of these keys changes.
_SWITCHES: Mapping[str, Callable[[Scene], dict[str, object]]] = {
    "/": lambda scene: {"asked": "filter", "typed": scene.choices.text, "help": False},
    "tab": lambda scene: {"trouble_only": not scene.choices.trouble_only},
    "s": _sorted,
    "m": lambda scene: {"map": not scene.mapped},
    "a": _lettered,
    "w": lambda scene: {"minutes": after(scene.choices.minutes)},
    "L": lambda scene: {"log": not scene.choices.log},
    "?": lambda scene: {"help": not scene.choices.help},
}


def _copied(scene: Scene, text: str) -> tuple[Scene, Deed]:
    return _chosen(scene, note=f"Copied, if this terminal lets it: {text}"), Deed("copy", text)


def _to_agent(word: str, scene: Scene) -> tuple[Scene, Deed | None]:
    agent = scene.selected
    assert agent is not None
    name = agent.agent_name
    if word == "enter":
        return _chosen(scene, details=not scene.choices.details, note=""), None
    if word == "c":
        fix = fix_of(agent, scene.now)
        if not fix:
            return _chosen(scene, note=f"Nothing to mend at {name}."), None
        return _copied(scene, fix)
    if not scene.link.live:
        return _chosen(scene, note="Not connected."), None
    if word == "d":
        if agent.draining:
            return _chosen(scene, note=f"{name} is drained already; r resumes."), None
        return _chosen(scene, asked="drain", about=agent.agent_id, note=""), None
    if not agent.draining:
        return _chosen(scene, note=f"{name} is not drained."), None
    return _chosen(scene, note=""), Deed("resume", agent.agent_id)


def _moved(screen: Screen, selected: str, move: str) -> str:
    """The agent that is marked after a move."""
    rows = [row for row in screen.grid if row]
    if not rows:
        return selected
    at = next(((y, row.index(selected)) for y, row in enumerate(rows) if selected in row), (0, 0))
    y, x = at
    if move in ("left", "right"):
        flat = [agent_id for row in rows for agent_id in row]
        index = flat.index(rows[y][x]) + (1 if move == "right" else -1)
        return flat[max(0, min(index, len(flat) - 1))]
    page = max(1, screen.rows - 1)
    steps = {"up": -1, "down": 1, "pageup": -page, "pagedown": page}
    y = {"home": 0, "end": len(rows) - 1}.get(move, y + steps.get(move, 0))
    row = rows[max(0, min(y, len(rows) - 1))]
    return row[min(x, len(row) - 1)]


def kept(selected: str, before: Sequence[str], now: Sequence[str]) -> str:
    """The marked agent when the list has changed: the same, else the one at its place.

    :param before: the ids that were listed.
    :param now: those that are.
    """
    if selected in now or not now:
        return selected if selected in now else ""
    at = before.index(selected) if selected in before else 0
    return now[min(at, len(now) - 1)]
