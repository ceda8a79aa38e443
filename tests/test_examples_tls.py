"""`examples/tls/`: real web servers in front of a balancer, and curl in front of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from twisted.internet.error import ConnectError
from twisted.trial.unittest import SkipTest

from paddler.llamaserver import free_port
from paddler.testing import Call
from tests.certificates import write_certificate
from tests.commands import ROOT
from tests.llamas import fetch, until
from tests.processes import WordsProcess
from tests.proxying import ProxyCase

__all__ = ["HaproxyTests", "NginxTests"]

_TLS = ROOT / "examples" / "tls"
_LARGE = 3 * 2**20


def _found(program: str) -> str:
    """Where a program is.

    :raises SkipTest: it is not there.
    """
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise SkipTest(f"no {program}")
    return found


class _InFront:
    """A web server in front of the balancer, on `front`, which speaks TLS."""

    timeout = 60

    async def setUp(self) -> None:
        # First of all, so that it goes last.
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.curl = _found("curl")
        self.certificate, self.key = write_certificate(self.folder)
        await super().setUp()
        self.front = free_port()
        command = self.prepare()
        self.server_in_front = WordsProcess(*command, folder=self.folder)
        self.addCleanup(self.server_in_front.kill)
        self.server_in_front.start()

        async def listens() -> bool:
            self.assertFalse(self.server_in_front.ended().called, self.server_in_front.output)
            try:
                await fetch(self.front, "/")
            except ConnectError:
                return False
            return True

        await until(listens, within=20, what="its start")

    def prepare(self) -> list[str]:
        """Write its configuration and have it checked; the command that runs it."""
        raise NotImplementedError

    def put(self, text: str, changes: dict[str, str]) -> str:
        """An example with what is different here."""
        for there, here in changes.items():
            self.assertEqual(text.count(there), 1, there)
            text = text.replace(there, here)
        return text

    def check(self, *command: str) -> None:
        """Run its own check of the configuration; it has nothing to say but that all is well."""
        ended = subprocess.run(command, capture_output=True, text=True)
        said = ended.stdout + ended.stderr
        self.assertEqual(ended.returncode, 0, said)
        self.assertNotRegex(said.lower(), "warn|alert|error|emerg")

    def ask(self, path: str, *words: str) -> WordsProcess:
        """curl, which prints what it gets as it comes."""
        usual = ("-sS", "--no-buffer", "--cacert", str(self.certificate), "--noproxy", "*")
        url = f"https://127.0.0.1:{self.front}{path}"
        client = WordsProcess(self.curl, *usual, *words, url)
        self.addCleanup(client.kill)
        client.start()
        return client

    def post(self, *words: str) -> WordsProcess:
        """A request that takes a slot."""
        return self.ask("/completion", "--data", "{}", "-H", "Content-Type: text/plain", *words)

    async def prints(self, client: WordsProcess, text: str) -> None:
        """Wait until a client has got something."""
        await until(lambda: text in client.output, what=f"{text!r} in {client.output!r}")

    async def stream(self, version: str, says: str) -> None:
        """A stream comes event by event, with the headers that a balancer is to get."""
        server = await self.server()
        called = self.next_call(server)
        client = self.post(f"--http{version}", "--include", "-H", "X-Forwarded-For: 1.2.3.4")
        call = await called
        call.start_stream()
        for number in range(5):
            # The next one is only sent when this one is there.
            call.chunk(b'data: {"content":"%d"}\n\n' % number)
            await self.prints(client, f'data: {{"content":"{number}"}}\n\n')
        call.chunk(b"")
        await client.ended()
        self.assertEqual(client.exit_code, 0, client.output)
        self.assertTrue(client.output.startswith(says), client.output)
        self.assertIn("x-paddler-agent: one", client.output.lower())
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in call.headers.getAllRawHeaders()
        }
        self.assertEqual(headers["x-forwarded-for"], "127.0.0.1, 127.0.0.1")
        self.assertEqual(headers["x-forwarded-proto"], "https")
        self.assertEqual(headers["x-forwarded-host"].partition(":")[0], "127.0.0.1")

    async def test_stream(self) -> None:
        """Over HTTP/2."""
        await self.stream("2", "HTTP/2 200")

    async def test_stream_1(self) -> None:
        """Over HTTP/1.1."""
        await self.stream("1.1", "HTTP/1.1 200")

    async def test_large_bodies(self) -> None:
        """Some megabytes come whole, there and back, one after another over one connection."""
        server = await self.server()
        body = os.urandom(_LARGE // 2).hex().encode()
        (self.folder / "body").write_bytes(body)

        def echo(call: Call) -> None:
            call.answer(200, call.body)

        server.on_request = echo
        connections = set()
        for number in range(3):
            answer = self.folder / f"answer{number}"
            client = self.post("--data-binary", f"@{self.folder}/body", "-o", str(answer))
            await client.ended()
            self.assertEqual((client.exit_code, client.output), (0, ""))
            self.assertTrue(answer.read_bytes().endswith(body))
            connections |= self.site._channels
        self.assertEqual(len(connections), 1)

    async def test_client_leaves(self) -> None:
        """Who leaves while it waits, or in its answer, is no longer waited for."""
        server = await self.server()
        called = self.next_call(server)
        running = self.post()
        call = await called
        waiting = self.post()
        await until(lambda: self.waiting() == 1, what="a request that waits")
        await waiting.kill()
        await until(lambda: self.waiting() == 0, what="its end")
        call.start_stream()
        call.chunk(b"data: 1\n\n")
        await self.prints(running, "data: 1\n\n")
        await running.kill()
        await call.lost

    async def test_refusals(self) -> None:
        """What the balancer refuses comes as it says it."""
        self.proxy.begin_stop()
        client = self.post("--include")
        await client.ended()
        self.assertRegex(client.output, r"\AHTTP/2 503 ")
        error = json.loads(client.output[client.output.index("{") :])["error"]
        self.assertEqual(error["type"], "shutting_down")


class NginxTests(_InFront, ProxyCase):
    """`examples/tls/nginx.conf`."""

    def prepare(self) -> list[str]:
        nginx = _found("nginx")
        text = self.put(
            (_TLS / "nginx.conf").read_text(),
            {
                "127.0.0.1:8086": f"127.0.0.1:{self.port}",
                "listen 443 ssl http2": f"listen 127.0.0.1:{self.front} ssl http2",
                "/etc/nginx/paddler.crt": str(self.certificate),
                "/etc/nginx/paddler.key": str(self.key),
            },
        )
        (self.folder / "paddler.conf").write_text(text)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds)
        config = self.folder / "nginx.conf"
        config.write_text(
            f"master_process off; daemon off; pid {self.folder}/pid; error_log stderr warn;\n"
            "events {}\n"
            f"http {{ access_log off; {temporary} include {self.folder}/paddler.conf; }}\n"
        )
        # -e: where it would complain before it has read that.
        command = [nginx, "-p", str(self.folder), "-e", "stderr", "-c", str(config)]
        self.check(*command, "-t")
        return command


class HaproxyTests(_InFront, ProxyCase):
    """`examples/tls/haproxy.cfg`."""

    def prepare(self) -> list[str]:
        haproxy = _found("haproxy")
        both = self.folder / "both.pem"
        both.write_text(self.certificate.read_text() + self.key.read_text())
        changes = {
            "127.0.0.1:8086": f"127.0.0.1:{self.port}",
            "bind :443 ": f"bind 127.0.0.1:{self.front} ",
            "/etc/haproxy/paddler.pem alpn": f"{both} alpn",
        }
        text = self.put((_TLS / "haproxy.cfg").read_text(), changes)
        if os.geteuid() != 0:
            text = re.sub(r"(?m)^    (user|group) haproxy\n", "", text)
        config = self.folder / "haproxy.cfg"
        config.write_text(text)
        self.check(haproxy, "-c", "-f", str(config))
        return [haproxy, "-db", "-f", str(config)]
