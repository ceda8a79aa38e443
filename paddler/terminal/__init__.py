"""The dashboard in a terminal: what the management API shows, drawn for an operator.

`app` alone knows Textual, `client` and `events` the network, `running` the process. All else is
pure: data in, lines of text out.
"""

from __future__ import annotations

__all__: list[str] = []
