"""Evidently with its default preset, in an environment of its own: it does not take pandas 3."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from inference.processes import Absent, installed

EVIDENTLY = ("evidently==0.7.23", "pandas<3", "pyarrow")
_APP = Path(__file__).parent / "apps" / "evidently_drift.py"


@dataclass(frozen=True)
class Told:
    """What it said of each window, and what that took: the first one's time holds reading all."""

    windows: list[dict[str, bool]]
    seconds: list[float]
    peak_mb: float
    version: str

    @property
    def columns_drifted(self) -> float:
        """Share of a window's columns, over all windows."""
        found = [value for window in self.windows for value in window.values()]
        return sum(found) / len(found)

    @property
    def windows_drifted(self) -> float:
        """Share of windows with at least one such column."""
        return sum(any(window.values()) for window in self.windows) / len(self.windows)


def evidently(
    reference: pa.Table | Path, windows: pa.Table | Path, rows: int, environments: Path
) -> Told:
    """Windows of `rows` rows each, one below the other, against reference rows.

    Raises:
        Absent: it cannot be installed, or it failed.
    """
    python = installed("evidently", EVIDENTLY, environments)
    with tempfile.TemporaryDirectory() as directory:
        asked = {
            "reference": str(_file(reference, Path(directory) / "reference.parquet")),
            "windows": str(_file(windows, Path(directory) / "windows.parquet")),
            "rows": rows,
        }
        schema = pq.read_schema(asked["reference"])
        asked["numbers"] = [f.name for f in schema if pa.types.is_floating(f.type)]
        return Told(**answered(python, _APP, asked))


def answered(python: Path, app: Path, asked: dict[str, Any]) -> Any:
    """Run a script of `apps/` that reads JSON and writes JSON.

    Raises:
        Absent: it failed.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), str(app)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise Absent(f"{app.name} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _file(rows: pa.Table | Path, path: Path) -> Path:
    if isinstance(rows, Path):
        return rows
    pq.write_table(rows, path)
    return path
