"""Fakes for the agent's tests: a server that answers as it is told, and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed

from paddler.agent.settings import AgentSettings
from paddler.calls import Answer, NoAnswer, Outcome
from paddler.values import Address

__all__ = ["IDLE", "LOADING", "OK", "PROPS", "REFUSED", "SILENT", "FakeCall", "agent_settings"]

OK = Answer(200, b'{"status":"ok"}')
LOADING = Answer(
    503, b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
)
REFUSED = NoAnswer("refused", "it refuses connections")
SILENT = NoAnswer("timeout", "no answer within 1 s")
IDLE = Answer(200, b'[{"id":0,"is_processing":false},{"id":1,"is_processing":false}]')
PROPS = Answer(
    200,
    b'{"default_generation_settings":{"params":{},"n_ctx":2048},"total_slots":2,'
    b'"model_alias":"tiny","endpoint_slots":true,"is_sleeping":false,"media_marker":"a"}',
)


class FakeCall:
    """A `Call` that answers each path as it was told, and 404 elsewhere.

    :ivar answers: outcomes, or Deferreds of them, by path.
    :ivar asked: what was asked, as (method, path).
    :ivar bodies: the bodies that were sent.
    """

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers: dict[str, Any] = answers or {}
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes | None] = []
        self.limits: list[float] = []

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        seconds: float = 1.0,
        headers: Mapping[str, str] | None = None,
    ) -> Deferred[Outcome]:
        self.asked.append((method, path))
        self.bodies.append(body)
        self.limits.append(seconds)
        answer = self.answers.get(path, Answer(404))
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def times(self, path: str) -> int:
        """How often a path was asked for."""
        return [asked for _, asked in self.asked].count(path)


def agent_settings(**changes: Any) -> AgentSettings:
    """Settings of an agent called `one`, with some changed."""
    usual: dict[str, Any] = {
        "local": Address("127.0.0.1", 8088),
        "external": Address("10.0.0.1", 8088),
        "management": Address("127.0.0.1", 8085),
        "name": "one",
    }
    return AgentSettings(**{**usual, **changes})
