"""Tests for paddler.balancer.increments."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.increments import PromptIncrements
from paddler.scheduling.pace import Pace

__all__ = ["PromptIncrementsTests"]


class PromptIncrementsTests(SynchronousTestCase):
    """`PromptIncrements`."""

    def setUp(self) -> None:
        self.paces: dict[str, Pace] = {}
        self.increments = PromptIncrements(lambda: self.paces)

    def learn(self, name: str, evaluated: int, cached: int) -> None:
        """An agent's server has answered a prompt."""
        pace = self.paces.setdefault(name, Pace())
        pace.prompt_tokens += evaluated + cached
        pace.cached_tokens += cached

    def test_nobody_looks(self) -> None:
        """Where nobody looks at prompts there is nothing."""
        self.assertEqual(self.increments.take(), {})

    def test_added(self) -> None:
        """In all and by agent, what was added since; of those that have answered alone."""
        self.paces["idle"] = Pace()
        self.learn("gpu.1", 70, 30)
        self.learn("gpu-2", 5, 0)
        none = {"prompt_tokens.evaluated": 0, "prompt_tokens.cached": 0}
        self.assertEqual(
            self.increments.take(),
            {
                "prompt_tokens.evaluated": 75,
                "prompt_tokens.cached": 30,
                "agents.gpu_1.prompt_tokens.evaluated": 70,
                "agents.gpu_1.prompt_tokens.cached": 30,
                "agents.gpu-2.prompt_tokens.evaluated": 5,
            },
        )
        self.assertEqual(self.increments.take(), none)
        self.learn("gpu.1", 0, 8)
        told = {**none, "prompt_tokens.cached": 8, "agents.gpu_1.prompt_tokens.cached": 8}
        self.assertEqual(self.increments.take(), told)

    def test_alike(self) -> None:
        """Of agents whose names become one, the sum."""
        self.learn("a.b", 1, 2)
        self.learn("a:b", 10, 20)
        told = self.increments.take()
        self.assertEqual(told["agents.a_b.prompt_tokens.evaluated"], 11)
        self.assertEqual(told["agents.a_b.prompt_tokens.cached"], 22)

    def test_comes_anew(self) -> None:
        """An agent that has left and come back begins at nothing; a counter never goes down."""
        self.learn("a", 100, 50)
        self.increments.take()
        for gone in (True, False):
            del self.paces["a"]
            if gone:
                self.increments.take()
            self.learn("a", 3, 4)
            told = self.increments.take()
            self.assertEqual(
                (told["prompt_tokens.evaluated"], told["prompt_tokens.cached"]), (3, 4)
            )
            self.learn("a", 100, 50)
            self.increments.take()
