"""What llama-server's answers mean, in every form that it has answered in.

Pure: answers come in, values go out. llama-server's versions are told apart by the
fields of their answers, never by a build number, which shallow builds get wrong.
Nothing here knows how an answer was fetched or what is reported of it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
import msgspec

from paddler.calls import Answer, NoAnswer, Outcome
from paddler.values import Issue, Model

__all__ = [
    "Health",
    "Props",
    "Slots",
    "read_health",
    "read_models",
    "read_props",
    "read_slots",
]

_T = TypeVar("_T")


@attrs.frozen
class Health:
    """What /health said.

    :param issue: what keeps it from serving.
    :param slots_total: its slots, when /health counts them (until August 2024).
    :param slots_busy: the busy ones of them.
    """

    issue: Issue | None = None
    slots_total: int | None = None
    slots_busy: int | None = None


@attrs.frozen
class Props:
    """What /props said.

    :param issue: why it said nothing.
    :param slots_total: its slots.
    :param n_ctx: tokens that a slot's context holds.
    :param sleeping: its model is unloaded; None when this version can't sleep.
    :param router: it starts other llama-servers and has no slots of its own.
    :param offers_slots: /slots is served; None when it does not say.
    :param alias: the name of its model.
    :param process: differs when another process answers at this address.
    """

    issue: Issue | None = None
    slots_total: int | None = None
    n_ctx: int | None = None
    sleeping: bool | None = None
    router: bool = False
    offers_slots: bool | None = None
    alias: str | None = None
    process: str | None = None


@attrs.frozen
class Slots:
    """What /slots said.

    :param issue: why it said nothing.
    :param total: the slots.
    :param busy: the busy ones of them.
    :param n_ctx: tokens that a slot's context holds.
    :param tasks: the last task of each slot; while none differs, no work was done.
    """

    issue: Issue | None = None
    total: int = 0
    busy: int = 0
    n_ctx: int | None = None
    tasks: tuple[int | None, ...] = ()


class _HealthBody(msgspec.Struct):
    status: str
    slots_idle: int | None = None
    slots_processing: int | None = None


class _Error(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Error


class _Slot(msgspec.Struct):
    # `state` (0: idle) until November 2024, `is_processing` since then.
    is_processing: bool | int | None = None
    state: int | None = None
    n_ctx: int | None = None
    id_task: int | None = None
    task_id: int | None = None


class _Generation(msgspec.Struct):
    n_ctx: int | None = None


class _PropsBody(msgspec.Struct):
    total_slots: int | None = None
    default_generation_settings: _Generation | None = None
    is_sleeping: bool | None = None
    role: str | None = None
    endpoint_slots: bool | None = None
    model_alias: str | None = None
    build_info: str | None = None
    model_path: str | None = None
    # Drawn anew by every process, which makes it a mark to know the process by.
    media_marker: str | None = None


class _Model(msgspec.Struct):
    id: str
    aliases: list[str] | None = None
    owned_by: str | None = None
    meta: dict[str, Any] | None = None


class _Named(msgspec.Struct):
    name: str
    capabilities: list[str] | None = None


class _ModelsBody(msgspec.Struct):
    data: list[_Model]
    # The same in the shape of another program's list.
    models: list[_Named] = []


def _decoded(body: bytes, into: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(body, type=into)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _issue_of_silence(silence: NoAnswer) -> Issue:
    if silence.kind == "timeout":
        return "timeout"
    return "bad_status" if silence.kind == "garbled" else "unreachable"


def _is_loading(answer: Answer) -> bool:
    """503 has two meanings; the other one, "no slot available", is a healthy server's."""
    if answer.status != 503:
        return False
    error = _decoded(answer.body, _ErrorBody)
    said = error.error.message if error else ""
    health = _decoded(answer.body, _HealthBody)
    return "loading model" in (said.lower(), health.status.lower() if health else "")


def _issue_of_status(answer: Answer) -> Issue:
    if answer.status in (401, 403):
        return "unauthorized"
    return "loading" if _is_loading(answer) else "bad_status"


def read_health(outcome: Outcome) -> Health:
    """What an answer to /health means."""
    if isinstance(outcome, NoAnswer):
        return Health(_issue_of_silence(outcome))
    body = _decoded(outcome.body, _HealthBody)
    # With all slots busy some versions said so with a 503, although nobody had asked.
    all_busy = body is not None and body.status == "no slot available"
    if outcome.status != 200 and not all_busy:
        return Health(_issue_of_status(outcome))
    if body is None or (body.status != "ok" and not all_busy):
        return Health("bad_json")
    if body.slots_idle is None or body.slots_processing is None:
        return Health()
    return Health(None, body.slots_idle + body.slots_processing, body.slots_processing)


def read_slots(outcome: Outcome) -> Slots | None:
    """What an answer to /slots means.

    :returns: None for silence, which means nothing: older versions answer between two
        batches only.
    """
    if isinstance(outcome, NoAnswer):
        return None
    if outcome.status in (400, 404, 501):  # 400 is the router's, which wants a model's name
        return Slots("slots_disabled")
    if outcome.status != 200:
        return Slots(_issue_of_status(outcome))
    slots = _decoded(outcome.body, list[_Slot])
    if slots is None or any(slot.is_processing is None and slot.state is None for slot in slots):
        return Slots("bad_json")
    if not slots:
        return Slots("no_slots")
    return Slots(
        total=len(slots),
        busy=sum(map(_is_busy, slots)),
        n_ctx=next((slot.n_ctx for slot in slots if slot.n_ctx), None),
        tasks=tuple(slot.task_id if slot.id_task is None else slot.id_task for slot in slots),
    )


def _is_busy(slot: _Slot) -> bool:
    return bool(slot.state if slot.is_processing is None else slot.is_processing)


def read_props(outcome: Outcome) -> Props | None:
    """What an answer to /props means.

    :returns: None for silence, which means nothing, as with /slots.
    """
    if isinstance(outcome, NoAnswer):
        return None
    if outcome.status in (404, 501):  # a version that has no /props
        return Props()
    if outcome.status != 200:
        return Props(_issue_of_status(outcome))
    body = _decoded(outcome.body, _PropsBody)
    if body is None:
        return Props("bad_json")
    generation = body.default_generation_settings
    marks = (body.media_marker, body.build_info, body.model_path, body.model_alias)
    return Props(
        slots_total=body.total_slots,
        n_ctx=(generation.n_ctx if generation else None) or None,
        sleeping=body.is_sleeping,
        router=body.role == "router",
        offers_slots=body.endpoint_slots,
        alias=body.model_alias,
        process="\n".join(mark or "" for mark in marks),
    )


def read_models(outcome: Outcome) -> tuple[Model, ...] | None:
    """What an answer to /v1/models, or a router's to /models, lists; None when it lists nothing.

    As much of it as a report may hold.
    """
    if isinstance(outcome, NoAnswer) or outcome.status != 200:
        return None
    body = _decoded(outcome.body, _ModelsBody)
    if body is None:
        return None
    capabilities = {named.name: named.capabilities or () for named in body.models}
    found: dict[str, Model] = {}
    for model in body.data:
        names = [name for name in dict.fromkeys((model.id, *(model.aliases or ()))) if _fits(name)]
        if names and names[0] not in found:
            found[names[0]] = Model(
                names[0],
                tuple(names[1:257]),
                (model.owned_by or "llamacpp")[:128],
                tuple(word[:64] for word in capabilities.get(model.id, ())[:32]),
                _told(model.meta or {}),
            )
    return tuple(found.values())[:_MOST_MODELS]


#: Names and models that a report may hold.
_MOST_MODELS = 4096


def _fits(name: str) -> bool:
    """Whether a report may hold a name."""
    return 0 < len(name) <= 1024


def _told(meta: dict[str, Any]) -> dict[str, bool | int | float | str | None]:
    """What a report may hold of a model's details."""
    simple = (bool, int, float, str, type(None))
    told = {k: v for k, v in meta.items() if len(k) <= 64 and isinstance(v, simple)}
    return dict(list(told.items())[:32])
