"""A real Chromium for tests of the dashboard, driven by Selenium, which blocks.

Without one on the machine the tests are skipped; `.ci/run` fails on that. Where
PADDLER_TEST_RECORD names a file, each browser that started leaves a line in it.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest import SkipTest

__all__ = ["FAR_HOST", "NOTHING_TO_LOOK_AT", "Browser", "one_browser", "wait_for"]

T = TypeVar("T")

#: A name that the browser takes for this machine: to it a page there is not a local one.
FAR_HOST = "llm.example.internal"
NOTHING_TO_LOOK_AT = "no Chromium with its driver, or no selenium"

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    f"--host-resolver-rules=MAP {FAR_HOST} 127.0.0.1",
)


def wait_for(look: Callable[[], T], what: str, within: float = 10.0) -> T:
    """Look again and again until something true is seen.

    :raises AssertionError: it is not within so many seconds.
    """
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} was not seen within {within:g} s")
        time.sleep(0.03)


class Browser:
    """One Chromium with one window.

    :raises SkipTest: there is none here.
    """

    def __init__(self, width: int = 1440, height: int = 920, scale: float = 1.0) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        try:
            from selenium import webdriver
        except ImportError:
            raise SkipTest(NOTHING_TO_LOOK_AT) from None
        if chromium is None or driver is None:
            raise SkipTest(NOTHING_TO_LOOK_AT)
        self._folder = tempfile.mkdtemp(prefix="paddler-chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*_FLAGS, f"--user-data-dir={self._folder}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(executable_path=driver)
        self.driver: Any = webdriver.Chrome(options=options, service=service)
        self.resize(width, height, scale)
        record = os.environ.get("PADDLER_TEST_RECORD")
        if record:
            with open(record, "a", encoding="utf-8") as file:
                file.write(f"chromium {self.driver.capabilities['browserVersion']}\n")

    def close(self) -> None:
        """End it."""
        self.driver.quit()
        shutil.rmtree(self._folder, ignore_errors=True)

    def resize(self, width: int, height: int, scale: float = 1.0, touch: bool = False) -> None:
        """Show pages so large."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": touch}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def before_pages(self, script: str) -> Callable[[], object]:
        """Run this in each page before its own scripts, until what is returned is called."""
        cdp = self.driver.execute_cdp_cmd
        added = cdp("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        return lambda: cdp("Page.removeScriptToEvaluateOnNewDocument", added)

    def colours(self, scheme: str) -> None:
        """Have the system light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, url: str) -> None:
        """Go to a page."""
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        """Run this in the page; what it returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """What stands in the first element that fits; empty if none does or it is hidden."""
        return str(
            self.run(
                "const e = document.querySelector(arguments[0]);"
                "return e && e.checkVisibility() ? e.innerText : '';",
                selector,
            )
        )

    def texts(self, selector: str) -> list[str]:
        """What stands in each element that fits."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector
        )
        return found

    def one(self, selector: str) -> Any:
        """The first element that fits, to click or type at."""
        return self.driver.find_element("css selector", selector)

    def click(self, selector: str) -> bool:
        """Click at the first element that fits; False: something else is in front of it."""
        from selenium.common.exceptions import ElementClickInterceptedException

        try:
            self.one(selector).click()
        except ElementClickInterceptedException:
            return False  # as while a question is being laid out
        return True

    def problems(self) -> list[str]:
        """What the console complained of since it was last looked at."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def asked(self) -> set[str]:
        """The addresses that pages have asked for since it was last looked at."""
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(message["params"]["request"]["url"])
        return found

    def picture(self, path: Path) -> None:
        """Keep what is seen as a PNG."""
        self.driver.save_screenshot(str(path))


@cache
def one_browser() -> Browser:
    """The browser that all tests of a run share; it ends with the run.

    :raises SkipTest: there is none here.
    """
    browser = Browser()
    atexit.register(browser.close)
    return browser
