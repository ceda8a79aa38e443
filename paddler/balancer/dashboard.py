"""The page at /dashboard until there is a dashboard: it says so, and where the numbers are."""

from __future__ import annotations

from twisted.web.http import Request

__all__ = ["send_dashboard"]

# The link is relative, so that it works behind a proxy that serves all this below a path.
_PAGE = b"""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Paddler</title>
<h1>Paddler</h1>
<p>The dashboard comes in a later version.</p>
<p>Until then, <a href="api/v1/agents">the agents and their slots</a> can be read as JSON.</p>
</html>
"""

_POLICY = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def send_dashboard(request: Request) -> None:
    """Answer with the page and finish."""
    request.setHeader(b"content-type", b"text/html; charset=utf-8")
    request.setHeader(b"content-length", b"%d" % len(_PAGE))
    request.setHeader(b"content-security-policy", _POLICY)
    request.setHeader(b"x-content-type-options", b"nosniff")
    request.setHeader(b"referrer-policy", b"no-referrer")
    request.write(_PAGE)
    request.finish()
