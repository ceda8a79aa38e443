"""Pictures of the dashboard for the README, taken in a real Chromium.

    python -m tests.dashboard_pictures docs/dashboard

takes them all. The fleets are made up (`tests.dashboard_scenes`); the page is the real one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.browsing import FAR_HOST, Browser, wait_for
from tests.commands import ROOT, environment

__all__ = ["PICTURES", "Picture", "showing", "take"]


@attrs.frozen
class Picture:
    """One picture.

    :param scene: the fleet.
    :param dark: in dark colours.
    :param phone: on a narrow screen that is touched.
    """

    name: str
    scene: str
    width: int = 1440
    height: int = 920
    dark: bool = False
    phone: bool = False


PICTURES = (
    Picture("busy", "busy"),
    Picture("busy-dark", "busy", dark=True),
    Picture("trouble", "trouble", height=1290),
    Picture("trouble-dark", "trouble", height=1290, dark=True),
    Picture("thousand", "thousand", height=1350),
    Picture("empty", "empty", height=640),
    Picture("phone", "trouble", width=390, height=844, phone=True),
)


@contextmanager
def showing(scene: str, *words: str) -> Iterator[str]:
    """Serve a made-up fleet; the page's address."""
    command = [sys.executable, "-m", "tests.dashboard_scenes", scene, *words]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as served:
        assert served.stdout is not None and served.stdin is not None
        yield f"http://{FAR_HOST}:{int(served.stdout.readline())}/dashboard"
        served.stdin.close()


def take(browser: Browser, picture: Picture, folder: Path) -> Path:
    """Take a picture; the file that it is in."""
    with showing(picture.scene) as address:
        browser.colours("dark" if picture.dark else "light")
        scale = 2.0 if picture.phone else 1.0
        browser.resize(picture.width, picture.height, scale, picture.phone)
        browser.open(address)
        wait_for(lambda: browser.text("#live") == "Live" and browser.text("#foot"), "the fleet")
        # Charts come a frame later; the bar's segments grow for a quarter of a second.
        time.sleep(0.8)
        path = folder / f"{picture.name}.png"
        browser.picture(path)
        browser.open("about:blank")
    return path


def main(words: list[str]) -> None:
    """Take all pictures into a folder."""
    folder = Path(words[0])
    folder.mkdir(parents=True, exist_ok=True)
    browser = Browser()
    try:
        for picture in PICTURES:
            path = take(browser, picture, folder)
            print(f"{path}: {path.stat().st_size // 1000} kB")
    finally:
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
