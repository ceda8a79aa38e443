"""`examples/logrotate.d/`, under the real logrotate."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase

from paddler.llamaserver import free_ports
from tests.initscripts import EXAMPLES, InitScript, reactor
from tests.llamas import fetch, until

__all__ = ["LogrotateTests"]


class LogrotateTests(TestCase):
    """A balancer that logs while its log is rotated; root has it become nobody."""

    timeout = 60

    async def start(self, **options: object) -> None:
        """The balancer and logrotate's configuration, which name a temporary folder."""
        program = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None:
            raise SkipTest("no logrotate")
        self.program = program
        management, self.public = free_ports(2)
        self.service = InitScript(
            self,
            "paddler-balancer",
            PADDLER_MANAGEMENT_PORT=management,
            PADDLER_REVERSEPROXY_PORT=self.public,
            PADDLER_REQUEST_BUFFER_SIZE=0,
            PADDLER_ACCESS_LOG="true",
            **options,
        )
        text = (EXAMPLES / "logrotate.d" / "paddler").read_text()
        for path, here in (
            ("/var/log/paddler", self.service.log.parent),
            ("/etc/init.d", self.service.script.parent),
        ):
            self.assertIn(path, text)
            text = text.replace(path, str(here))
        self.config = self.service.folder / "logrotate"
        self.config.write_text(text)
        self.config.chmod(0o644)
        self.asked: list[str] = []
        self.assertEqual((await self.service("start")).code, 0)

    async def ask(self) -> None:
        """A request, which is refused and logged."""
        self.asked.append(f"request-{len(self.asked)}")
        body, headers = b"{}", {"X-Request-Id": self.asked[-1]}
        self.assertEqual((await fetch(self.public, "/completion", body, headers))[0], 429)

    async def rotate(self) -> None:
        """Run logrotate, as at another day, with requests before, meanwhile and after."""
        await self.ask()
        old = self.service.log.stat().st_ino
        rotating: Deferred[tuple[bytes, bytes, int]] = getProcessOutputAndValue(
            self.program,
            ["--force", "--state", str(self.service.folder / "state"), str(self.config)],
            self.service.environment,
            reactor=reactor,
        )
        while not rotating.called:
            await self.ask()
        self.assertEqual(await rotating, (b"", b"", 0))
        self.assertNotEqual(self.service.log.stat().st_ino, old)
        # The signal may still be on its way.
        await until(self.arrives)

    async def arrives(self) -> bool:
        """Whether a request is logged in the new file."""
        await self.ask()
        return self.asked[-1] in self.service.log.read_text()

    def texts(self) -> dict[str, str]:
        """All log files."""
        return {
            path.name: (
                gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            ).decode()
            for path in self.service.log.parent.iterdir()
        }

    async def check(self) -> None:
        """Rotate twice, stop, and find every request."""
        await self.rotate()
        await self.rotate()
        await self.ask()
        self.assertEqual((await self.service("stop")).code, 0)
        texts, name = self.texts(), self.service.log.name
        self.assertEqual(sorted(texts), [name, f"{name}.1", f"{name}.2.gz"])
        oldest_first = texts[f"{name}.2.gz"] + texts[f"{name}.1"] + texts[name]
        self.assertEqual(re.findall(r"(?<=[^\w])request-\d+(?= POST)", oldest_first), self.asked)
        self.assertNotIn("Traceback", oldest_first)
        self.assertIn(self.asked[0], texts[f"{name}.2.gz"])
        self.assertIn(self.asked[-1], texts[name])

    async def test_text(self) -> None:
        """No line is lost, and those after the rotation are in the new file."""
        await self.start()
        await self.check()
        log = self.service.log.stat()
        self.assertEqual(log.st_mode & 0o777, 0o640)
        if self.service.run_as:
            self.assertEqual(log.st_uid, 65534)

    async def test_json(self) -> None:
        """Likewise where each line is a JSON object."""
        await self.start(PADDLER_LOG_FORMAT="json")
        await self.check()
        lines = [line for text in self.texts().values() for line in text.splitlines()]
        self.assertGreater(len([json.loads(line) for line in lines]), len(self.asked))
