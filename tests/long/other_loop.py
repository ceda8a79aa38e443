"""The fast lane on the loop that comes with Python, where uvloop is not installed."""

from __future__ import annotations

from tests.test_fastlane import LaneTests

__all__ = ["AsyncioTests"]


class AsyncioTests(LaneTests):
    """The proxy's tests, all of them."""

    def test_asyncio(self) -> None:
        """On asyncio's own loop."""
        self.run_on("asyncio")
