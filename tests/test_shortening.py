"""JSON without what is in its long texts."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.shortening import LONG, SMALL, shortened

__all__ = ["ShortenedTests"]


def _cut(value: Any) -> Any:
    """A value with every text empty."""
    if isinstance(value, str):
        return ""
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return {key: _cut(item) for key, item in value.items()} if isinstance(value, dict) else value


class ShortenedTests(SynchronousTestCase):
    """`shortened`."""

    def test_small(self) -> None:
        """What is small stays as it is."""
        text = json.dumps({"a": "x" * (SMALL - 50)}).encode()
        self.assertIs(shortened(text), text)

    def test_long_text(self) -> None:
        """What is in a long text goes, and nothing else."""
        text = b'{"a":"' + b"x" * SMALL + b'","model":"m"}'
        self.assertEqual(shortened(text), b'{"a":"","model":"m"}')

    def test_no_text(self) -> None:
        """Numbers and brackets are no text, however long they are."""
        text = json.dumps({"prompt": [[n] for n in range(SMALL)], "model": "m"}).encode()
        self.assertEqual(shortened(text), text)

    def test_many_short_texts(self) -> None:
        """Many short texts are left to a parser, which is as quick with them."""
        text = json.dumps({"a": ["short"] * SMALL, "b": "x" * SMALL}).encode()
        self.assertIs(shortened(text), text)

    def test_broken(self) -> None:
        """What is no JSON does no harm."""
        for text in (b'"' + b"x" * SMALL, b"x" * SMALL, b'\\"' * SMALL, b'"\\' + b"x" * SMALL):
            self.assertLessEqual(len(shortened(text)), len(text))

    def test_any(self) -> None:
        """Whatever texts there are, with whatever quotes and backslashes: all else is the same."""
        random = Random(4)
        shortest = 1.0
        for _ in range(300):
            words = [
                "x" * random.choice((1, 99, LONG, 5000)),
                "\\",
                '"',
                '\\"',
                "\n",
                "\\\\",
                "é",
                "]}",
            ]

            def text(words: list[str] = words) -> str:
                return "".join(random.choices(words, k=random.choice((0, 1, 5, 40))))

            value: Any = {"model": "m", "n": 3}
            for number in range(random.choice((3, 10))):
                value[f"{number}"] = random.choice((text(), [text(), {"n": text()}, 4], None, 2.5))
            value["last"] = "x" * SMALL
            whole = json.dumps(value, ensure_ascii=random.random() < 0.5).encode()
            cut = shortened(whole)
            told = json.loads(cut)
            self.assertEqual(list(told), list(value))
            self.assertEqual(_cut(told), _cut(value))
            self.assertEqual((told["model"], told["n"]), ("m", 3))
            shortest = min(shortest, len(cut) / len(whole))
        self.assertLess(shortest, 0.1)
