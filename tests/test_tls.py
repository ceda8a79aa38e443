"""TLS without a web server in front, on real sockets."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    connectProtocol,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.web import http

from tests.certificates import write_certificate
from tests.proxying import Client, ProxyCase, post, reactor

__all__ = ["TlsTests"]


class TlsTests(ProxyCase):
    """The public side at an endpoint that begins with `ssl:`."""

    async def test_http_1(self) -> None:
        """A client that would speak HTTP/2 is told of HTTP/1.1, also where Twisted could both."""
        self.patch(http, "H2_ENABLED", True)
        await self.server()
        folder = Path(self.mktemp())
        folder.mkdir()
        certificate, key = write_certificate(folder)
        where = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
        listening = await serverFromString(reactor, where).listen(self.site)
        self.addCleanup(listening.stopListening)
        trusted = Certificate.loadPEM(certificate.read_bytes())
        options = optionsForClientTLS(
            "localhost", trustRoot=trusted, acceptableProtocols=[b"h2", b"http/1.1"]
        )
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port)
        client = await connectProtocol(wrapClientTLS(options, endpoint), Client())
        client.send(post("/completion", {"prompt": "a"}, "Connection: close"))
        await client.closed
        self.assertEqual(client.transport.negotiatedProtocol, b"http/1.1")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 "), client.received)
        self.assertTrue(client.received.endswith(b"{}"), client.received)
        # How Twisted gives pyOpenSSL a certificate and a key is its own affair.
        for warning in self.flushWarnings():
            self.assertIn("Passing pyOpenSSL", warning["message"])
