"""Running Paddler's commands as child processes, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

import paddler

__all__ = ["ROOT", "Finished", "environment", "python", "run_paddler"]

#: The folder that holds `paddler/`, `twisted/` and `tests/`.
ROOT = Path(paddler.__file__).resolve().parent.parent


@attrs.frozen
class Finished:
    """What a command left behind.

    :param code: its exit code; minus the signal's number if one ended it.
    :param out: its standard output.
    :param err: its standard error.
    """

    code: int
    out: str
    err: str


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment commands run in: nothing of `PADDLER_*` but what is given."""
    kept = {name: value for name, value in os.environ.items() if name[:8] != "PADDLER_"}
    return {**kept, "PYTHONPATH": str(ROOT), **(more or {})}


def python(*words: str, more: Mapping[str, str] | None = None, seconds: float = 60) -> Finished:
    """Run Python with these words, in an environment with `more` in it."""
    ended = subprocess.run(
        [sys.executable, *words],
        env=environment(more),
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr)


def run_paddler(*words: str, more: Mapping[str, str] | None = None) -> Finished:
    """Run `paddler` with these words; a warning anywhere in it is an error."""
    return python("-W", "error", "-m", "paddler", *words, more=more)
