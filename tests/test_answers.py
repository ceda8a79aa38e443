"""The one table from errors to answers."""

from __future__ import annotations

import json

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler import errors
from paddler.balancer.answers import error_body, status_of
from paddler.errors import PaddlerError, UpstreamTimedOut


def _all(kind: type[PaddlerError]) -> list[type[PaddlerError]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *_all(sub))]


class TableTests(SynchronousTestCase):
    """Every error has its answer."""

    def test_every_error(self) -> None:
        """Each class has a status and a word, and says itself in one line that is no repr."""
        self.assertGreater(len(_all(PaddlerError)), 10)
        for kind in _all(PaddlerError):
            sample = {"str": "what", "int": 7, "float": 7.0, "tuple[str, ...]": ("A", "B")}
            error = kind(*(sample[str(field.type)] for field in attrs.fields(kind)))
            code, word = status_of(error)
            self.assertTrue(400 <= code <= 599, kind)
            self.assertRegex(word, "^[a-z_]+$")
            self.assertTrue(str(error) and "\n" not in str(error) and "=" not in str(error), kind)
            self.assertIn(kind.__name__, errors.__all__)

    def test_ancestor_decides(self) -> None:
        """An error without a row of its own is answered as its ancestor."""
        self.assertEqual(status_of(UpstreamTimedOut("h:1", "late")), (502, "upstream_failed"))

    def test_without_a_row(self) -> None:
        """An error that nothing is laid down for is a bug and says so."""
        self.assertRaises(LookupError, status_of, PaddlerError())

    def test_shape(self) -> None:
        """The body has llama-server's own shape."""
        error = {"code": 429, "message": 'a "b"', "type": "buffer_full"}
        self.assertEqual(json.loads(error_body(429, "buffer_full", 'a "b"')), {"error": error})
