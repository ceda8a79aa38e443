"""What is built and shipped: plugins, packages, the wheel and the source archive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from paddler import __version__
from paddler.balancer.dashboard.files import FILES
from tests.commands import ROOT, python

__all__ = ["ArchiveTests", "MetadataTests", "PluginTests"]

_BUILD = """
import setuptools.build_meta as backend
backend.build_sdist("dist")
backend.build_wheel("dist")
"""


def _setup_cfg() -> ConfigParser:
    read = ConfigParser()
    read.read(ROOT / "setup.cfg")
    return read


class PluginTests(SynchronousTestCase):
    """The two plugins of twistd."""

    def test_both_are_found(self) -> None:
        """Twisted finds both, and what they name has options and makes a service."""
        found = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
        for tapname in ("paddler-agent", "paddler-balancer"):
            maker = found[tapname]
            self.assertTrue(maker.description)
            self.assertTrue(callable(maker.options))
            self.assertTrue(callable(maker.makeService))

    def test_light(self) -> None:
        """Importing the plugins' file imports none of Paddler's own modules, and no reactor."""
        script = (
            "import json, sys, twisted.plugins.paddler_plugin; json.dump("
            "[m for m in sys.modules if m.startswith(('paddler.', 'twisted.internet.reactor'))],"
            "sys.stdout)"
        )
        ended = python("-W", "error", "-c", script)
        self.assertEqual((ended.code, ended.err), (0, ""))
        self.assertEqual(json.loads(ended.out), [])

    def test_twistd_help(self) -> None:
        """`twistd --help` shows both, and nothing goes wrong on the way."""
        ended = python("-m", "twisted", "--help")
        self.assertEqual((ended.code, ended.err), (0, ""))
        self.assertIn("paddler-balancer", ended.out)
        self.assertIn("paddler-agent", ended.out)


class MetadataTests(SynchronousTestCase):
    """`setup.cfg` against the sources."""

    def test_packages(self) -> None:
        """Every package is listed by hand, and no other."""
        listed = set(_setup_cfg()["options"]["packages"].split())
        there = {
            ".".join(path.parent.relative_to(ROOT).parts)
            for path in (ROOT / "paddler").rglob("__init__.py")
        }
        self.assertEqual(listed, there | {"twisted.plugins"})

    def test_twisted_stays_open(self) -> None:
        """Neither folder that is shared with Twisted has an `__init__.py`."""
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

    def test_oldest_versions(self) -> None:
        """The versions for the run on the oldest are those that setup.cfg allows at least."""
        text = (ROOT / "tests" / "constraints-oldest.txt").read_text()
        pinned = dict(
            line.split("==") for line in text.splitlines() if line and not line.startswith("#")
        )
        setup = _setup_cfg()
        extras = setup["options.extras_require"]
        wanted = setup["options"]["install_requires"] + extras["dashboard"] + extras["fast"]
        lines = (line.partition(";")[0].replace(" ", "") for line in wanted.split("\n"))
        least = dict(line.split(">=") for line in lines if line)
        self.assertEqual(pinned.keys() - {"pyopenssl"}, least.keys())
        for name, version in least.items():
            self.assertTrue(f"{pinned[name]}.".startswith(f"{version}."), name)


class ArchiveTests(SynchronousTestCase):
    """The wheel and the source archive, built from a copy of the sources."""

    def setUp(self) -> None:
        copy = Path(self.mktemp()).absolute()
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", "_trial_temp*")
        for name in ("paddler", "twisted", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, copy)
        (copy / "twisted" / "plugins" / "dropin.cache").write_bytes(b"of another machine")
        built = subprocess.run(
            [sys.executable, "-c", _BUILD],
            cwd=copy,
            env={**os.environ, "SETUPTOOLS_USE_DISTUTILS": "local"},
            capture_output=True,
            text=True,
        )
        self.assertEqual(built.returncode, 0, built.stderr)
        self.dist = copy / "dist"

    def test_contents(self) -> None:
        """Both have every module and the plugins; neither has a plugin cache."""
        modules = {str(path.relative_to(ROOT)) for path in (ROOT / "paddler").rglob("*.py")}
        plugins = {f"twisted/plugins/paddler_{what}.py" for what in ("plugin", "reactor")}
        modules |= {*plugins, "paddler/py.typed"}
        modules |= {f"paddler/balancer/dashboard/static/{name}" for name in FILES}

        with zipfile.ZipFile(self.dist / f"paddler-{__version__}-py3-none-any.whl") as wheel:
            names = {name for name in wheel.namelist() if ".dist-info/" not in name}
            self.assertEqual(names, modules)
            entries = wheel.read(f"paddler-{__version__}.dist-info/entry_points.txt").decode()
            self.assertIn("paddler = paddler.cli:main", entries)
            metadata = wheel.read(f"paddler-{__version__}.dist-info/METADATA").decode()
            self.assertIn("Requires-Python: >=3.10", metadata)

        with tarfile.open(self.dist / f"paddler-{__version__}.tar.gz") as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        self.assertEqual(modules - names, set())
        for name in ("LICENSE", "Makefile", "README.md", "tests/llamas.py", "CHANGELOG.md"):
            self.assertIn(name, names)
        self.assertEqual([name for name in names if name.endswith("dropin.cache")], [])
