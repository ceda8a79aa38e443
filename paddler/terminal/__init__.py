"""The dashboard in a terminal: what the management API shows, drawn for an operator.

Everything but `app` (the one module that knows Textual), `client` and `web` is pure: data
in, lines of text out.
"""

from __future__ import annotations

__all__: list[str] = []
