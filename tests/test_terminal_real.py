"""`paddler dashboard` on a real terminal, in front of a real balancer with scripted agents."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.children import tied_to_parent
from paddler.llamaserver import free_port
from paddler.values import Address, Report
from tests.commands import environment
from tests.terminals import Terminal, wait_until

__all__ = ["RealTerminalTests"]

_TOKEN = "a-token-for-tests"


class RealTerminalTests(SynchronousTestCase):
    """The dashboard as an operator has it."""

    timeout = 120

    def setUp(self) -> None:
        self.management, self.public = free_port(), free_port()
        self.balancer: subprocess.Popen[bytes] | None = None
        self.token = ""

    def start_balancer(self, *words: str) -> None:
        """Start a balancer and wait until it answers."""
        ports = [f"--management-port={self.management}", f"--reverseproxy-port={self.public}"]
        command = [sys.executable, "-m", "paddler", "balancer", *ports, *words]
        self.balancer = subprocess.Popen(
            [*tied_to_parent(), *command],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.stop_balancer, self.balancer)

        def answers() -> bool:
            try:
                return bool(self.ask("GET", "/health"))
            except OSError:  # also a connection that ends without an answer
                return False

        wait_until(answers, lambda: "no answer")

    def stop_balancer(self, balancer: subprocess.Popen[bytes]) -> None:
        """Kill it, as a crash would."""
        balancer.kill()
        balancer.wait(timeout=20)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Ask the management server."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management}{path}", data=body, method=method
        )
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def report(self, name: str, **fields: Any) -> None:
        """Report as an agent does, of whom the next report is expected in a minute."""
        address = Address("127.0.0.1", 20000 + int(name[-2:]))
        fields = {"slots_total": 4, "slots_busy": 0, "models": ("tiny",), **fields}
        report = Report(name, address, fields.pop("interval_s", 60.0), **fields)
        self.ask("POST", f"/api/v1/agent_status_update/{name}", report.to_json())

    def open(self, width: int, height: int, *words: str) -> Terminal:
        """Open the dashboard."""
        port = f"--management-port={self.management}"
        terminal = Terminal(width, height, "dashboard", port, *words)
        self.addCleanup(terminal.close)
        return terminal

    def ask_for_an_answer(self) -> None:
        """Send a chat that has to wait; it is given up when the test ends."""
        body = b'{"messages":[]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        waiting = socket.create_connection(("127.0.0.1", self.public), timeout=10)
        self.addCleanup(waiting.close)
        waiting.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)

    def test_watching(self) -> None:
        """From nothing to a fleet in trouble, a request that waits, and a connection lost."""
        terminal = self.open(80, 24)
        terminal.wait_for(
            "No connection, trying again in", "it refuses connections.", "curl http://127.0"
        )
        self.start_balancer()
        terminal.wait_for("No agents yet.", "live", "Listening for agents.", f":{self.public}/v1")
        self.ask_for_an_answer()
        terminal.wait_for("No agents yet. 1 request waiting, the oldest for")
        self.report("gpu-01", slots_busy=4)
        terminal.wait_for("Full: 4 of 4 slots busy. 1 request waiting", "wait 1/1000")
        self.report("gpu-02", slots_total=0, slots_busy=None, issues=("unauthorized",))
        terminal.wait_for("1 agent needs attention. 1 request waiting")
        self.report("gpu-03", slots_busy=None, interval_s=0.05)
        terminal.wait_for("2 agents need attention", "Silent", "Key refused")
        lines = terminal.lines()
        self.assertEqual(len(lines), 24)
        self.assertTrue(lines[0].startswith(f"paddler  127.0.0.1:{self.management}"))
        self.assertIn("▒ 4 foreign", lines[2])
        self.assertEqual(len(lines[3]), 80)
        self.assertIn("wants a key   --local-llamacpp-api-key-file FILE", terminal.text())
        row = next(line for line in lines if "gpu-01  " in line and "Full" in line)
        self.assertEqual(row[12:66].split(), ["Full", "4/4", "▒▒▒▒", "tiny"])
        self.assertTrue(any(line.startswith(">✕ gpu-02") for line in lines))

        assert self.balancer is not None
        self.stop_balancer(self.balancer)
        terminal.wait_for("Connection lost", "ago, trying again in", "not connected", "gpu-01")
        self.start_balancer()
        terminal.wait_for("No agents yet.", "live")
        terminal.press("q")
        terminal.wait_for("ended with 0")

    def test_steering(self) -> None:
        """Keys choose, filter, copy, drain and resume; it can be resized; Ctrl-C ends it."""
        self.start_balancer()
        for name in ("gpu-01", "gpu-02"):
            self.report(name)
        self.report("gpu-03", slots_total=0, issues=("bad_json",))
        terminal = self.open(80, 24)
        terminal.wait_for("1 agent needs attention.", ">✕ gpu-03", "Not llama-server?")
        terminal.press("c")
        terminal.wait_for("Copied, if this terminal lets it: curl -s http://127.0.0.1:20003/slots")
        wait_until(
            lambda: "curl -s http://127.0.0.1:20003/slots" in terminal.do("show-buffer"),
            terminal.text,
        )
        terminal.press("Enter")
        terminal.wait_for("Something else answers at that port.", "enter closes")
        terminal.press("Enter")
        terminal.press("Down")
        terminal.wait_for(">✓ gpu-01")
        terminal.press("d")
        terminal.wait_for("Drain gpu-01? Nothing runs on it, 4 of 8 slots stay. y/N")
        terminal.type("n")
        terminal.wait_for("Not drained.")
        self.assertFalse(any(a["draining"] for a in self.ask("GET", "/api/v1/agents")["agents"]))
        terminal.press("d")
        terminal.wait_for("Drain gpu-01?")
        terminal.type("y")
        terminal.wait_for("No new request goes to gpu-01", "Drained")
        self.assertEqual(self.draining(), ["gpu-01"])
        terminal.press("r")
        terminal.wait_for("Requests go to gpu-01 again.", ">✓ gpu-01")
        self.assertEqual(self.draining(), [])
        terminal.type("/")
        terminal.wait_for("enter keeps it")
        terminal.type("02")
        terminal.press("Enter")
        terminal.wait_for('agents: 1 of 3 with "02"')
        terminal.press("Escape")
        terminal.wait_for("agents: 3 ")
        terminal.do("resize-window", "-x", "40", "-y", "10")
        wait_until(
            lambda: len(terminal.lines()) == 10 and "REPORT" not in terminal.text(), terminal.text
        )
        terminal.wait_for(">✓ gpu-02", "1 agent needs attention.")
        terminal.do("resize-window", "-x", "160", "-y", "50")
        terminal.wait_for("First byte p95", "15 min ago", "127.0.0.1:20002", "IN FLIGHT")
        terminal.press("C-c")
        terminal.wait_for("ended with 0")

    def draining(self) -> list[str]:
        """The names of the agents that are drained."""
        agents = self.ask("GET", "/api/v1/agents")["agents"]
        return [agent["agent_name"] for agent in agents if agent["draining"]]

    def test_token(self) -> None:
        """A balancer with a token says so, and opens to who has it; with ASCII all is plain."""
        descriptor, path = tempfile.mkstemp()
        self.addCleanup(os.unlink, path)
        os.write(descriptor, f"{_TOKEN}\n".encode())
        os.close(descriptor)
        self.token = _TOKEN
        self.start_balancer(f"--management-token-file={path}")
        without = self.open(80, 24)
        without.wait_for("The balancer wants a token: give it with --management-token-file FILE.")
        self.report("gpu-01", slots_busy=2)
        terminal = self.open(100, 24, f"--management-token-file={path}", "--ascii")
        terminal.wait_for("2 of 4 slots busy. Nobody is waiting.", "xx..", "127.0.0.1:20001")
        self.assertTrue(terminal.text().isascii(), terminal.text())
        self.assertNotIn(_TOKEN, terminal.text())
