"""What makes a request plain enough for the fast lane; twisted.web judges all others."""

from __future__ import annotations

import re
from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from paddler.balancer.fastlane.known import Known
from paddler.headers import RequestHeaders

__all__ = ["PlainHeads"]

#: A whole head, of which the parser says the rest: it is stricter than the parser about ends of
#: lines and folded ones, of which others make other things.
_WHOLE = re.compile(rb"[^\r\n]* HTTP/1\.1\r\n(?:[^\r\n\t ][^\r\n]*\r\n)*\r\n")
#: Bytes of a plain request's head, how many headers it has, and bytes of its body.
HEAD = 16 * 1024
HEADERS = 100
BODY = 1024 * 1024
_NOT_PLAIN = frozenset((b"transfer-encoding", b"expect", b"upgrade"))


class PlainHeads:
    """Reads the heads of one connection's requests, one after another.

    :param takes: whether there is a server for a request with this target and these headers.
    """

    def __init__(self, takes: Callable[[bytes, RequestHeaders], bool]) -> None:
        self._takes = takes
        self._parser = HttpRequestParser(self)
        self._pairs: list[tuple[bytes, bytes]] = []
        self._complete = False
        #: The last that the parser has read.
        self._known: Known | None = None
        #: The parser reads the newest request.
        self.parses = False
        #: Of the newest: its target, its headers, and whether the connection is kept behind it.
        self.uri = b""
        self.headers = RequestHeaders()
        self.keeps = False

    def read(self, data: bytes) -> tuple[int, int] | None:
        """Read the head that `data` begins with.

        :returns: where it ends, and the bytes of the body behind it; None: it is not plain, or
            not whole.
        """
        if self._known is not None:
            known = self._known.find(data)
            if known is not None and known[1] <= BODY:
                self.parses = False
                return known
        found = _WHOLE.match(data, 0, HEAD)
        if found is None:
            return None
        self.parses, self._known = True, None
        self.uri, self._pairs, self._complete = b"", [], False
        try:
            self._parser.feed_data(found[0])
        except (HttpParserError, HttpParserUpgrade):
            return None
        size = self._size() if self._complete else None
        if size is None:
            return None
        self._known = Known.of(found[0])
        return found.end(), size

    def pass_body(self, data: bytes) -> None:
        """Some of the body behind it, if it `parses`; nothing is made of it here."""
        self._parser.feed_data(data)

    def _size(self) -> int | None:
        if self._parser.get_method() != b"POST" or len(self._pairs) > HEADERS:
            return None
        self.headers = headers = RequestHeaders(self._pairs)
        if not self._takes(self.uri, headers):
            return None
        others = headers.others
        if not _NOT_PLAIN.isdisjoint(others) or len(others.get(b"host", ())) != 1:
            return None
        length = others.get(b"content-length", ())
        if len(length) != 1 or not length[0].isdigit() or len(length[0]) > 9:
            return None
        size = int(length[0])
        return size if size <= BODY else None

    # From the parser.

    def on_url(self, uri: bytes) -> None:
        """Some of the target."""
        self.uri += uri

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._complete = True
        # Behind a request without a body the parser would have forgotten it.
        self.keeps = self._parser.should_keep_alive()
