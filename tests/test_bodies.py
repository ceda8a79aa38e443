"""Where requests' bodies are kept: in memory, in files, or wherever there is room."""

from __future__ import annotations

import tempfile
from io import BytesIO

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.bodies import SMALL, content_file, no_folder_for_files
from tests.proxying import ProxyCase, post

__all__ = ["ContentTests", "NoFolderTests"]


class ContentTests(SynchronousTestCase):
    """`content_file`."""

    def in_memory(self, length: int | None) -> bool:
        """Whether a body of that length is in memory; it can be written and read, wherever."""
        with content_file(length) as file:
            file.write(b"body")
            file.seek(0)
            self.assertEqual(file.read(), b"body")
            return isinstance(file, BytesIO)

    def test_size(self) -> None:
        """Small ones are in memory; large ones, and those that may become so, in files."""
        lengths = (0, SMALL - 1, SMALL, None)
        self.assertEqual([self.in_memory(n) for n in lengths], [True, True, False, False])
        self.assertEqual(no_folder_for_files(), None)


class NoFolderTests(ProxyCase):
    """A process that may write nowhere, as in a read-only container."""

    def setUp(self) -> None:
        self.addCleanup(setattr, tempfile, "tempdir", tempfile.tempdir)
        tempfile.tempdir = "/nowhere"
        return super().setUp()

    async def test_large_body(self) -> None:
        """A large body is passed on all the same, whether its length is said before or not."""
        server = await self.server()
        body = bytes(range(256)) * 1000
        client = await self.client()
        client.send(post("/completion", body))
        await client.until(b"{}")
        client.received = b""
        client.send(
            b"POST /completion HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )
        await client.until(b"{}")
        self.assertEqual([call.body for call in server.calls], [body, body])
