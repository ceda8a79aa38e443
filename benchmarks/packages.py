"""The Debian packages that the benchmarks need, installed where that may be done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from benchmarks.machine import program

__all__ = ["ensure"]

#: Programs by their packages, and those whose packages start a service that nobody asked for.
PACKAGES = {"haproxy": "haproxy", "nginx": "nginx", "wrk": "wrk", "taskset": "util-linux"}
SERVICES = ("haproxy", "nginx")


def ensure(*programs: str) -> None:
    """Have these programs, or end with one line that says which are missing.

    Services that their installation began are stopped, and not begun at the next boot.
    """
    missing = [name for name in programs if program(name) is None]
    if not missing:
        return
    wanted = " ".join(PACKAGES[name] for name in missing)
    before = _as_root()
    if before is None or shutil.which("apt-get") is None:
        sys.exit(
            f"missing: {', '.join(missing)}; install them, on Debian: apt-get install {wanted}"
        )
    print(f"installing {wanted}", flush=True)
    apt = [*before, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    install = [*apt, "install", "-y", "--no-install-recommends", *wanted.split()]
    ran = subprocess.run(install, capture_output=True)
    if ran.returncode:
        subprocess.run([*apt, "update"], capture_output=True)
        ran = subprocess.run(install, capture_output=True)
    for name in set(missing).intersection(SERVICES):
        for tool, *words in (["service", name, "stop"], ["update-rc.d", name, "disable"]):
            if (path := program(tool)) is not None:
                subprocess.run([*before, path, *words], capture_output=True)
    if ran.returncode or any(program(name) is None for name in missing):
        said = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        sys.exit(f"apt-get install {wanted} failed: {said}")


def _as_root() -> list[str] | None:
    """The words before a command that is root's; None: we may not."""
    if os.geteuid() == 0:
        return []
    sudo = [shutil.which("sudo") or "", "-n"]
    may = sudo[0] and not subprocess.run([*sudo, "true"], capture_output=True).returncode
    return sudo if may else None
