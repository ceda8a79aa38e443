"""This machine: what it is, which core has which work, and what a process takes of it.

Needs /proc, so Linux.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs

__all__ = ["Cores", "cpu_seconds", "program", "resident_bytes", "shape"]

#: Where Debian keeps servers, which is not on everybody's PATH.
_PLACES = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


@attrs.frozen
class Cores:
    """Which cores are whose.

    :param proxy: the one that each proxy has to itself; None: there is one core in all.
    :param rest: those of the servers and the clients.
    """

    proxy: int | None
    rest: tuple[int, ...]

    @classmethod
    def of(cls, usable: Iterable[int]) -> Cores:
        """Share these out."""
        mine = sorted(usable)
        return cls(mine[-1], tuple(mine[:-1])) if len(mine) > 1 else cls(None, tuple(mine))

    def words(self, *, proxy: bool) -> list[str]:
        """The words before a command that keep it to its cores."""
        if self.proxy is None:
            return []
        cores = [self.proxy] if proxy else self.rest
        return ["taskset", "-c", ",".join(map(str, cores))]

    def keep_this_process(self) -> None:
        """Keep this process to those of the clients."""
        os.sched_setaffinity(0, self.rest)


def program(name: str) -> str | None:
    """Where a program is, if it is installed."""
    return shutil.which(name, path=_PLACES)


def cpu_seconds(pid: int) -> float:
    """The time that a process has spent on a core, its own and the system's for it.

    Its state has it in hundredths of a second; where the kernel keeps nanoseconds of each thread,
    those are added up.
    """
    try:
        threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) * 1e-9
    except FileNotFoundError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Bytes that a process has in memory."""
    found = re.search(r"^VmRSS:\s*(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


def shape() -> dict[str, str | int | float]:
    """What a reader of the results must know of it."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    shaped: dict[str, str | int | float] = {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": found[1] if found else platform.machine(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        # Of others too, before it began.
        "load": round(os.getloadavg()[0], 1),
        "linux": platform.release().partition("-")[0],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for name in ("twisted", "uvloop", "httptools"):
        try:
            shaped[name] = version(name)
        except PackageNotFoundError:
            shaped[name] = "none"
    return shaped | {name: _version(name) for name in ("haproxy", "nginx", "wrk")}


def _version(name: str) -> str:
    path = program(name)
    if path is None:
        return "none"
    said = subprocess.run([path, "-v"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = re.search(r"\d+\.\d+(\.\d+)?", said.stdout + said.stderr)
    return found[0] if found else "unknown"


if not sys.platform.startswith("linux"):
    sys.exit("the benchmarks need /proc and taskset, so Linux")
