"""What a router-mode llama-server says of its models, and what is made of them.

A router starts a llama-server for each model that is asked for. It has no slots of its own, and
its agent reports as many as one of its models has: so many requests may go there at a time,
whatever they ask for, and none of its models ever gets more than it has slots.

Note [No probe loads a model]. /models tells of all and loads none. /slots of a model would load
it, so it is asked with `autoload=false` and for those that are loaded only; and not of one that
sleeps, which it would wake all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

import attrs
import msgspec

from paddler.agent.llamacpp import Slots
from paddler.calls import NoAnswer, Outcome

__all__ = ["Loadable", "read_router", "slots_of_all", "slots_path"]

#: Slots of a llama-server that was not told how many.
USUAL_SLOTS = 4
_SLOTS_OPTIONS = ("--parallel", "-np")


@attrs.frozen
class Loadable:
    """A model of a router's.

    :param id: its name.
    :param loaded: it is there and awake.
    :param slots: how many it has, or will have.
    """

    id: str
    loaded: bool
    slots: int


class _Status(msgspec.Struct):
    value: str = ""
    args: list[str] = []


class _Model(msgspec.Struct):
    id: str
    status: _Status = msgspec.field(default_factory=_Status)


class _Body(msgspec.Struct):
    data: list[_Model]


def read_router(outcome: Outcome) -> tuple[Loadable, ...] | None:
    """What an answer to a router's /models means; None: nothing."""
    if isinstance(outcome, NoAnswer) or outcome.status != 200:
        return None
    try:
        body = msgspec.json.decode(outcome.body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return tuple(
        Loadable(model.id, model.status.value == "loaded", _slots_of(model.status.args))
        for model in body.data
    )


def _slots_of(args: Sequence[str]) -> int:
    """The slots that a command line asks for."""
    for word, value in zip(args, args[1:], strict=False):
        if word in _SLOTS_OPTIONS and value.isdigit() and int(value) > 0:
            return int(value)
    return USUAL_SLOTS


def slots_path(model: str) -> str:
    """Where a router is asked for the slots of one model."""
    return f"/slots?model={quote(model, safe='')}&autoload=false"


def slots_of_all(samples: Iterable[Slots]) -> Slots:
    """The slots of all models that are loaded, as those of one server."""
    known = [slots for slots in samples if slots.issue is None]
    return Slots(
        total=min((slots.total for slots in known), default=0),
        busy=sum(slots.busy for slots in known),
        tasks=tuple(task for slots in known for task in slots.tasks),
    )
