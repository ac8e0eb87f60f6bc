"""Profiles of a canonical Parquet file: DuckDB counts distinct values, `analysis` sums them up."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pellucid.analysis.profiles import Counted, profile_numbers, profile_strings
from pellucid.datasets.engine import connection, first_row, literal, storage_errors
from pellucid.resources import ColumnProfile
from pellucid.schema import StorageType

_BATCH_ROWS = 2**16


def profile_file(
    path: Path, types: dict[str, StorageType], *, file: str, scratch: Path
) -> list[ColumnProfile]:
    """Every column's profile, exact, in bounded memory (DuckDB spills into `scratch`).

    Raises:
        StorageFull: no space was left to spill.
    """
    with storage_errors(file), connection(scratch / "spill") as engine:
        aliases = ", ".join(f"c{index}" for index in range(len(types)))
        relation = (
            f"(SELECT * FROM read_parquet({literal(str(path))}, hive_partitioning=false)) "
            f"AS t({aliases})"
        )
        counts = ", ".join(f"count(c{index})" for index in range(len(types)))
        found = first_row(engine, f"SELECT count(*), {counts} FROM {relation}")
        assert found is not None
        rows, *present = found
        return [
            _profile(engine, relation, f"c{index}", name, storage, rows, present[index])
            for index, (name, storage) in enumerate(types.items())
        ]


def _profile(
    engine: duckdb.DuckDBPyConnection,
    relation: str,
    column: str,
    name: str,
    storage: StorageType,
    rows: int,
    present: int,
) -> ColumnProfile:
    value = f"epoch_us({column})" if storage is StorageType.TIMESTAMP else column
    batches = _counted(engine, relation, value)
    if storage is StorageType.STRING:
        return profile_strings(name, batches, rows=rows, present=present)
    if storage is StorageType.TIMESTAMP:
        batches = ((values.astype(np.float64) / 1e6, counts) for values, counts in batches)
    return profile_numbers(name, storage, batches, rows=rows, present=present)


def _counted(engine: duckdb.DuckDBPyConnection, relation: str, value: str) -> Iterator[Counted]:
    """The distinct values in ascending order, each with its count."""
    result = engine.sql(
        f"SELECT {value} AS v, count(*) AS n FROM {relation} WHERE v IS NOT NULL "
        "GROUP BY v ORDER BY v"
    )
    batch: pa.RecordBatch
    for batch in result.to_arrow_reader(_BATCH_ROWS):
        values, counts = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
        yield values, counts.astype(np.int64)
