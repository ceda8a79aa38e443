"""A router-mode llama-server's models: `paddler.agent.router`."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.llamacpp import Slots
from paddler.agent.router import (
    USUAL_SLOTS,
    Loadable,
    read_router,
    slots_of_all,
    slots_path,
)
from paddler.calls import Answer
from tests.agent_fakes import SILENT

__all__ = ["RouterTests"]


class RouterTests(SynchronousTestCase):
    """What a router says, and what it means."""

    def read(self, *models: dict[str, Any]) -> tuple[Loadable, ...] | None:
        """What a list of models means."""
        return read_router(Answer(200, json.dumps({"data": models}).encode()))

    def test_models(self) -> None:
        """A model is loaded or not, and has the slots that its command line says."""
        for args, slots in (
            (["llama-server", "--parallel", "3"], 3),
            (["-np", "1"], 1),
            (["--parallel", "-1"], USUAL_SLOTS),
            (["--parallel"], USUAL_SLOTS),
            ([], USUAL_SLOTS),
        ):
            status = {"value": "unloaded", "args": args}
            self.assertEqual(
                self.read({"id": "m", "status": status}), (Loadable("m", False, slots),)
            )
        for value in ("loaded", "loading", "sleeping", "unloaded", "downloading", ""):
            found = self.read({"id": "m", "status": {"value": value}})
            self.assertEqual(found, (Loadable("m", value == "loaded", USUAL_SLOTS),))
        self.assertEqual(self.read({"id": "m"}), (Loadable("m", False, USUAL_SLOTS),))

    def test_nothing_said(self) -> None:
        """Whatever is not a list of models."""
        for outcome in (SILENT, Answer(401), Answer(200, b"{}"), Answer(200, b"\xff")):
            self.assertIsNone(read_router(outcome))

    def test_path(self) -> None:
        """Names are quoted, and nothing is loaded."""
        expected = "/slots?model=org%2Fm%3AQ4%26x&autoload=false"
        self.assertEqual(slots_path("org/m:Q4&x"), expected)

    def test_together(self) -> None:
        """As many as the smallest has, with all that is busy; who says nothing does not count."""
        samples = (Slots(total=4, busy=1, tasks=(1,)), Slots(total=2, busy=2, tasks=(5, 6)))
        together = slots_of_all((*samples, Slots("bad_json")))
        self.assertEqual(together, Slots(total=2, busy=3, tasks=(1, 5, 6)))
        self.assertEqual(slots_of_all(()), Slots())
