"""JSON without what is in its long texts."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.shortening import BRACKETS, LONG, SMALL, TAIL, shortened, without_list

__all__ = ["ShortenedTests", "WithoutListTests"]

#: What a text may hold that looks like JSON's own.
_NASTY = (
    "\\",
    '"',
    '\\"',
    "\n",
    "\\\\",
    "é",
    "]}",
    "]",
    '],"',
    '], "a": [',
    "]  ,",
    "},{",
    '"]}',
    '":[',
)


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


class WithoutListTests(SynchronousTestCase):
    """`without_list`."""

    def check(self, value: dict[str, Any], **dumping: Any) -> str | None:
        """Whichever list is cut out, the rest is the same; returns its key."""
        whole = json.dumps(value, **dumping).encode()
        cut = without_list(whole)
        if cut is None:
            return None
        told = json.loads(cut)
        (key,) = [key for key in value if told[key] != value[key]]
        self.assertEqual((list(told), told), (list(value), {**value, key: []}))
        self.assertLess(len(cut), 2 * TAIL)
        return key

    def test_messages(self) -> None:
        """A chat's messages go, wherever its short members are, however it is written."""
        messages = [{"role": "user", "content": 'say "x" \\ é [1]\n'}] * 500
        for value in (
            {"messages": messages},
            {"messages": messages, "model": "m", "n": 2, "stream": True},
            {"model": "m", "temperature": 0.5, "stop": None, "messages": messages},
            {"model": "m", "messages": messages, "n": -1.5e3, "user": "", "seed": False},
        ):
            for dumping in ({}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}):
                self.assertEqual(self.check(value, **dumping), "messages")

    def test_other_members(self) -> None:
        """Where there are two lists, or long members, nothing is cut."""
        long = ["x" * 99] * 300
        for value in (
            {"messages": long, "tools": long},
            {"messages": long, "n": 3, "tools": [], "model": "m"},
            {"messages": long, "n": 3, "stop": ["x"]},
            {"messages": long, "options": {"n": 3}},
            {"options": {"n": 3}, "messages": long},
            {"a": "x" * 999, "messages": long},
            {"messages": long, "a": "x" * 999},
            {"messages": long, "a": 'quoted "x"'},
            {"prompt": "x" * SMALL},
            {"messages": ["x" * SMALL + "],"]},
            {"messages": ["]x"] * BRACKETS * 40},
        ):
            self.assertIsNone(self.check(value), str(value)[-99:])

    def test_small_or_broken(self) -> None:
        """What is small is left to a parser, and what is no object does no harm."""
        self.assertIsNone(without_list(b'{"messages":[]}'))
        for text in (b'{"a":[', b'{"a":[]} x', b'["a"]', b'[{"a":[]}]', b'{"a":[]}]', b"{", b"]}"):
            whole = text.replace(b"[", b"[" + b" " * SMALL, 1)
            cut = without_list(whole)
            self.assertTrue(cut is None or json.loads(cut) is not None, text)

    def test_any(self) -> None:
        """Whatever is in its texts, no other list is taken for the one, and no text for a list."""
        random = Random(6)
        cuts = 0

        def text() -> str:
            return "".join(random.choices(("x" * 50, *_NASTY), k=random.choice((0, 1, 3, 9))))

        def member() -> Any:
            return random.choice((text, lambda: 1, lambda: None, lambda: True, lambda: [text()]))()

        for _ in range(3000):
            before = {f"b{n}": member() for n in range(random.choice((0, 0, 1, 2)))}
            behind = {f"a{n}": member() for n in range(random.choice((0, 0, 1, 2, 4)))}
            items = [random.choice((text(), [text()], {"a": text()})) for _ in range(9)]
            messages = [*items, "x" * SMALL, *items]
            random.shuffle(messages)
            value = {**before, "messages": messages, **behind}
            spaced = random.choice(({}, {"separators": (",", ":")}, {"indent": 1}))
            found = self.check(value, ensure_ascii=random.random() < 0.5, **spaced)
            self.assertIn(found, (None, "messages"))
            cuts += found is not None
        self.assertGreater(cuts, 100)
