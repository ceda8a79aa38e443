"""A real systemd in namespaces of its own, with units of the examples and nothing else.

Needs root, Linux and util-linux. The machine's own units, files and processes are out of its
reach: it has its own process ids, mounts and control group, and a root folder that can't be
written to; only the network is the machine's, so that tests can talk to what it runs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase

from tests.commands import ROOT, Finished
from tests.llamas import until
from tests.processes import WordsProcess

__all__ = ["DEFAULTS", "UNITS", "RealSystemd"]

reactor = cast(Any, _reactor)

UNITS = ROOT / "examples" / "systemd"
DEFAULTS = ROOT / "examples" / "default"
_SYSTEMD = Path("/lib/systemd/systemd")

#: Units that others need, without what the machine's own would do.
_TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sysinit")

_LOG = """[Service]
StandardOutput=append:/run/test/%N.log
StandardError=append:/run/test/%N.log
"""

# Of this script's two halves the first outlives systemd and removes its control group.
_BOOT = r"""
set -eu
if [ "${1-}" != inside ]; then
    groups=$(mktemp -d)
    mount -t cgroup2 cgroup2 "$groups"
    mkdir "$groups/paddler-test-$$"
    (
        sh -c 'echo $PPID' >"$groups/paddler-test-$$/cgroup.procs"
        exec setpriv --pdeathsig KILL \
            unshare --pid --fork --kill-child --mount-proc --uts --ipc --cgroup \
            sh -c "$BOOT" sh inside
    ) || :
    find "$groups/paddler-test-$$" -depth -type d -exec rmdir {} +
    umount "$groups" && rmdir "$groups"
    exit
fi
mount --make-rprivate /
mount -t tmpfs none /opt
mkdir -p /opt/paddler/bin /opt/paddler/src /opt/paddler/python /opt/paddler/site
mount --bind "$SOURCES" /opt/paddler/src
mount --bind "$PYTHON" /opt/paddler/python
mount --bind "$SITE" /opt/paddler/site
cat >/opt/paddler/bin/paddler <<EOF
#!/bin/sh
export PYTHONHOME=/opt/paddler/python PYTHONPATH=/opt/paddler/src:/opt/paddler/site
export LD_LIBRARY_PATH=/opt/paddler/python/lib
exec /opt/paddler/python/bin/$NAME -m paddler "\$@"
EOF
chmod 755 /opt/paddler/bin/paddler
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/test /run/systemd/system
mount --bind "$FOLDER" /run/test
mount --bind "$FOLDER/units" /run/systemd/system
mount --bind "$FOLDER/default" /etc/default
mount -t tmpfs none /tmp
mount -t tmpfs none /var/tmp
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The machine's own console is not to be heard from.
mount --bind /dev/null /dev/console
mount -o remount,bind,ro /
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
# In a container systemd takes this for granted.
mount --make-rshared /
export container=test SYSTEMD_UNIT_PATH=/run/systemd/system
exec /lib/systemd/systemd --system --unit=basic.target --log-target=console \
    --show-status=no --machine-id=11111111111111111111111111111111
"""


class RealSystemd:
    """systemd, as process 1 of its own, with the units as they are and their files in /etc/default.

    :param test: at whose end it ends, with all that it runs.
    :ivar folder: what both sides see; inside it is /run/test.
    """

    def __init__(self, test: TestCase) -> None:
        self.folder = Path(test.mktemp()).absolute()
        for name in ("units", "default"):
            (self.folder / name).mkdir(parents=True)
        for name in _TARGETS:
            text = "[Unit]\nDefaultDependencies=no\n"
            (self.folder / "units" / f"{name}.target").write_text(text)
        self._process = WordsProcess(
            "unshare", "--mount", "sh", "-c", _BOOT, more=self._environment()
        )
        test.addCleanup(self._end)

    def _environment(self) -> dict[str, str]:
        return {
            "BOOT": _BOOT,
            "SOURCES": str(ROOT),
            "PYTHON": sys.base_prefix,
            "NAME": f"python{sys.version_info.major}.{sys.version_info.minor}",
            "SITE": sysconfig.get_path("purelib"),
            "FOLDER": str(self.folder),
        }

    def install(self, unit: str, *, secrets: bool = False, **options: object) -> None:
        """Install one of the examples' units, and have its log in a file.

        :param unit: its name; one with an @ is installed for many.
        :param secrets: with its lines for secrets, which are in `folder`.
        :param options: for its file in /etc/default.
        """
        name, at, _ = unit.partition("@")
        text = (UNITS / f"{name}.service").read_text(encoding="utf-8")
        if secrets:
            text = re.sub(r"(?m)^#(?=LoadCredential=|Environment=)", "", text)
            text = text.replace("/etc/paddler/", "/run/test/")
        units = self.folder / "units"
        (units / f"{name}{at}.service").write_text(text, encoding="utf-8")
        (units / f"{unit}.service.d").mkdir()
        (units / f"{unit}.service.d" / "log.conf").write_text(_LOG, encoding="utf-8")
        self.write(unit, **options)

    def write(self, unit: str, **options: object) -> None:
        """Write a unit's file in /etc/default: the example, and these lines."""
        example = DEFAULTS / unit.partition("@")[0]
        lines = "".join(f"{name}={value}\n" for name, value in options.items())
        text = f"{example.read_text(encoding='utf-8')}\n{lines}"
        (self.folder / "default" / unit).write_text(text, encoding="utf-8")

    @property
    def logs(self) -> str:
        """What all units have logged."""
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    async def start(self) -> None:
        """Have it run.

        :raises SkipTest: it can't here; why is said.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can run a systemd in namespaces")
        if not _SYSTEMD.exists() or shutil.which("unshare") is None:
            raise SkipTest("no systemd, or no unshare")
        self._process.start()

        async def runs() -> bool:
            if self._process.ended().called:
                raise SkipTest(f"no systemd can be run here: {self._process.output}")
            return "running" in (await self.ctl("is-system-running")).out

        await until(runs, within=20, what="a running systemd")

    async def ctl(self, *words: str) -> Finished:
        """`systemctl` with these words."""
        pid = self._inside()
        if pid is None:
            return Finished(1, "", "")
        out, err, code = await getProcessOutputAndValue(
            "/usr/bin/nsenter",
            [f"--target={pid}", "--mount", "--pid", "systemctl", "--no-pager", *words],
            os.environ,
            reactor=reactor,
        )
        return Finished(code, out.decode(), err.decode())

    async def property(self, unit: str, name: str) -> str:
        """One of a unit's properties."""
        return (await self.ctl("show", f"--property={name}", "--value", unit)).out.strip()

    def pid_of(self, unit: str) -> int:
        """The id that a unit's process has outside; 0: it has none."""
        for child in _children(self._inside() or 0):
            if f"/{unit}.service\n" in _read(f"/proc/{child}/cgroup"):
                return child
        return 0

    def _inside(self) -> int | None:
        """The id that its process 1 has outside; None: there is none (yet)."""
        for child in _children(self._process.pid):
            for grandchild in _children(child):
                if _read(f"/proc/{grandchild}/comm") == "systemd\n":
                    return grandchild
        return None

    async def _end(self) -> None:
        if self._process.ended().called:
            return
        # With its first process all of them end.
        if (pid := self._inside()) is not None:
            os.kill(pid, signal.SIGKILL)
            await self._process.ended().addTimeout(5, reactor, lambda *_: None)
        await self._process.kill()


def _read(path: str) -> str:
    """A file's text; none when its process is gone."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]
