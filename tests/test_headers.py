"""Which headers pass."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from paddler.headers import AnswerHeaders, RequestHeaders, pairs_of
from paddler.values import Address


class EndToEndTests(SynchronousTestCase):
    """Headers between neighbours stop."""

    def test_hop_by_hop(self) -> None:
        """The known ones and those named in Connection go; the rest stays, repeated ones too."""
        came = Headers(
            {
                b"Connection": [b"close, X-One", b"x-two"],
                b"X-One": [b"1"],
                b"X-Two": [b"2"],
                b"Keep-Alive": [b"timeout=5"],
                b"Transfer-Encoding": [b"chunked"],
                b"Upgrade": [b"h2c"],
                b"Proxy-Authorization": [b"Basic x"],
                b"TE": [b"trailers"],
                b"Trailer": [b"X"],
                b"Set-Cookie": [b"a=1", b"b=2"],
                b"X-Three": [b"3"],
            }
        )
        passed = [(name.lower(), value) for name, value in AnswerHeaders(pairs_of(came)).passing]
        expected = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-three", b"3")]
        self.assertEqual(sorted(passed), expected)

    def test_host_is_kept(self) -> None:
        """Nobody can have the Host taken out by naming it in Connection."""
        passed = AnswerHeaders([(b"Connection", b"host"), (b"Host", b"h")]).passing
        self.assertEqual(passed, [(b"Host", b"h")])


class RequestIdTests(SynchronousTestCase):
    """Whose id a request bears."""

    def test_good(self) -> None:
        """A good one is kept."""
        for given in (b"a", b"A-Z_0.9", b"x" * 128):
            self.assertEqual(RequestHeaders([(b"X-Request-Id", given)]).request_id(), given)

    def test_bad(self) -> None:
        """One that is missing, given twice, too long or with other signs is replaced."""
        for given in ([], [b"a", b"b"], [b"x" * 129], [b""], [b"a b"], [b"a\xff"], [b"a/b"]):
            headers = RequestHeaders([(b"X-Request-Id", each) for each in given])
            made = headers.request_id()
            self.assertRegex(made, rb"^[0-9a-f]{32}$")
            self.assertNotEqual(headers.request_id(), made)


class ForwardedTests(SynchronousTestCase):
    """What llama-server is told of the client."""

    def sent(self, came: dict[bytes, list[bytes]], **more: object) -> dict[bytes, list[bytes]]:
        """The headers that go out for some that came."""
        how: Any = {
            "client": b"192.0.2.1",
            "scheme": b"http",
            "own": Address("10.0.0.1", 8088),
            "rewrite": False,
        }
        sent: dict[bytes, list[bytes]] = {}
        headers = RequestHeaders(pairs_of(Headers(came)))
        for name, value in headers.forwarded(**{**how, **more}).pairs:
            sent.setdefault(name.lower(), []).append(value)
        return sent

    def test_added(self) -> None:
        """Client, scheme and host are told."""
        self.assertEqual(
            self.sent({b"Host": [b"h:1"]}),
            {
                b"host": [b"h:1"],
                b"x-forwarded-for": [b"192.0.2.1"],
                b"x-forwarded-proto": [b"http"],
                b"x-forwarded-host": [b"h:1"],
            },
        )

    def test_behind_another_proxy(self) -> None:
        """What a proxy in front said is kept, and the way gets one more step."""
        came = {
            b"Host": [b"h"],
            b"X-Forwarded-For": [b"198.51.100.1"],
            b"X-Forwarded-Proto": [b"https"],
            b"X-Forwarded-Host": [b"public"],
        }
        sent = self.sent(came, rewrite=True)
        self.assertEqual(sent[b"x-forwarded-for"], [b"198.51.100.1, 192.0.2.1"])
        self.assertEqual(sent[b"x-forwarded-proto"], [b"https"])
        self.assertEqual(sent[b"x-forwarded-host"], [b"public"])
        self.assertEqual(sent[b"host"], [b"10.0.0.1:8088"])

    def test_dropped(self) -> None:
        """What was answered here or belongs to one server does not go out."""
        came = {
            b"Host": [b"h"],
            b"Expect": [b"100-continue"],
            b"Content-Length": [b"3"],
            b"X-Conversation-Id": [b"c"],
        }
        self.assertFalse(
            {b"expect", b"content-length", b"x-conversation-id"} & set(self.sent(came))
        )
