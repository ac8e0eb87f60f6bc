"""Evidently's default preset, in an interpreter of its own: JSON in, JSON out.

In: {"reference": file, "windows": file, "rows": of each window, "numbers": [columns]}; Parquet
files, whose other columns are categories. Out: {"windows": [{column: drifted}], "seconds": each,
"peak_mb", "version"}.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def main() -> None:
    warnings.simplefilter("ignore")
    asked = json.load(sys.stdin)
    started = time.perf_counter()
    rows, reference = asked["rows"], pd.read_parquet(asked["reference"])
    windows = pd.read_parquet(asked["windows"])
    read = time.perf_counter() - started
    definition = DataDefinition(
        numerical_columns=asked["numbers"],
        categorical_columns=[name for name in reference if name not in asked["numbers"]],
    )
    found, seconds = [], []
    for first in range(0, len(windows), rows):
        window = windows.iloc[first : first + rows].reset_index(drop=True)
        started = time.perf_counter()
        found.append(drifted(window, reference, definition))
        seconds.append(time.perf_counter() - started)
    seconds[0] += read
    told = {"windows": found, "seconds": seconds, "version": version("evidently")}
    status = Path("/proc/self/status").read_text(encoding="ascii")
    told["peak_mb"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024  # of this process alone
    json.dump(told, sys.stdout)


def drifted(
    window: pd.DataFrame, reference: pd.DataFrame, definition: DataDefinition
) -> dict[str, bool]:
    """What the preset says of each column: p-values below the threshold, distances from it on."""
    report = Report([DataDriftPreset()])
    snapshot = report.run(
        Dataset.from_pandas(window, definition), Dataset.from_pandas(reference, definition)
    )
    told = {}
    for metric in snapshot.dict()["metrics"]:
        config = metric["config"]
        if config["type"].endswith(":ValueDrift"):
            value, limit = metric["value"], config["threshold"]
            below = "p_value" in config["method"]
            told[config["column"]] = bool(value < limit if below else value >= limit)
    return told


main()
