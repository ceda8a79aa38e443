"""The dashboard's files, and how they are served: a list of them, and nothing else on the disk.

They are read once, at the start, and hold no data; what they show comes from the API. It is
not known here who may ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files

import attrs
from twisted.web.http import CACHED, Request

__all__ = ["FILES", "POLICY", "File", "dashboard_files"]

_HTML = b"text/html; charset=utf-8"
_CSS = b"text/css; charset=utf-8"
_JS = b"text/javascript; charset=utf-8"
_SVG = b"image/svg+xml"
_TEXT = b"text/plain; charset=utf-8"

#: What is served, below `static/`, and as what.
FILES: Mapping[str, bytes] = {
    "index.html": _HTML,
    "icon.svg": _SVG,
    "base.css": _CSS,
    "page.css": _CSS,
    "agents.css": _CSS,
    "narrow.css": _CSS,
    "main.js": _JS,
    "agents.js": _JS,
    "api.js": _JS,
    "attention.js": _JS,
    "cells.js": _JS,
    "charts.js": _JS,
    "dom.js": _JS,
    "drain.js": _JS,
    "empty.js": _JS,
    "figures.js": _JS,
    "fleet.js": _JS,
    "history.js": _JS,
    "link.js": _JS,
    "map.js": _JS,
    "renew.js": _JS,
    "rows.js": _JS,
    "scene.js": _JS,
    "strip.js": _JS,
    "theme.js": _JS,
    "tiles.js": _JS,
    "token.js": _JS,
    "verdict.js": _JS,
    "why.js": _JS,
    "words.js": _JS,
    "vendor/uPlot.iife.min.js": _JS,
    "vendor/uPlot.min.css": _CSS,
    "vendor/uPlot.LICENSE.txt": _TEXT,
}

#: What a browser lets the page do: load what is served here, ask here, and nothing else.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@attrs.frozen
class File:
    """One file.

    :param content_type: its media type.
    :param etag: changes when the file does.
    """

    content_type: bytes
    body: bytes = attrs.field(repr=False)
    etag: bytes

    def send(self, request: Request) -> None:
        """Answer with it and finish; a browser that has it already is told so."""
        request.setHeader(b"content-security-policy", POLICY)
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"referrer-policy", b"no-referrer")
        request.setHeader(b"cache-control", b"no-cache")
        request.setHeader(b"content-type", self.content_type)
        if request.setETag(self.etag) is not CACHED:
            request.setHeader(b"content-length", b"%d" % len(self.body))
            request.write(self.body)
        request.finish()


def dashboard_files() -> dict[tuple[bytes, ...], File]:
    """The files by their paths: the page at `dashboard`, all others below it."""
    folder = files(__package__) / "static"
    found: dict[tuple[bytes, ...], File] = {}
    for name, content_type in FILES.items():
        body = folder.joinpath(*name.split("/")).read_bytes()
        etag = b'"%s"' % sha256(body).hexdigest()[:32].encode()
        path = () if name == "index.html" else name.encode().split(b"/")
        found[(b"dashboard", *path)] = File(content_type, body, etag)
    return found
