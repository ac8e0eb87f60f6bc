"""What a pass takes: a large file against a stored profile, Evidently beside it, a served row."""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from inference.acceptance import Promise
from inference.processes import Absent

from pellucid.analysis.watching.profiles import Profile
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid_api.oddities import Live
from watching.judged import reference_of
from watching.peers import answered, evidently
from watching.populations import Population, mixed, table
from watching.scale import Scale

TITLE = "Speed"
ROWS, COLUMNS = 10_000_000, 50
PEER_ROWS, PEER_COLUMNS = 1_000_000, 10
REFERENCE_ROWS = 100_000
ROW_COLUMNS, BATCHES, COUNTED = 30, (16, 64, 1_000, 10_000), 20_000
_PIECE = 2**20
_ROUNDS = 3
_APP = Path(__file__).parent / "apps" / "profile_file.py"


def measure(scale: Scale) -> dict[str, Any]:
    """Each in processes of their own, one after the other, on the same files."""
    with tempfile.TemporaryDirectory() as directory:
        return {
            "large": _large(Path(directory), scale.rows(ROWS)),
            "beside": _beside(Path(directory), scale),
            "batches": _batches(),
        }


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    large, beside = found["large"], found["beside"]
    title = f"{large['rounds'][0]['rows'] / 1e6:g}M x {large['columns']} of Parquet"
    yield Promise(f"{title}: seconds", _median(large["rounds"], "seconds"), 30, True)
    yield Promise(f"{title}: peak MB", max(each["peak_mb"] for each in large["rounds"]), 500, True)
    if theirs := beside.get("evidently"):
        over = theirs["seconds"] / _median(beside["ours"], "seconds")
        title = f"{beside['rows'] / 1e6:g}M x {beside['columns']}"
        yield Promise(f"{title}: times faster than Evidently's preset", over, 50)
    worst = max(found["batches"].values())
    text = f"microseconds a row of {ROW_COLUMNS} columns in the serving process, worst batches"
    yield Promise(text, worst, 5, at_most=True)


def page(found: dict[str, Any]) -> Iterator[str]:
    large, beside = found["large"], found["beside"]
    yield (
        "Each measurement is a process of its own on two cores: seconds of loading the profile, "
        "reading and counting all rows, and judging; the whole process with its start; its peak "
        "memory, interpreter and libraries included. Medians of the rounds. Evidently reads both "
        "files and compares them; ours has the reference as a stored profile."
    )
    yield from ("", "| | rows | seconds | of them judging | whole process | peak MB |")
    yield "|---|---:|---:|---:|---:|---:|"
    named = {
        f"Pellucid, {large['columns']} columns, {large['bytes'] / 1e9:.1f} GB": large["rounds"],
        f"Pellucid, {beside['columns']} columns": beside["ours"],
    }
    for title, rounds in named.items():
        names = ("seconds", "judged_seconds", "process_seconds", "peak_mb")
        seconds, judged, process, peak = (_median(rounds, name) for name in names)
        yield (
            f"| {title} | {rounds[0]['rows']:,} | {seconds:.2f} | {judged:.2f} | {process:.2f} | "
            f"{peak:.0f} |"
        )
    if theirs := beside.get("evidently"):
        title = f"Evidently {theirs['version']}, {beside['columns']} columns"
        yield (
            f"| {title} | {beside['rows']:,} | {theirs['seconds']:.1f} | | | "
            f"{theirs['peak_mb']:.0f} |"
        )
    else:
        yield from ("", f"Evidently was not measured: {beside['absent']}.")
    yield from (
        "",
        f"The profile of the {beside['rows']:,} reference rows took "
        f"{beside['reference_seconds']:.1f} s, once.",
        "",
        f"Counting {ROW_COLUMNS} columns in the serving process, one thread, as the recorder does "
        "with what it wrote: small batches are counted a thousand rows at a time.",
        "",
        "| rows of a batch | microseconds a row |",
        "|---:|---:|",
    )
    for rows, microseconds in found["batches"].items():
        yield f"| {int(rows):,} | {microseconds:.2f} |"


def _median(rounds: list[dict[str, Any]], name: str) -> float:
    return statistics.median(each[name] for each in rounds)


def _large(directory: Path, rows: int) -> dict[str, Any]:
    population, rng = mixed(COLUMNS), np.random.default_rng(0)
    reference = _stored(reference_of(table(population, rng, REFERENCE_ROWS)), directory)
    file = _written(population, rng, rows, directory / "large.parquet")
    found = {"columns": COLUMNS, "bytes": file.stat().st_size}
    found["rounds"] = [_ours(reference, file) for _ in range(_ROUNDS)]
    file.unlink()
    return found


def _beside(directory: Path, scale: Scale) -> dict[str, Any]:
    """The same file with Evidently, which compares it to reference rows instead of a profile."""
    rows, population, rng = scale.rows(PEER_ROWS), mixed(PEER_COLUMNS), np.random.default_rng(1)
    reference = _written(population, rng, rows, directory / "reference.parquet")
    file = _written(population, rng, rows, directory / "window.parquet")
    started = time.perf_counter()
    stored = _stored(reference_of(pq.read_table(reference)), directory)
    found: dict[str, Any] = {"rows": rows, "columns": PEER_COLUMNS}
    found["reference_seconds"] = time.perf_counter() - started
    found["ours"] = [_ours(stored, file) for _ in range(_ROUNDS)]
    print("Evidently", file=sys.stderr, flush=True)
    try:
        told = evidently(reference, file, rows, scale.environments)
    except Absent as error:
        return found | {"absent": str(error)}
    theirs = {"seconds": told.seconds[0], "peak_mb": told.peak_mb, "version": told.version}
    return found | {"evidently": theirs}


def _batches() -> dict[str, float]:
    """Microseconds a row, in this process, on one thread: rows as they go into the log."""
    population, rng = mixed(ROW_COLUMNS), np.random.default_rng(2)
    reference = reference_of(table(population, rng, REFERENCE_ROWS))
    found = {}
    for rows in BATCHES:
        columns = table(population, rng, rows).combine_chunks()
        inputs = columns.to_struct_array().combine_chunks()
        batch = pa.RecordBatch.from_arrays([inputs], names=["inputs"])
        live = Live(reference, columns.column_names)
        found[str(rows)] = min(_counting(live, batch) for _ in range(10))
    return found


def _counting(live: Live, batch: pa.RecordBatch) -> float:
    times = max(COUNTED // len(batch), 1)
    started = time.perf_counter()
    for _ in range(times):
        live.add(batch)
        if live.due:
            live.settle()
    return (time.perf_counter() - started) / (times * len(batch)) * 1e6


def _stored(reference: Profile, directory: Path) -> Path:
    path = directory / "profile.json"
    ReferenceProfile(reference, Profile({}, {}, 0)).save(path)
    return path


def _written(population: Population, rng: np.random.Generator, rows: int, path: Path) -> Path:
    """A file with Arrow's usual row groups, of pieces so that it needs no memory for all rows."""
    schema = table(population, rng, 1).schema
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, _PIECE):
            writer.write_table(table(population, rng, min(_PIECE, rows - start)))
    return path


def _ours(reference: Path, file: Path) -> dict[str, Any]:
    asked = {"reference": str(reference), "rows": str(file)}
    started = time.perf_counter()
    found: dict[str, Any] = answered(Path(sys.executable), _APP, asked)
    return found | {"process_seconds": time.perf_counter() - started}
