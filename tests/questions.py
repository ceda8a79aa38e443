"""Requests for real llama-servers whose answers can be told from each other's.

Made at random, and read strictly: an answer is whole and is the one to its question, or it was
cut in one of the ways that the balancer may cut it, or something is wrong with it.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import attrs

from tests.callers import Answer

__all__ = ["Question", "question", "verdict"]

#: What the tiny model makes of a chat's frame, and of each `the ` in it, in tokens.
_CHAT_FRAME, _CHAT_WORD = 22, 4


@attrs.frozen
class Question:
    """One request.

    :param number: it is in the request's id, and in its prompt.
    :param tokens: how many the answer must have.
    """

    number: int
    chat: bool
    stream: bool
    tokens: int

    @property
    def request_id(self) -> str:
        """Its X-Request-Id."""
        return f"question-{self.number}"

    @property
    def words(self) -> int:
        """How many words a chat's prompt has."""
        return 1 + self.number % 60

    def request(self) -> bytes:
        """As it is sent."""
        body: dict[str, Any] = {"stream": self.stream}
        if self.chat:
            content = "the " * self.words + "cat"
            body |= {"messages": [{"role": "user", "content": content}], "max_tokens": self.tokens}
            if self.stream:
                body["stream_options"] = {"include_usage": True}
        else:
            body |= {"prompt": f"the {self.number} cat", "n_predict": self.tokens}
        data = json.dumps(body).encode()
        path = "/v1/chat/completions" if self.chat else "/completion"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: llm.example\r\nContent-Type: application/json\r\n"
            f"X-Request-Id: {self.request_id}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data


def question(number: int, random: Random) -> Question:
    """A question that keeps a slot busy for some tenths of a second."""
    return Question(number, random.random() < 0.5, random.random() < 0.5, random.randrange(50, 600))


def verdict(question: Question, answer: Answer) -> str:
    """What became of a question: `whole`, `truncated`, `cut`, or what is wrong, in words."""
    if answer.code != 200:
        return f"status {answer.code}: {answer.body[:200]!r}"
    if answer.headers.get("x-request-id") != question.request_id:
        return f"another's answer: {answer.headers}"
    streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
    if streamed != question.stream:
        return f"an answer of another kind: {answer.headers}"
    try:
        if answer.whole:
            return _wrong(question, answer.body) or "whole"
        if not answer.body:
            return "cut before its first byte"
        if not streamed:
            return "cut"
        last = _events(answer.body)[-1]
    except (ValueError, LookupError, TypeError) as error:
        return f"{error!r} in {answer.body[-300:]!r}"
    if isinstance(last, dict) and last.get("error", {}).get("type") == "upstream_truncated":
        return "truncated"
    return f"cut without a word: {answer.body[-200:]!r}"


def _events(body: bytes) -> list[Any]:
    """The data of an event stream, in order."""
    data = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [each.decode() if each == b"[DONE]" else json.loads(each) for each in data]


def _wrong(question: Question, body: bytes) -> str | None:
    """What is wrong with a whole answer; None: nothing."""
    if not question.stream:
        last = json.loads(body)
    else:
        *_, last = events = _events(body)
        if question.chat:
            if last != "[DONE]":
                return f"a stream that does not end: {last}"
            last = events[-2]
        if any("error" in event for event in events):
            return "an error in a whole stream"
        if len(events) < question.tokens:
            return f"{len(events)} events for {question.tokens} tokens"
    if question.chat:
        usage = last["usage"]
        got = usage["prompt_tokens"], usage["completion_tokens"]
        wanted: Any = _CHAT_FRAME + _CHAT_WORD * question.words, question.tokens
    else:
        got = last["prompt"], last["tokens_predicted"]
        wanted = f"<s> the {question.number} cat", question.tokens
    return None if got == wanted else f"another's answer: {got} for {wanted}"
