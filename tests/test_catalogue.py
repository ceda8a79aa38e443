"""The list of models: `paddler.balancer.catalogue`."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.catalogue import model_json, models_json
from paddler.scheduling.views import ModelView

__all__ = ["CatalogueTests"]

_MODELS = (
    ModelView("a", ("chat", "b"), 5.9, capabilities=("completion",), meta={"n_ctx": 9}),
    ModelView("b", owned_by="me"),
)


class CatalogueTests(SynchronousTestCase):
    """Lists of models, and one of them."""

    def test_list(self) -> None:
        """As llama-server lists its own: for OpenAI's clients and for Ollama's."""
        told = json.loads(models_json(iter(_MODELS)))
        self.assertEqual(
            (told["object"], told["data"]),
            (
                "list",
                [
                    {
                        "id": "a",
                        "aliases": ["chat", "b"],
                        "tags": [],
                        "object": "model",
                        "created": 5,
                        "owned_by": "llamacpp",
                        "meta": {"n_ctx": 9},
                    },
                    {
                        "id": "b",
                        "aliases": [],
                        "tags": [],
                        "object": "model",
                        "created": 0,
                        "owned_by": "me",
                    },
                ],
            ),
        )
        first, _ = told["models"]
        self.assertEqual((first["name"], first["model"]), ("a", "a"))
        self.assertEqual(
            (first["capabilities"], first["details"]["format"]), (["completion"], "gguf")
        )

    def test_empty(self) -> None:
        """No model, and still a list."""
        self.assertEqual(json.loads(models_json(())), {"models": [], "object": "list", "data": []})

    def test_one(self) -> None:
        """One by its id, before all by what it may be called, or a 404."""
        for name, expected in (("a", "a"), ("chat", "a"), ("b", "b")):
            code, body = model_json(_MODELS, name)
            self.assertEqual((code, json.loads(body)["id"]), (200, expected))
        code, body = model_json(_MODELS, "x" * 9999)
        self.assertEqual((code, json.loads(body)["error"]["type"]), (404, "model_not_found"))
        self.assertLess(len(body), 400)
