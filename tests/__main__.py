"""`python -m tests`: runs the tests with trial; `N passed, N failed` stands on its last line.

    python -m tests                 everything that `make test` runs
    python -m tests --long          what takes longer: every module of tests/long
    python -m tests tests.test_cli  what is named, as trial has it
    python -m tests --lenient ...   third parties' warnings are no errors (old versions)

The exit code is trial's. A run that breaks off without a result counts as one failure.
Where PADDLER_TEST_RECORD names a file, it holds a line for each real llama-server that was
started, and one for each browser and terminal.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

__all__ = ["closing_line", "main"]

_RESULT = re.compile(r"(?:PASSED|FAILED)(?: \((.*)\))?\s*")
_BAD = ("failures", "errors", "unexpectedSuccesses")


def closing_line(result: str, code: int) -> str:
    """Trial's last line as `N passed, N failed`, with `, N skipped` where there are some.

    :param result: that line, empty if trial did not come to it.
    :param code: trial's exit code.
    """
    found = _RESULT.fullmatch(result)
    told = re.findall(r"(\w+)=(\d+)", found[1] or "") if found else []
    counts = {name: int(number) for name, number in told}
    failed = sum(counts.get(name, 0) for name in _BAD)
    if code and not failed:
        failed = 1
    passed = counts.get("successes", 0) + counts.get("expectedFailures", 0)
    skipped = counts.get("skips", 0)
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def _long_modules() -> list[str]:
    folder = Path(__file__).parent / "long"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem[0] != "_")
    return [f"tests.long.{name}" for name in names]


def main(words: list[str]) -> int:
    """Run trial; returns its exit code."""
    strict = ["-W", "error"]
    if "--lenient" in words:
        words.remove("--lenient")
        strict = []
    if "--long" in words:
        words = _long_modules()
    command = [sys.executable, *strict, "-m", "twisted.trial", *(words or ["tests"])]
    result = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            print(line, end="", flush=True)
            if _RESULT.fullmatch(line):
                result = line
    code = trial.returncode
    if not result:
        print(f"trial broke off (exit code {code})")
        code = code or 1
    closing = closing_line(result, code)
    if closing.startswith("0 passed, 0 failed"):
        print("no test was run")
        code = 1
    print(closing, flush=True)
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
