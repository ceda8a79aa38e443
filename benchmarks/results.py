"""The results of a run as JSON, and as a part of the README."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import msgspec

from benchmarks.rows import Plan, Row
from benchmarks.table import table

__all__ = ["BASELINE", "LATEST", "README", "Results", "into_readme"]

_HERE = Path(__file__).resolve().parent
#: Of the last run, and of the run that later ones are compared with, which is kept in git.
LATEST = _HERE / "results" / "latest.json"
BASELINE = _HERE / "baseline.json"
README = _HERE / "README.md"
_BEGIN, _END = "<!-- results -->\n", "<!-- end of results -->\n"


@attrs.frozen
class Results:
    """A run.

    :param date: when it ended, ISO 8601 in UTC.
    :param machine: see `benchmarks.machine.shape`.
    """

    date: str
    machine: Mapping[str, str | int | float]
    plan: Plan
    rows: Sequence[Row]

    @classmethod
    def now(
        cls, machine: Mapping[str, str | int | float], plan: Plan, rows: Sequence[Row]
    ) -> Results:
        """Those of a run that has just ended."""
        now = datetime.now(timezone.utc)
        return cls(now.isoformat(timespec="seconds"), machine, plan, rows)

    @classmethod
    def read(cls, path: Path) -> Results | None:
        """Those that were written there, if any were."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None

    def write(self, path: Path) -> None:
        """Keep them."""
        rows: list[dict[str, Any]] = [attrs.asdict(row) | {"met": row.met} for row in self.rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(attrs.asdict(self) | {"rows": rows}, indent=2) + "\n")

    def by_name(self) -> dict[str, Row]:
        """Its rows."""
        return {row.name: row for row in self.rows}

    def text(self) -> str:
        """The table, and under which circumstances it came to be."""
        machine = self.machine
        return (
            f"{self.date[:10]}, {machine['cores']} cores of {machine['cpu']} with "
            f"{machine['memory_gib']} GiB, Linux {machine['linux']}, {machine['python']}, Twisted "
            f"{machine['twisted']}, uvloop {machine['uvloop']}, httptools {machine['httptools']}, "
            f"HAProxy {machine['haproxy']}, nginx {machine['nginx']}; medians of "
            f"{self.plan.rounds} rounds of {self.plan.seconds:g} s, "
            f"begun at a load of {machine['load']:g}.\n\n{table(self.rows, {})}\n"
        )


def into_readme(results: Results, readme: Path = README) -> None:
    """Put the table in the place of the one that is there."""
    before, _, rest = readme.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    readme.write_text(f"{before}{_BEGIN}\n{results.text()}\n{_END}{after}")
