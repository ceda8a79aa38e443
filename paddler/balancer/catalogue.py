"""The models that may be asked for, as llama-server lists its own: one list for the whole fleet.

Made from the scheduler's view at each call, so it is there also while every server is busy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from paddler.balancer.answers import error_body
from paddler.scheduling.views import ModelView

__all__ = ["model_json", "models_json"]

_encode = msgspec.json.Encoder().encode

#: What programs made for Ollama's list look for, and llama-server has nothing to say of.
_EMPTY = {"modified_at": "", "size": "", "digest": "", "description": "", "parameters": ""}
_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "",
    "families": [""],
    "parameter_size": "",
    "quantization_level": "",
}


def models_json(models: Iterable[ModelView]) -> bytes:
    """The answer to `/v1/models` and `/models`."""
    models = list(models)
    return _encode(
        {
            "models": [_for_ollama(model) for model in models],
            "object": "list",
            "data": [_for_openai(model) for model in models],
        }
    )


def model_json(models: Iterable[ModelView], name: str) -> tuple[int, bytes]:
    """The answer to `/v1/models/NAME`: a status and a body."""
    named = [model for model in models if name == model.id or name in model.aliases]
    if not named:
        return 404, error_body(404, "model_not_found", f"there is no model {name[:200]!r}")
    return 200, _encode(_for_openai(min(named, key=lambda model: model.id != name)))


def _for_openai(model: ModelView) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": model.id,
        "aliases": model.aliases,
        "tags": [],
        "object": "model",
        "created": int(model.since),
        "owned_by": model.owned_by,
    }
    return {**shown, "meta": model.meta} if model.meta else shown


def _for_ollama(model: ModelView) -> dict[str, Any]:
    return {
        "name": model.id,
        "model": model.id,
        "type": "model",
        "tags": [""],
        "capabilities": model.capabilities,
        "details": _DETAILS,
        **_EMPTY,
    }
