"""Whose fault a bad answer is: `paddler.balancer.faults`."""

from __future__ import annotations

from io import BytesIO

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.bodies import FileBody
from paddler.balancer.faults import FAST, fault_in_answer, fault_of
from paddler.errors import UpstreamFailed, UpstreamRefused, UpstreamTimedOut, UpstreamTruncated

__all__ = ["FaultInAnswerTests", "FaultOfTests"]

_CHAT = b'{"messages":[{"role":"user","content":"hi"}]}'


def _error(code: int, message: str, kind: str) -> bytes:
    return b'{"error":{"code":%d,"message":"%s","type":"%s"}}' % (
        code,
        message.encode(),
        kind.encode(),
    )


class FaultOfTests(SynchronousTestCase):
    """What gave no answer, or not all of it."""

    def test_table(self) -> None:
        """Without a connection nothing of the request was seen; with one it may be what kills."""
        for error, fault in (
            (UpstreamRefused("a:1", "refused"), "refused"),
            (UpstreamTimedOut("a:1", "no answer"), "refused"),
            (UpstreamFailed("a:1", "reset"), "died"),
            (UpstreamTruncated("a:1", "cut"), "died"),
        ):
            self.assertEqual(fault_of(error), fault, error)


class FaultInAnswerTests(SynchronousTestCase):
    """Answers with a status from 500."""

    def fault(
        self, code: int, answer: bytes, seconds: float = 0.001, request: bytes = _CHAT
    ) -> str | None:
        """What that says of the server."""
        body = FileBody(BytesIO(request), len(request))
        return fault_in_answer(code, answer, seconds, body)

    def test_table(self) -> None:
        """What counts, and what is the request's fault or can't be told."""
        for code, answer, fault in (
            (503, _error(503, "Loading model", "unavailable_error"), "loading"),
            (503, b'{"status":"loading model"}', "loading"),
            (503, _error(503, "no slot available", "unavailable_error"), "error"),
            (500, _error(500, "out of memory", "server_error"), "error"),
            (500, _error(500, "Loading model", "server_error"), "error"),
            (500, _error(500, "Context size has been exceeded.", "server_error"), None),
            (501, _error(501, "does not support embeddings", "not_supported_error"), None),
            (502, b"", "error"),
            (504, b"<html>", "error"),
            (599, b"\xff\x00", "error"),
        ):
            self.assertEqual(self.fault(code, answer), fault, (code, answer))

    def test_slow(self) -> None:
        """An error after some work is no sign of a server that draws all traffic."""
        self.assertEqual(self.fault(500, b"", FAST), "error")
        self.assertIsNone(self.fault(500, b"", FAST + 0.001))
        self.assertIsNone(self.fault(500, b"", 60.0))

    def test_loading_at_any_time(self) -> None:
        """That it loads its model is so, however long it took to say it."""
        answer = _error(503, "Loading model", "unavailable_error")
        self.assertEqual(self.fault(503, answer, 30.0), "loading")

    def test_broken_request(self) -> None:
        """Some versions call a request's broken JSON their own error."""
        for request in (b"", b"{", b"\xff\xfe", b'{"a":1}}', b"[" * 100_000, b"prompt=x"):
            self.assertIsNone(self.fault(500, b"", request=request), request[:9])

    def test_whole_request(self) -> None:
        """Any JSON will do, and the request is left as it was."""
        body = FileBody(BytesIO(_CHAT), len(_CHAT))
        self.assertEqual(fault_in_answer(500, b"", 0.0, body), "error")
        self.assertEqual(body.read(), _CHAT)
        for request in (b"[]", b"1", b' {"a":"\xc3\xa4"} '):
            self.assertEqual(self.fault(500, b"", request=request), "error", request)
