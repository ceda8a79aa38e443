"""A metadata service as EC2's, on the loopback: real sockets, and every fault as a setting."""

from __future__ import annotations

import secrets
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.web.server import NOT_DONE_YET

from tests.listening import ListeningResource

__all__ = ["Metadata"]

reactor = cast(Any, _reactor)

_MAC = "02:29:96:8f:6a:2d"


class Metadata(ListeningResource):
    """What EC2's User Guide says of the service.

    :ivar values: what it tells, by key; what has keys below it lists them.
    :ivar token_required: nothing is told without a token, as by default.
    :ivar off: it refuses everything.
    :ivar has_version_2: it gives tokens.
    :ivar hops: how many hops an answer to a PUT may go; who asks is `distance` away.
    :ivar delay: seconds before each answer.
    :ivar failures: how many requests are answered 503 from now on.
    :ivar redirect: where every request is sent on to.
    :ivar headers: those of every request.
    :ivar asked: every request, as (method, path).
    :ivar tokens: the tokens it gave, each with the time of its end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {
            "local-ipv4": "127.0.0.1",
            "local-hostname": "localhost",
            "public-ipv4": "127.0.0.2",
            "public-hostname": "",
            "security-groups": "web\ninternal",
            f"network/interfaces/macs/{_MAC}/local-ipv4s": "127.0.0.3",
            "iam/security-credentials/role": '{"SecretAccessKey" : "s3cret/key"}',
        }
        self.token_required = True
        self.off = False
        self.has_version_2 = True
        self.hops, self.distance = 1, 1
        self.delay = 0.0
        self.failures = 0
        self.redirect: bytes | None = None
        self.asked: list[tuple[str, str]] = []
        self.headers: list[Any] = []
        self.tokens: dict[str, float] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What leads to it."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self.port}"}

    def times(self, method: str) -> int:
        """How often it was asked in this way."""
        return [asked for asked, _ in self.asked].count(method)

    def render(self, request: Any) -> int:
        self.asked.append((request.method.decode(), request.path.decode()))
        self.headers.append(request.requestHeaders)
        status, body = self._answer(request)
        if status:
            request.setResponseCode(status)
            request.addCookie("seen", "yes")
            answering = deferLater(reactor, self.delay, self._send, request, body.encode())
            answering.addErrback(lambda failure: failure.trap(CancelledError))
            request.notifyFinish().addErrback(lambda _: answering.cancel())
        return NOT_DONE_YET

    def _send(self, request: Any, body: bytes) -> None:
        request.write(body)
        request.finish()

    def _answer(self, request: Any) -> tuple[int, str]:
        """The status, and the body; status 0: the answer is lost on its way."""
        if self.failures:
            self.failures -= 1
            return 503, "busy"
        if self.off:
            return 403, "off"
        if self.redirect is not None:
            request.setHeader("location", self.redirect)
            return 302, ""
        if request.path == b"/latest/api/token":
            return self._give_token(request)
        if request.method != b"GET":
            return 405, ""
        token = request.getHeader("x-aws-ec2-metadata-token")
        shown = token is not None or self.token_required
        if shown and self.tokens.get(token or "", 0.0) <= reactor.seconds():
            return 401, "unauthorized"
        return self._tell(request.path.decode().removeprefix("/latest/meta-data/"))

    def _give_token(self, request: Any) -> tuple[int, str]:
        if not self.has_version_2:
            return 404, "not found"
        if request.method != b"PUT":
            return 405, ""
        if request.requestHeaders.hasHeader("x-forwarded-for"):
            return 403, "forwarded"
        ttl = request.getHeader("x-aws-ec2-metadata-token-ttl-seconds") or ""
        if not ttl.isdecimal() or not 1 <= int(ttl) <= 21600:
            return 400, "bad"
        if self.distance > self.hops:
            return 0, ""
        token = secrets.token_urlsafe(40) + "=="
        self.tokens[token] = reactor.seconds() + int(ttl)
        request.setHeader("x-aws-ec2-metadata-token-ttl-seconds", ttl)
        return 200, token

    def _tell(self, key: str) -> tuple[int, str]:
        if key in self.values:
            return 200, self.values[key]
        below = {name[len(key) :] for name in self.values if name.startswith(key) and key}
        names = {n.partition("/")[0] + ("/" if "/" in n else "") for n in below if key[-1] == "/"}
        if key and key[-1] != "/":
            names = {n[1:].partition("/")[0] + "/" for n in below if n.startswith("/")}
        return (200, "\n".join(sorted(names))) if names else (404, "not found")
