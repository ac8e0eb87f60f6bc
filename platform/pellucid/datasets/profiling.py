"""Profiles of a canonical Parquet file: `analysis` sums up what is counted here.

DuckDB counts the distinct values of scalars; images and lists are streamed past it and digested.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.analysis.profiles import Counted, profile_numbers, profile_strings
from pellucid.datasets.engine import connection, first_row, literal, storage_errors
from pellucid.datasets.object_profiling import profile_objects
from pellucid.resources.datasets import ColumnProfile
from pellucid.schema import StorageType

_BATCH_ROWS = 2**16
_CELLS_A_QUERY = 2**22  # columns are stacked up to this, because each query costs some time


def profile_file(
    path: Path, types: dict[str, StorageType], *, file: str, scratch: Path
) -> list[ColumnProfile]:
    """Every column's profile, exact, in bounded memory (DuckDB spills into `scratch`).

    Raises:
        StorageFull: no space was left to spill.
    """
    scalars = {name: storage for name, storage in types.items() if not storage.is_object}
    with storage_errors(file):
        found = {profile.name: profile for profile in _scalars(path, list(types), scalars, scratch)}
        for name, storage in types.items():
            if storage.is_object:
                found[name] = profile_objects(path, name, storage, file)
    return [found[name] for name in types]


def _scalars(
    path: Path, names: list[str], types: dict[str, StorageType], scratch: Path
) -> list[ColumnProfile]:
    """The profiles of some of the file's columns."""
    if not types:
        return []
    at = {name: index for index, name in enumerate(names)}
    with connection(scratch / "spill") as engine:
        aliases = ", ".join(f"c{index}" for index in range(len(names)))
        relation = (
            f"(SELECT * FROM read_parquet({literal(str(path))}, hive_partitioning=false)) "
            f"AS t({aliases})"
        )
        counts = ", ".join(f"count(c{at[name]})" for name in types)
        found = first_row(engine, f"SELECT count(*), {counts} FROM {relation}")
        assert found is not None
        rows, *counted = found
        present = dict(zip((at[name] for name in types), counted, strict=True))
        profiles: dict[int, ColumnProfile] = {}
        for storage, stack in _stacks({at[name]: kind for name, kind in types.items()}, rows):
            batches_of = groupby(_counted(engine, relation, storage, stack), key=itemgetter(0))
            for index, batches in batches_of:
                profiles[index] = _profile(
                    names[index],
                    storage,
                    ((values, counts) for _, values, counts in batches),
                    rows=rows,
                    present=present[index],
                )
    return [
        profiles.get(at[name]) or _profile(name, storage, (), rows=rows, present=0)
        for name, storage in types.items()
    ]


def _stacks(types: dict[int, StorageType], rows: int) -> Iterator[tuple[StorageType, list[int]]]:
    """Columns of one type, as many as one query should take."""
    size = max(1, _CELLS_A_QUERY // max(rows, 1))
    for storage in StorageType:
        columns = [index for index, other in types.items() if other is storage]
        for start in range(0, len(columns), size):
            yield storage, columns[start : start + size]


def _profile(
    name: str, storage: StorageType, batches: Iterable[Counted], *, rows: int, present: int
) -> ColumnProfile:
    if storage is StorageType.STRING:
        return profile_strings(name, batches, rows=rows, present=present)
    return profile_numbers(name, storage, batches, rows=rows, present=present)


def _counted(
    engine: duckdb.DuckDBPyConnection, relation: str, storage: StorageType, columns: list[int]
) -> Iterator[tuple[int, NDArray[np.generic], NDArray[np.int64]]]:
    """For each column, its distinct values in ascending order, each with its count."""
    value = "epoch_us(v)" if storage is StorageType.TIMESTAMP else "v"
    cells = ", ".join(f"c{index}" for index in columns)
    result = engine.sql(
        f"SELECT i, {value} AS value, count(*) AS n FROM "
        f"(SELECT unnest({columns}) AS i, unnest([{cells}]) AS v FROM {relation}) "
        "WHERE v IS NOT NULL GROUP BY i, v ORDER BY i, v"
    )
    batch: pa.RecordBatch
    for batch in result.to_arrow_reader(_BATCH_ROWS):
        index, values, counts = (c.to_numpy(zero_copy_only=False) for c in batch.columns)
        if storage is StorageType.TIMESTAMP:
            values = values / 1e6
        ends = [*np.flatnonzero(np.diff(index)) + 1, len(index)]
        for start, end in pairwise([0, *ends]):
            if end > start:
                yield int(index[start]), values[start:end], counts[start:end]
