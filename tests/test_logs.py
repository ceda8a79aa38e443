"""Log lines as JSON, and one for each request."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from threading import Timer
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.access import AccessLog
from paddler.balancer.accounts import Finished
from paddler.llamaserver import free_ports
from paddler.logs import json_line
from tests.commands import environment

_TWISTD = ("-c", "import sys; from twisted.scripts.twistd import run; run()", "-n")


def _event(**fields: Any) -> dict[str, Any]:
    return {
        "log_time": 1700000000.5,
        "log_level": LogLevel.warn,
        "log_namespace": "paddler.x",
        "log_format": "{agent} is {state}",
        **fields,
    }


class JsonLineTests(SynchronousTestCase):
    """One event, one object, one line."""

    def test_fields(self) -> None:
        """Time, level and text, and what belongs to the event."""
        line = json_line(_event(agent="a\nb", state="ready", count=3, none=None, odd=Path("/p")))
        self.assertEqual(line.count("\n"), 1)
        self.assertEqual(
            json.loads(line),
            {
                "time": "2023-11-14T22:13:20.500+00:00",
                "level": "warn",
                "event": "a\nb is ready",
                "source": "paddler.x",
                "agent": "a\nb",
                "state": "ready",
                "count": 3,
                "none": None,
                "odd": "/p",
            },
        )

    def test_failure(self) -> None:
        """A failure brings its traceback along, on the same line."""
        line = json_line(_event(agent="a", state="b", log_failure=Failure(ValueError("why"))))
        self.assertEqual(line.count("\n"), 1)
        self.assertIn("ValueError: why", json.loads(line)["traceback"])

    def test_text_that_is_no_text(self) -> None:
        """What is no text, half a surrogate pair or bytes, is still a line that all can read."""
        line = json_line(_event(agent="a", state="\udcff", raw=b"b\xff", good=b"g\xc3\xa9"))
        told = json.loads(line)
        self.assertEqual((told["agent"], told["state"], told["good"]), ("a", "\\udcff", "g\xe9"))
        self.assertEqual(told["event"], "a is \\udcff")
        self.assertIn("b", told["raw"])
        self.assertNotIn("\\udc", line.replace("\\\\", ""))

    def test_numbers_that_are_none(self) -> None:
        """What JSON has no number for is told in words."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        line = json_line(_event(agent=math.nan, state=-math.inf, size=2.5))
        told = json.loads(line, parse_constant=refuse)
        self.assertEqual((told["agent"], told["state"], told["size"]), ("nan", "-inf", 2.5))

    def test_broken(self) -> None:
        """Something that can't even be shown costs no line."""

        class Broken:
            def __str__(self) -> str:
                raise RuntimeError("no words")

            __repr__ = __str__

        told = json.loads(json_line(_event(agent=Broken(), state="ready")))
        self.assertIn("Broken", told["agent"])
        self.assertEqual(told["state"], "ready")


class AccessLogTests(SynchronousTestCase):
    """What is said of a request."""

    def told(self, **changes: Any) -> dict[str, Any]:
        """The line for a request, as JSON."""
        usual: dict[str, Any] = {
            "request_id": "r1",
            "method": "POST",
            "path": "/completion",
            "code": 200,
            "agent": "gpu",
            "waited": 0.25,
            "first_byte": 0.5,
            "seconds": 1.0,
            "sent": 7,
            "tries": 1,
            "left": None,
            "cut": False,
        }
        events: list[dict[str, Any]] = []
        log = AccessLog(Logger(observer=events.append))
        log.finished(Finished(**{**usual, **changes}))
        (event,) = events
        line: dict[str, Any] = json.loads(json_line(event))
        return line

    def test_fields(self) -> None:
        """All that is known, by name and in words."""
        line = self.told()
        for name, value in {
            "request_id": "r1",
            "agent": "gpu",
            "status": 200,
            "wait": 0.25,
            "ttfb": 0.5,
            "duration": 1.0,
            "bytes": 7,
        }.items():
            self.assertEqual(line[name], value, name)
        self.assertIn("r1 POST /completion 200 gpu answered: wait 0.25 s", line["event"])

    def test_client_left(self) -> None:
        """Where the client was."""
        self.assertIn("client left while waiting", self.told(left="waiting", code=0)["event"])
        self.assertIn(" cut:", self.told(cut=True)["event"])

    def test_odd_path(self) -> None:
        """A path can neither end a line nor steer a terminal, nor fill the disk."""
        line = self.told(path="/a\x1b[31m\r\nb" + "c" * 9999)
        self.assertTrue(line["path"].startswith("/a?[31m??bccc"))
        self.assertEqual(len(line["path"]), 200)

    def test_odd_method(self) -> None:
        """Nor can a method."""
        self.assertEqual(self.told(method="G\x1b[2J" + "X" * 9999)["method"], "G?[2J" + "X" * 195)

    def test_keys_in_a_path(self) -> None:
        """What may hold a key is left out: a user and password, and whatever follows the path."""
        for path in (
            "http://user:pa55word@h:8086/completion",
            "http://pa55word@h/completion#pa55word",
            "/completion%3Fkey=pa55word",
            "/completion%3fkey=pa55word\n?x=y",
            "/completion?key=pa55word",
        ):
            line = self.told(path=path)
            self.assertEqual(line["path"], "/completion", path)
            self.assertNotIn("pa55word", json.dumps(line))


class ProcessTests(SynchronousTestCase):
    """Balancers that log as JSON."""

    def lines_of(self, *words: str, log: Path | None = None) -> list[dict[str, Any]]:
        """What a balancer logs of one request that finds no server."""
        management, public = free_ports(2)
        command = [
            sys.executable,
            *words,
            f"--management-port={management}",
            f"--reverseproxy-port={public}",
            "--request-buffer-size=0",
            "--log-format=json",
            "--access-log",
        ]
        process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        alarm = Timer(30, process.kill)
        alarm.start()
        try:
            url = f"http://127.0.0.1:{public}/completion?key=hidden"
            request = urllib.request.Request(url, b'{"prompt":"secret"}', {"X-Request-Id": "mine"})
            while True:
                try:
                    urllib.request.urlopen(request, timeout=10)
                except urllib.error.HTTPError as error:
                    self.assertEqual(error.code, 429)
                    error.close()
                    break
                except urllib.error.URLError:
                    self.assertIsNone(process.poll())
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate()
        finally:
            alarm.cancel()
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.assertEqual(process.returncode, 0)
        text = printed if log is None else log.read_text()
        self.assertNotIn("secret", text)
        self.assertNotIn("hidden", text)
        return [json.loads(line) for line in text.splitlines()]

    def assert_request(self, lines: list[dict[str, Any]]) -> None:
        """One of them is that request's."""
        (line,) = [line for line in lines if line["source"] == "paddler.access"]
        self.assertEqual((line["request_id"], line["status"]), ("mine", 429))

    def test_foreground(self) -> None:
        """Every line is an object, and one is the request's."""
        self.assert_request(self.lines_of("-m", "paddler", "balancer"))

    def test_twistd(self) -> None:
        """Likewise under twistd, to the standard output and to its log file."""
        pidfile = f"--pidfile={self.mktemp()}"
        self.assert_request(self.lines_of(*_TWISTD, pidfile, "paddler-balancer"))
        log = Path(self.mktemp()).absolute()
        file = f"--logfile={log}"
        self.assert_request(self.lines_of(*_TWISTD, pidfile, file, "paddler-balancer", log=log))
