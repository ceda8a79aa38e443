"""What a benchmark stands on: servers and proxies as processes, each on its cores, all on the
loopback, gone when the stand is left.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import attrs

from benchmarks.machine import Cores, program
from paddler.children import tied_to_parent
from paddler.llamaserver import free_port
from paddler.values import Address, Report

__all__ = ["ANSWER", "Proxy", "Stand", "report"]

ROOT = Path(__file__).resolve().parent.parent
#: Seconds for a server to come up, and to end.
STARTING = 20.0
ENDING = 10.0
#: Files and connections that a process may need: two for each of a thousand streams, and more.
FILES = 8192

#: The model of all servers.
MODEL = "model.gguf"
#: What nginx answers: a short chat.
ANSWER = (
    '{"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant","content":'
    '"Paris, and it has been so for a long time."}}],"created":1795490105,"model":"model.gguf",'
    '"object":"chat.completion","usage":{"completion_tokens":11,"prompt_tokens":23},'
    '"timings":{"cache_n":950,"prompt_n":50,"prompt_ms":31.2,"prompt_per_second":737.2,'
    '"predicted_n":11,"predicted_ms":288.1,"predicted_per_second":38.2}}'
)
_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
}}
"""
# As an operator would write it: a queue in front of slots, connections to servers kept, and
# streams not held back (without http-no-delay an event waits for the next, up to 200 ms).
_HAPROXY = """
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    option http-no-delay
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout queue 60s
frontend clients
    bind 127.0.0.1:{port} backlog 2048
    default_backend servers
backend servers
    balance leastconn
    http-reuse always
    server one 127.0.0.1:{server} maxconn {slots}
"""
_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


@attrs.frozen
class Proxy:
    """A proxy that runs.

    :param port: where clients come.
    :param pid: its process.
    :param management: where agents report, if it has agents.
    """

    port: int
    pid: int
    management: int = 0


@attrs.define(eq=False)
class Stand:
    """Starts processes; as a context manager it ends them, the last one first."""

    cores: Cores
    _ending: ExitStack = attrs.field(factory=ExitStack, init=False)
    _folder: Path = attrs.field(init=False)

    def __enter__(self) -> Stand:
        self._folder = Path(self._ending.enter_context(tempfile.TemporaryDirectory()))
        has, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = resource.RLIM_INFINITY
        if has != unlimited and has < FILES:
            wanted = FILES if most == unlimited else min(FILES, most)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.close()

    def nginx(self) -> int:
        """A server that answers a short chat at once; its port."""
        port, folder = free_port(), self._folder / "nginx"
        folder.mkdir()
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=port, answer=ANSWER))
        words = [_installed("nginx"), "-p", str(folder), "-c", str(config), "-e", "stderr"]
        self._start(words, port, proxy=False)
        return port

    def token_server(self, every_ms: int) -> int:
        """A server that streams, see `benchmarks.token_server`; its port."""
        port = free_port()
        words = [sys.executable, "-m", "benchmarks.token_server", "--port", str(port)]
        self._start([*words, "--every-ms", str(every_ms)], port, proxy=False)
        return port

    def haproxy(self, server: int, slots: int) -> Proxy:
        """HAProxy on one thread, in front of the server on that port."""
        port = free_port()
        config = self._folder / f"haproxy-{port}.cfg"
        config.write_text(_HAPROXY.format(port=port, server=server, slots=slots))
        return Proxy(port, self._start([_installed("haproxy"), "-db", "-f", str(config)], port))

    def paddler(
        self, server: int | None, slots: int, *words: str, reactor: str = "uvloop"
    ) -> Proxy:
        """A balancer under twistd, in front of the server on that port.

        :param server: None: nothing is reported to it.
        :param words: more of its options.
        """
        public, management = free_port(), free_port()
        words = (
            *(sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", f"--reactor={reactor}"),
            *("paddler-balancer", "--shutdown-grace=1s", f"--reverseproxy-port={public}"),
            *(f"--management-port={management}", *words),
        )
        pid = self._start(list(words), public)
        if server is not None:
            report(management, server, slots)
        return Proxy(public, pid, management)

    def write(self, name: str, text: str) -> str:
        """Put a file into its folder; its path."""
        path = self._folder / name
        path.write_text(text)
        return str(path)

    def _start(self, words: list[str], port: int, *, proxy: bool = True) -> int:
        """Start a process and wait until it listens; its id."""
        output = self._folder / f"output-{port}"
        clean = {name: value for name, value in os.environ.items() if name[:8] != "PADDLER_"}
        with output.open("wb") as printed:
            child = subprocess.Popen(
                [*tied_to_parent(), *self.cores.words(proxy=proxy), *words],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env={**clean, "PYTHONPATH": str(ROOT)},
            )
        self._ending.callback(_end, child)
        give_up = time.monotonic() + STARTING
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                return child.pid
            except OSError:
                if child.poll() is not None or time.monotonic() > give_up:
                    sys.exit(f"{' '.join(words)}\ndid not start:\n{output.read_text()}")
            time.sleep(0.05)


def report(management: int, port: int, slots: int) -> None:
    """Tell a balancer of an idle server, as its agent would, for the next hour."""
    address = Address("127.0.0.1", port)
    # The model that is asked for: one that is not known waits for two seconds of others' reports.
    told = Report("bench", address, 3600.0, slots, 0, models=(MODEL,)).to_json()
    url = f"http://127.0.0.1:{management}/api/v1/agent_status_update/bench"
    urllib.request.urlopen(urllib.request.Request(url, told), timeout=5).close()


def _installed(name: str) -> str:
    path = program(name)
    if path is None:
        sys.exit(f"{name} is not installed")
    return path


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(ENDING)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
