"""What it costs to read out of a request's body what the balancer must know: model, n and the rest.

Once for each request; by the size of its body and by what is in it. Exit code 1 when a chat of 4 kB
takes more than 10 microseconds, or one of 1 MB more than 200, but for the one that is told of only.

    python benchmarks/bench_bodies.py [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from random import Random

from paddler.balancer.wishes import wishes

__all__ = ["main"]

_PATH = "/v1/chat/completions"
_WORDS = "the cat and the dog went to a house by the sea where it was warm".split()
_ODD = (*_WORDS, '"so"', "naïve", "line\n", "back\\slash")

_CODE = (*_WORDS, "a[i],", "b[j]")


def _chat(size: int, each: int, words: tuple[str, ...] | list[str] = _WORDS) -> bytes:
    """A chat as OpenAI's client sends it, with messages of some bytes each."""
    random, messages, left = Random(1), [], size
    while left > 0:
        text = " ".join(random.choices(words, k=max(1, min(each, left) // 5)))
        messages.append({"role": "user", "content": text})
        left -= len(text) + 40
    body = {"messages": messages, "model": "qwen3-8b-instruct", "n": 1, "stream": True}
    return json.dumps(body).encode()


def _image(size: int) -> bytes:
    """A chat about a picture."""
    url = {"url": "data:image/png;base64," + "iVBORw0KGgo" * (size // 11)}
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}]
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()


#: What is in a body, how it is made, and the most microseconds; None: it is told and not judged.
_BODIES: tuple[tuple[str, Callable[[], bytes], float | None], ...] = (
    ("4 kB, messages of 300 bytes", lambda: _chat(4_000, 300), 10.0),
    ("4 kB, one message", lambda: _chat(4_000, 4_000), 10.0),
    ("100 kB, messages of 2 kB", lambda: _chat(100_000, 2_000), 20.0),
    ("1 MB, one message", lambda: _chat(1_000_000, 1_000_000), 200.0),
    ("1 MB, one picture", lambda: _image(1_000_000), 200.0),
    ("1 MB, messages of 8 kB", lambda: _chat(1_000_000, 8_000), 200.0),
    ("1 MB, messages of 300 bytes", lambda: _chat(1_000_000, 300), 200.0),
    ("1 MB, full of escapes", lambda: _chat(1_000_000, 8_000, _ODD), 200.0),
    ("1 MB, messages full of brackets", lambda: _chat(1_000_000, 300, _CODE), None),
)


def measure(body: bytes) -> float:
    """Microseconds to read it, the best of several runs."""
    assert wishes(_PATH, body)[0].model
    runs = max(5, 2_000_000 // len(body))
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(runs):
            wishes(_PATH, body)
        best = min(best, (time.perf_counter() - began) / runs)
    return best * 1e6


def main() -> None:
    """Measure each body and print the table."""
    parser = argparse.ArgumentParser(description="What it costs to read a request's body.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    costs = {name: measure(make()) for name, make, _ in _BODIES}
    if given.json:
        print(json.dumps(costs))
    else:
        for name, _, limit in _BODIES:
            told = "" if limit is None else f"  ({limit:g} is the limit)"
            print(f"{name:30}{costs[name]:8.1f} us{told}")
    sys.exit(any(limit is not None and costs[name] > limit for name, _, limit in _BODIES))


if __name__ == "__main__":
    main()
