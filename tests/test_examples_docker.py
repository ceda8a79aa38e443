"""`examples/docker/`: no container, but what stands in its files is read, and the command run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser
from ruamel.yaml import YAML
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from paddler.agent.settings import AgentOptions
from paddler.balancer.settings import BalancerOptions
from paddler.llamaserver import free_ports
from tests.commands import ROOT, environment, python
from tests.llamas import reactor, wait_until_healthy
from tests.processes import WordsProcess

__all__ = ["ComposeTests", "DockerfileTests", "RunTests"]

_DOCKER = ROOT / "examples" / "docker"


def _instructions(name: str) -> list[str]:
    """What the Dockerfile says after a word, at each place."""
    parser = DockerfileParser(str(_DOCKER / "Dockerfile"))
    return [each["value"] for each in parser.structure if each["instruction"] == name]


class DockerfileTests(SynchronousTestCase):
    """What the image is made of."""

    def test_hadolint(self) -> None:
        """hadolint has nothing to say."""
        program = shutil.which(
            "hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        )
        if program is None:
            raise SkipTest("no hadolint")
        words = [program, "--no-color", str(_DOCKER / "Dockerfile")]
        ended = subprocess.run(words, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stdout + ended.stderr), (0, ""))

    def test_copies(self) -> None:
        """What it copies is enough to build Paddler, all of it."""
        source = Path(self.mktemp()).absolute()
        source.mkdir()
        for line in _instructions("COPY")[:3]:
            *names, target = line.split()
            place = source / Path(target).relative_to("/src")
            for name in names:
                if (ROOT / name).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
                    shutil.copytree(ROOT / name, place, ignore=ignored)
                else:
                    shutil.copy(ROOT / name, place)
        build = "import setuptools.build_meta as backend; backend.build_wheel('.')"
        ended = subprocess.run(
            [sys.executable, "-c", build],
            cwd=source,
            env={**environment(), "PYTHONPATH": "", "SETUPTOOLS_USE_DISTUTILS": "local"},
            capture_output=True,
            text=True,
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        (wheel,) = source.glob("*.whl")
        with zipfile.ZipFile(wheel) as built:
            names = built.namelist()
        wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "paddler").rglob("*.py")}
        self.assertEqual(wanted - set(names), set())
        self.assertIn("twisted/plugins/paddler_plugin.py", names)


class RunTests(TestCase):
    """What a container of the image runs."""

    timeout = 60

    async def test_command(self) -> None:
        """The balancer starts, is found healthy, stops by SIGTERM, and is not any more."""
        management, public = free_ports(2)
        (entry,), (command,), (check,) = map(_instructions, ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
        options, _, checks = check.partition(" CMD ")
        self.assertIn("--interval=", options)
        commands = Path(self.mktemp()).absolute()
        commands.mkdir()
        for name, words in (("paddler", "-m paddler "), ("python", "")):
            (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
            (commands / name).chmod(0o755)
        words = json.loads(entry) + json.loads(command)
        self.assertEqual(sum(word.endswith("-host=0.0.0.0") for word in words), 2)
        balancer = WordsProcess(
            *(word.replace("0.0.0.0", "127.0.0.1") for word in words),
            more={
                "PATH": f"{commands}:{os.environ['PATH']}",
                "PADDLER_MANAGEMENT_PORT": str(management),
                "PADDLER_REVERSEPROXY_PORT": str(public),
            },
        )
        self.addCleanup(balancer.kill)
        balancer.start()
        await wait_until_healthy(public)
        program, *arguments = json.loads(checks)
        asked = [word.replace(":8086/", f":{public}/") for word in arguments]
        self.assertNotEqual(asked, arguments)

        async def healthy() -> int:
            _, _, code = await getProcessOutputAndValue(
                str(commands / program), asked, environment(), reactor=reactor
            )
            return code

        self.assertEqual(await healthy(), 0)
        balancer.signal(signal.SIGTERM)
        await balancer.ended()
        self.assertEqual(balancer.exit_code, 0, balancer.output)
        self.assertNotEqual(await healthy(), 0)


class ComposeTests(SynchronousTestCase):
    """`compose.yaml`."""

    def setUp(self) -> None:
        self.path = _DOCKER / "compose.yaml"
        self.services: dict[str, Any] = YAML(typ="safe").load(self.path)["services"]

    def test_schema(self) -> None:
        """It is as the Compose specification has it."""
        ended = python(
            "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(self.path)
        )
        self.assertEqual(ended.code, 0, ended.out + ended.err)

    def test_options(self) -> None:
        """Each agent finds its llama-server and the balancer, where they listen."""
        watched = set()
        for name, service in self.services.items():
            if service["image"] != "paddler":
                continue
            command, *words = service["command"]
            options: Any = {"balancer": BalancerOptions, "agent": AgentOptions}[command]()
            options.environment = {}
            options.parseOptions(words)
            if command == "balancer":
                self.assertEqual(name, "balancer")
                settings = options.settings()
                grace = float(service["stop_grace_period"].removesuffix("s"))
                self.assertGreaterEqual(grace, settings.shutdown_grace + 10)
                ports = {options["management-port"], options["reverseproxy-port"]}
                self.assertEqual({int(p.split(":")[-1]) for p in service["ports"]}, ports)
                self.assertEqual(options["reverseproxy-host"], "0.0.0.0")
            else:
                self.assertEqual(options["management-host"], "balancer")
                self.assertTrue(service["healthcheck"]["disable"])
                watched.add(options["local-llamacpp-host"])
                # Where the image of llama-server listens.
                self.assertEqual(options["local-llamacpp-port"], 8080)
        llamas = {n for n, s in self.services.items() if s["image"].endswith("llama.cpp:server")}
        self.assertEqual((watched, len(llamas)), (llamas, 2))

    def test_build(self) -> None:
        """It builds the image from this repository."""
        build = self.services["balancer"]["build"]
        context = (_DOCKER / build["context"]).resolve()
        self.assertEqual(context, ROOT)
        self.assertEqual(context / build["dockerfile"], _DOCKER / "Dockerfile")
