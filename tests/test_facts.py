"""What answers say of themselves."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.facts import Facts, facts_in

_TIMINGS = {
    "cache_n": 22,
    "prompt_n": 5,
    "prompt_ms": 0.7,
    "prompt_per_second": 800.5,
    "predicted_n": 8,
    "predicted_per_second": 25.0,
}
_SAID = Facts(22, 5, 8, 800.5, 25.0)


def event(**fields: Any) -> bytes:
    """An event of a stream."""
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


class FactsTests(SynchronousTestCase):
    """`facts_in`."""

    def test_timings(self) -> None:
        """llama-server's own timings are read, wherever they stand in the tail."""
        done = b"data: [DONE]\n\n"
        for tail in (
            json.dumps({"content": "x", "timings": _TIMINGS}).encode(),
            event(content="", timings=_TIMINGS),
            event(choices=[], timings=_TIMINGS) + done,
            b'lf of an event"}\n\n' + event(choices=[], usage={}, timings=_TIMINGS) + done,
        ):
            self.assertEqual(facts_in(tail), _SAID, tail)

    def test_last_counts(self) -> None:
        """Of several the last is taken, for servers may say them on the way too."""
        tail = event(timings={**_TIMINGS, "predicted_n": 1}) + event(timings=_TIMINGS)
        self.assertEqual(facts_in(tail), _SAID)

    def test_older_server(self) -> None:
        """A server that says less of it is understood."""
        self.assertEqual(facts_in(event(timings={"prompt_n": 7})), Facts(0, 7, 0))

    def test_no_speed(self) -> None:
        """A speed that is none is told as it is said."""
        for odd in (0, 5e-324, 1e-9, None):
            said = {**_TIMINGS, "prompt_per_second": odd, "predicted_per_second": odd}
            self.assertEqual(facts_in(event(timings=said)), Facts(22, 5, 8, odd, odd), odd)

    def test_usage(self) -> None:
        """Where there are no timings, the usage says what was cached."""
        cached = {"cached_tokens": 4}
        for usage, facts in (
            ({"prompt_tokens": 9, "completion_tokens": 3}, Facts(0, None, 3)),
            (
                {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": cached},
                Facts(4, 5, 3),
            ),
            (
                {"input_tokens": 9, "output_tokens": 3, "input_tokens_details": cached},
                Facts(4, 5, 3),
            ),
            (
                {"cache_read_input_tokens": 4, "input_tokens": 5, "output_tokens": 3},
                Facts(4, 5, 3),
            ),
            ({"output_tokens": 3}, Facts(0, None, 3)),
        ):
            self.assertEqual(facts_in(event(usage=usage)), facts, usage)

    def test_nothing(self) -> None:
        """Answers that say nothing, or nonsense, give nothing."""
        for tail in (
            b"",
            b"data: [DONE]\n\n",
            b'{"embedding":[1,2]}',
            event(timings=None),
            event(timings={"prompt_n": -1}),
            event(timings={"prompt_n": "many"}),
            b'"timings":{"prompt_n":1',
            b'"timings":{\xff}',
            b'"usage":' + b"{" * 5000,
            b'"usage":{' + b"{}" * 3000,
            b'"timings":{"x":' + b"[" * 1900 + b"]" * 1900 + b"}",
            b'"usage":{"x":' + b"[" * 1900 + b"]" * 1900 + b"}",
        ):
            self.assertIsNone(facts_in(tail), tail[:50])

    def test_text_of_a_model(self) -> None:
        """What a model writes is no fact."""
        text = json.dumps({"timings": _TIMINGS, "usage": {"output_tokens": 3}})
        self.assertIsNone(facts_in(event(content=text)))
