"""The services as processes: under `paddler` and under twistd, from their start to their end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import TypeVar

from twisted.trial.unittest import SynchronousTestCase

from paddler.llamaserver import free_port, free_ports
from tests.commands import environment, python

__all__ = ["DaemonTests", "ForegroundTests", "TakenPortTests"]

_T = TypeVar("_T")

_TWISTD = ("-c", "import sys; from twisted.scripts.twistd import run; run()")


@contextmanager
def _process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process and what it prints; it is killed at the end and after 30 seconds."""
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, *words],
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        stack.callback(process.kill)
        alarm = Timer(30, process.kill)
        alarm.start()
        stack.callback(alarm.cancel)
        yield process


def _read_until(process: subprocess.Popen[str], says: str) -> str:
    """What it prints, up to the line with `says` in it."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if says in line:
            return text
    raise AssertionError(f"it ended without {says!r}:\n{text}")


def _soon(ask: Callable[[], _T], fits: Callable[[_T], bool]) -> _T:
    """The first answer that fits, else the one after ten seconds."""
    deadline = time.monotonic() + 10
    while not fits(answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Have it end; its exit code and what else it printed."""
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    rest = process.stdout.read()
    return process.wait(), rest


class ForegroundTests(SynchronousTestCase):
    """`paddler balancer` and `paddler agent`, with the options as Paddler 0.x documented them."""

    def test_balancer(self) -> None:
        """The balancer says where it listens, and ends clean."""
        management, public = free_ports(2)
        words = (
            f"balancer --management-host 127.0.0.1 --management-port {management} "
            f"--reverseproxy-host 127.0.0.1 --reverseproxy-port {public} "
            "--management-dashboard-enable=true --statsd-enable=true --statsd-host=127.0.0.1 "
            "--statsd-port=8125 --statsd-scheme=http"
        )
        with _process("-W", "error", "-m", "paddler", *words.split()) as process:
            started = _read_until(process, f"127.0.0.1:{management}")
            self.assertIn(f"http://127.0.0.1:{public}", started)
            code, rest = _end(process)
        self.assertEqual(code, 0, started + rest)
        self.assertNotIn("Traceback", started + rest)

    def test_agent(self) -> None:
        """An agent whose llama-server and balancer are both away says so and goes on."""
        llama, management = free_ports(2)
        words = (
            f"agent --external-llamacpp-host 127.0.0.1 --external-llamacpp-port {llama} "
            f"--local-llamacpp-host 127.0.0.1 --local-llamacpp-port {llama} "
            f"--management-host 127.0.0.1 --management-port {management}"
        )
        with _process("-W", "error", "-m", "paddler", *words.split()) as process:
            started = _read_until(process, "watches the llama-server")
            started += _read_until(process, f"127.0.0.1:{management}")
            self.assertIsNone(process.poll())
            code, rest = _end(process)
        self.assertEqual(code, 0, started + rest)
        self.assertNotIn("Traceback", started + rest)


class TakenPortTests(SynchronousTestCase):
    """A port that something else listens on."""

    def setUp(self) -> None:
        self.taken = socket.socket()
        self.addCleanup(self.taken.close)
        self.taken.bind(("127.0.0.1", 0))
        self.taken.listen()
        port = self.taken.getsockname()[1]
        self.words = [
            f"--management-port={free_port()}",
            f"--reverseproxy-port={port}",
        ]
        self.says = f"can't listen on .*{port}.*: Address already in use"

    def test_foreground(self) -> None:
        """`paddler balancer` says it in one line."""
        ended = python("-m", "paddler", "balancer", *self.words)
        self.assertEqual(ended.code, 1)
        self.assertRegex(ended.err, re.compile(rf"\A[^\n]*{self.says}\n\Z"))
        self.assertNotIn("Traceback", ended.out)

    def test_unix_socket(self) -> None:
        """One that another process has locked is named as it was given."""
        socket = Path(self.mktemp()).absolute()
        Path(f"{socket}.lock").symlink_to(str(os.getpid()))
        options = [self.words[0], f"--reverseproxy-endpoint=unix:{socket}"]
        ended = python("-m", "paddler", "balancer", *options)
        line = f"--reverseproxy-*: can't listen on unix:{socket}: Cannot acquire lock\n"
        self.assertEqual((ended.code, ended.err), (1, line))

    def test_twistd(self) -> None:
        """twistd in the foreground says it in one line of its log."""
        ended = python(*_TWISTD, "-n", "--pidfile=", "paddler-balancer", *self.words)
        self.assertEqual((ended.code, ended.err), (1, ""))
        self.assertRegex(ended.out.splitlines()[-1], self.says)
        self.assertNotIn("Traceback", ended.out)

    def test_daemon(self) -> None:
        """A daemon tells the terminal and its log, without a traceback, and is gone."""
        folder = Path(self.mktemp())
        folder.mkdir()
        files = [f"--pidfile={folder / 'pid'}", f"--logfile={folder / 'log'}"]
        ended = python(*_TWISTD, *files, "paddler-balancer", *self.words, seconds=20)
        log = _soon(
            lambda: (folder / "log").read_text(), lambda text: "can't listen" in text
        )  # it may still be writing
        self.assertEqual(ended.code, 1)
        self.assertIn("can't listen on", ended.out + ended.err)
        self.assertRegex(log, self.says)
        self.assertNotIn("Traceback", ended.out + ended.err + log)
        self.assertFalse((folder / "pid").exists())


class DaemonTests(SynchronousTestCase):
    """twistd, as an operator uses it."""

    def test_daemon(self) -> None:
        """The balancer runs as a daemon until SIGTERM; its log has no traceback."""
        folder = Path(self.mktemp())
        folder.mkdir()
        management, public = free_ports(2)
        ended = python(
            *_TWISTD,
            f"--pidfile={folder / 'pid'}",
            f"--logfile={folder / 'log'}",
            "paddler-balancer",
            f"--management-port={management}",
            f"--reverseproxy-port={public}",
        )
        self.assertEqual((ended.code, ended.err), (0, ""))
        pid = int((folder / "pid").read_text())
        watch = os.pidfd_open(pid)
        self.addCleanup(os.close, watch)
        try:
            with socket.create_connection(("127.0.0.1", public), timeout=10) as client:
                client.sendall(b"GET /health HTTP/1.0\r\nHost: here\r\n\r\n")
                self.assertIn(b'"status":"ok"', b"".join(iter(lambda: client.recv(4096), b"")))
        finally:
            os.kill(pid, signal.SIGTERM)
        gone = _soon(lambda: not (folder / "pid").exists(), bool)
        self.assertTrue(gone)
        self.assertNotIn("Traceback", (folder / "log").read_text())
