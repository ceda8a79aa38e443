"""Prompts as chains of hashes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase
from xxhash import xxh3_64_intdigest

from paddler.prompts import (
    _SECRET,
    COMMAS,
    LEAST,
    PICTURE,
    SHARE,
    Prompt,
    PromptFields,
    prompt_of,
)

CHAT = "/v1/chat/completions"

_decoder = msgspec.json.Decoder(PromptFields)


def chat(*messages: str) -> dict[str, Any]:
    """A chat whose messages these are."""
    roles = ("system", "user", "assistant")
    return {
        "model": "m",
        "messages": [{"role": roles[i % 3], "content": text} for i, text in enumerate(messages)],
    }


def read(body: dict[str, Any], path: str = CHAT, session: bytes | None = None) -> Prompt | None:
    """The prompt of a body."""
    return prompt_of(path, _decoder.decode(json.dumps(body).encode()), session)


def chat_of(*content: dict[str, Any]) -> dict[str, Any]:
    """A chat of one message with that in it."""
    text = {"type": "text", "text": "What is it? " * 40}
    return {"messages": [{"role": "user", "content": [text, *content]}]}


class ChainTests(SynchronousTestCase):
    """Where prompts begin alike, their chains do."""

    def known(self, body: dict[str, Any], path: str = CHAT) -> Prompt:
        """The prompt of a body that has one."""
        prompt = read(body, path)
        assert prompt is not None
        return prompt

    def alike(self, one: Prompt, other: Prompt) -> int:
        """The bytes up to the end of the last block that both have."""
        pairs = zip(one.chain, other.chain, strict=False)
        alike = [end for end, (a, b) in zip(one.ends, pairs, strict=False) if a == b]
        return alike[-1] if alike else 0

    def test_next_turn(self) -> None:
        """A chat's next turn begins with the whole chain of the one before."""
        turns = ["You are kind. " * 40]
        before: Prompt | None = None
        for turn in range(40):
            turns += [f"question {turn} " * 10, f"answer {turn} " * 20]
            prompt = self.known(chat(*turns[:-1]))
            if before is not None:
                self.assertEqual(prompt.chain[: len(before.chain)], before.chain)
                self.assertEqual(prompt.ends[: len(before.ends)], before.ends)
                self.assertGreater(len(prompt.chain), len(before.chain) - 1)
                behind = before.size - before.ends[-1]
                self.assertLess(behind, max(2 * LEAST, before.size * 2 / SHARE))
            before = prompt

    def test_shared_system_prompt(self) -> None:
        """Chats with one system prompt are alike up to its end and no further."""
        system = "You are kind. " * 300
        one, other = (self.known(chat(system, word * 100)) for word in ("one ", "two "))
        self.assertGreater(self.alike(one, other), len(system))
        self.assertLess(self.alike(one, other), len(system) + 100)

    def test_within_a_long_message(self) -> None:
        """Long texts that differ late are alike up to a block before."""
        text = "It was a dark night. " * 2000
        one, other = self.known(chat(text + "one")), self.known(chat(text + "two"))
        self.assertGreater(self.alike(one, other), len(text) * (1 - 2 / SHARE))
        self.assertEqual(self.alike(one, self.known(chat("x" + text))), 0)

    def test_text(self) -> None:
        """A text that goes on begins with the chain of the shorter one."""
        text = "It was a dark night. " * 200
        for path, field in (("/completion", "prompt"), ("/v1/responses", "input")):
            short, long = (self.known({field: text[:size]}, path) for size in (3000, 4200))
            self.assertGreaterEqual(self.alike(short, long), 2048)
        tokens = list(range(1000, 2000))
        short, long = (self.known({"prompt": tokens[:n]}, "/completion") for n in (600, 1000))
        self.assertGreaterEqual(self.alike(short, long), 2048)

    def test_what_comes_first(self) -> None:
        """Another model, other tools or another system prompt make another chain."""
        body = chat("system " * 50, "user " * 50)
        first = self.known(body)
        for field, value in (
            ("model", "another"),
            ("tools", [{"type": "function", "function": {"name": "f" * 80}}]),
            ("system", "Be brief. " * 20),
        ):
            self.assertEqual(self.alike(first, self.known({**body, field: value})), 0, field)

    def test_what_does_not_matter(self) -> None:
        """How an answer is made is no part of the prompt."""
        body = chat("system " * 50, "user " * 50)
        other = self.known({**body, "temperature": 1, "stream": True, "n": 2})
        self.assertEqual(self.known(body).chain, other.chain)

    def test_paths(self) -> None:
        """Each path has its prompt where llama-server looks for it."""
        text = "some words " * 60
        for path, body in (
            ("/completion", {"prompt": text}),
            ("/v1/completions", {"prompt": [text, text]}),
            ("/api/chat", chat(text)),
            ("/v1/messages", {"system": text, "messages": []}),
            ("/v1/responses", {"instructions": text, "input": [{"content": "x"}]}),
            ("/responses", {"input": text}),
            ("/infill", {"input_prefix": text, "input_suffix": "x"}),
        ):
            self.assertGreaterEqual(self.known(body, path).size, len(text), path)
            self.assertEqual(len(self.known(body, path).chain) > 0, True, path)

    def test_last_message(self) -> None:
        """The last message's bytes are known, where others lie before it."""
        last = {"role": "user", "content": "short"}
        body = chat("system " * 90)
        self.assertEqual(self.known(body).last, 0)
        body["messages"].append(last)
        self.assertEqual(self.known(body).last, len(json.dumps(last)))

    def test_short_questions(self) -> None:
        """Short questions behind one long prompt are told apart, and a chat that went on a little
        is not taken for another.
        """
        system = "You are kind. " * 1000
        one, other = (self.known(chat(system, word * 10)) for word in ("one ", "two "))
        self.assertEqual(one.chain, other.chain)
        self.assertNotEqual(one.tails, other.tails)
        later = self.known(chat(system, "one " * 10, "yes " * 10, "why"))
        self.assertEqual(later.chain, one.chain)
        self.assertEqual(later.tails[: len(one.tails)], one.tails)
        self.assertEqual(len(later.tails), 3)

    def test_short_end_of_a_text(self) -> None:
        """The same of a text, wherever it ends."""
        text = "It was a dark night. " * 1000
        one, other = (
            self.known({"prompt": text + word * 25}, "/completion") for word in ("one ", "two ")
        )
        self.assertEqual(one.chain, other.chain)
        self.assertNotEqual(one.tails, other.tails)
        later = self.known({"prompt": text + "one " * 28}, "/completion")
        self.assertEqual(later.tails[: len(one.tails)], one.tails)
        self.assertGreater(len(one.tails), 0)

    def test_picture(self) -> None:
        """A picture counts as some text, and another picture is another prompt."""
        body = chat("system " * 90)
        prompts = []
        for data in ("A" * 500_000, "B" * 500_000):
            url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
            message = {"role": "user", "content": [url]}
            more = {"role": "user", "content": "What is it? " * 40}
            prompts.append(self.known({**body, "messages": [*body["messages"], message, more]}))
        self.assertLess(prompts[0].size, 8000)
        self.assertEqual(self.alike(*prompts), self.known(body).size)

    def test_pictures_and_sounds(self) -> None:
        """However they are written they count as some text, not as what they are written with."""
        data = "A" * 500_000
        source = {"type": "base64", "media_type": "image/png", "data": data}
        for path, body in (
            ("/v1/messages", chat_of({"type": "image", "source": source})),
            (CHAT, chat_of({"type": "input_audio", "input_audio": {"data": data}})),
            ("/completion", {"prompt": {"prompt_string": "a" * 900, "multimodal_data": [data]}}),
        ):
            self.assertLess(self.known(body, path).size, 8000, path)

    def test_picture_among_words(self) -> None:
        """Wherever in a text a picture lies, it is found."""
        words = {"type": "text", "text": "What is it? " * 700}
        for size in (PICTURE, PICTURE + 777):
            for before in range(0, 2400, 300):
                url = {"url": "data:image/png;base64," + "A" * size}
                more = {"type": "text", "text": "x " * (before // 2)}
                body = chat_of(words, more, {"type": "image_url", "image_url": url}, words)
                self.assertEqual(self.known(body).size, PICTURE, (size, before))

    def test_not_kept(self) -> None:
        """What llama-server is told not to keep has none."""
        body = chat("some text " * 60)
        self.assertIsNone(read({**body, "cache_prompt": False}))
        self.assertIsNotNone(read({**body, "cache_prompt": True}))

    def test_secret(self) -> None:
        """Nobody can reckon a prompt's hashes who does not know what they begin with."""
        prompt = self.known({"prompt": "x" * 600, "model": "m"}, "/completion")
        seed = xxh3_64_intdigest(b'"m"')
        self.assertNotEqual(prompt.chain[0], xxh3_64_intdigest(b'"' + b"x" * 600, seed))
        seed = xxh3_64_intdigest(b'"m"', _SECRET)
        self.assertEqual(prompt.chain[0], xxh3_64_intdigest(b'"' + b"x" * 600, seed))

    def test_bounded(self) -> None:
        """However large a prompt is, its blocks are few."""
        for body in (chat("x" * 20_000_000), chat(*["y" * 60] * 50_000)):
            self.assertLess(len(self.known(body).chain), 400)

    def test_very_long_list(self) -> None:
        """A list of so many messages is none of a chat's, and is read as a text."""
        body = chat("You are kind. " * 40)
        body["messages"] += [1] * (2 * COMMAS)
        prompt = self.known(body)
        self.assertLess(len(prompt.chain) + len(prompt.tails), 200)
        body["messages"][-1] = 2
        self.assertGreater(self.alike(prompt, self.known(body)), prompt.size * (1 - 2 / SHARE))

    def test_no_prompt(self) -> None:
        """What has no prompt, or one that makes no sense, has no chain."""
        for path, body in (
            ("/v1/embeddings", {"input": "text"}),
            ("/rerank", {"query": "text"}),
            (CHAT, {}),
            (CHAT, {"messages": None}),
            (CHAT, {"messages": []}),
            (CHAT, chat("Hi.")),
            (CHAT, chat("Some text. " * 30)),
            ("/completion", {"prompt": None}),
        ):
            self.assertIsNone(read(body, path), body)
        for odd in (5, "text", {"a": 1}, [1, 2], [[[]]]):
            prompt = read({"messages": odd}, CHAT)
            self.assertEqual([] if prompt is None else prompt.chain, [], odd)


class SessionTests(SynchronousTestCase):
    """What clients call their sessions."""

    def session(self, body: dict[str, Any], header: bytes | None = None) -> int | None:
        """The session of a chat."""
        prompt = read({**chat("some text " * 60), **body}, CHAT, header)
        assert prompt is not None
        return prompt.session

    def test_said(self) -> None:
        """A header or a field names it, and the same name means the same session."""
        self.assertIsNone(self.session({}))
        for nothing in (None, ""):
            self.assertIsNone(self.session({"session_id": nothing}))
        for field in ("session_id", "prompt_cache_key"):
            one, other = (self.session({field: name}) for name in ("one", "two"))
            self.assertEqual(one, self.session({field: "one"}))
            self.assertNotIn(None, (one, other))
            self.assertNotEqual(one, other)
        self.assertEqual(self.session({}, b"one"), self.session({}, b"one"))

    def test_each_model_has_its_own(self) -> None:
        """One session with two models is two."""
        one, other = (self.session({"session_id": "s", "model": m}) for m in ("m1", "m2"))
        self.assertNotEqual(one, other)

    def test_short(self) -> None:
        """However short a prompt is, its session is known."""
        prompt = read({**chat("Hi."), "session_id": "s"})
        assert prompt is not None
        self.assertEqual(prompt.chain, [])
        self.assertEqual(prompt.session, self.session({"session_id": "s"}))

    def test_header_first(self) -> None:
        """The header goes before the body, and names the same session as a field would."""
        self.assertEqual(self.session({}, b"x"), self.session({"session_id": "x"}))
        self.assertEqual(self.session({"session_id": "x"}, b"h"), self.session({}, b"h"))
