"""A real terminal for tests, by tmux, which blocks.

Without tmux on the machine the tests are skipped; `.ci/run` fails on that. Where
PADDLER_TEST_RECORD names a file, each terminal leaves a line in it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

from tests.commands import environment

__all__ = ["NO_TERMINAL", "Terminal", "wait_until"]

NO_TERMINAL = "no tmux"


def wait_until(look: Callable[[], object], what: Callable[[], str], within: float = 15.0) -> None:
    """Look again and again until it is true.

    :param what: says what was seen instead.
    :raises AssertionError: it is not true within so many seconds.
    """
    deadline = time.monotonic() + within
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError(f"not seen within {within:g} s; instead:\n{what()}")
        time.sleep(0.05)


class Terminal:
    """`paddler WORDS` on a terminal of its own.

    :param before: what its shell does first, and what stands before the command there.
    :param after: what stands after it.
    :raises SkipTest: there is no tmux.
    """

    def __init__(
        self, width: int, height: int, *words: str, before: str = "", after: str = ""
    ) -> None:
        tmux = shutil.which("tmux")
        if tmux is None:
            raise SkipTest(NO_TERMINAL)
        self._folder = tempfile.mkdtemp(prefix="paddler-tmux-")
        # A server of its own, without the user's settings; it ends with its one session.
        self._tmux = [tmux, "-u", "-S", f"{self._folder}/socket", "-f", "/dev/null"]
        command = shlex.join([sys.executable, "-W", "error", "-m", "paddler", *words])
        # What is printed at its end stays on the screen until a key is pressed.
        command = f"{before} {command} {after}; echo ended with $?; read -r _"
        size = ["-x", str(width), "-y", str(height)]
        settings = ["set", "-s", "set-clipboard", "on", ";"]
        self.do(*settings, "new-session", "-d", *size, command)
        record = os.environ.get("PADDLER_TEST_RECORD")
        if record:
            with open(record, "a", encoding="utf-8") as file:
                file.write(f"tmux {width}x{height}\n")

    def do(self, *words: str) -> str:
        """Have tmux do something; what it prints."""
        more = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}
        done = subprocess.run(
            [*self._tmux, *words],
            env=environment(more),
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"tmux {words[0]}: {done.stderr}"
        return done.stdout

    def child(self) -> int:
        """The process id of the command."""
        shell = self.do("display-message", "-p", "#{pane_pid}").strip()
        (child,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(child)

    def is_sane(self) -> bool:
        """Whether it is as a shell wants it: no other screen, no mouse, and typing is seen."""
        flags = "#{alternate_on}#{mouse_any_flag}#{mouse_sgr_flag}#{cursor_flag}"
        tty = self.do("display-message", "-p", "#{pane_tty}").strip()
        words = subprocess.run(["stty", "-a", "-F", tty], capture_output=True, text=True).stdout
        wanted = {"icanon", "echo", "isig", "icrnl"}
        plain = wanted <= set(words.replace(";", " ").split())
        return plain and self.do("display-message", "-p", flags).strip() == "0001"

    def press(self, *keys: str) -> None:
        """Press keys, as tmux names them."""
        self.do("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type a text."""
        self.do("send-keys", "-l", text)

    def lines(self) -> list[str]:
        """What is on the screen."""
        return self.do("capture-pane", "-p").split("\n")[:-1]

    def text(self) -> str:
        """The same in one piece."""
        return "\n".join(self.lines())

    def wait_for(self, *texts: str) -> None:
        """Wait until all of these are on the screen."""
        wait_until(lambda: all(text in self.text() for text in texts), self.text)

    def close(self) -> None:
        """End it, and what runs in it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=20)
        shutil.rmtree(self._folder, ignore_errors=True)
