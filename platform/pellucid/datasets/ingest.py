"""From a file of the user's to canonical Parquet, streamed: find the types, then convert."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.datasets.content import ARROW_TYPES, ContentHash
from pellucid.datasets.engine import connection, storage_errors
from pellucid.datasets.faults import Conversion
from pellucid.datasets.inference import infer
from pellucid.datasets.readers import open_source
from pellucid.datasets.readers.source import Source, unreadable
from pellucid.errors import InvalidData
from pellucid.schema import StorageType

_READ_ROWS = 2048
_GROUP_ROWS = 2**17
_GROUP_BYTES = 2**26


class Ingested(NamedTuple):
    """What was written: its content's digest, rows, and columns with their types."""

    sha256: str
    rows: int
    types: dict[str, StorageType]


def ingest(
    source: Path,
    target: Path,
    *,
    file: str,
    scratch: Path,
    types: Mapping[str, StorageType],
    max_cell_bytes: int,
) -> Ingested:
    """Write a CSV, Parquet or JSON lines file as canonical Parquet, in bounded memory.

    Args:
        source: the bytes.
        target: the Parquet file to write.
        file: what the user calls the source.
        scratch: an empty directory, for spilling and converted copies.
        types: types to use instead of the inferred ones.
        max_cell_bytes: the largest cell that is taken.

    Raises:
        InvalidData: the content cannot be taken; the error names the row and column.
        StorageFull: no space was left.
    """
    with connection(scratch / "spill") as engine:
        opened = _open(engine, source, file, scratch, max_cell_bytes)
        check_columns(types, [column.name for column in opened.columns], file, "types")
        try:
            with storage_errors(file):
                conversions = infer(engine, opened, types, max_cell_bytes)
                sha256, rows = _write(engine, opened, conversions, target)
        except duckdb.Error as error:
            raise opened.explain(engine, error) from error
    if not rows:
        raise InvalidData(
            "The file has a header but no rows.",
            where={"file": file},
            remedy="Send at least one row.",
        )
    return Ingested(sha256, rows, {c.name: c.type for c in conversions})


def _open(
    engine: duckdb.DuckDBPyConnection, path: Path, file: str, scratch: Path, max_cell_bytes: int
) -> Source:
    try:
        with storage_errors(file):
            return open_source(engine, path, file, scratch=scratch, max_cell_bytes=max_cell_bytes)
    except duckdb.Error as error:
        raise unreadable(file, error) from error


def check_columns(given: Mapping[str, object], names: list[str], file: str, key: str) -> None:
    """Overrides must name columns that are there.

    Raises:
        InvalidData: they do not.
    """
    for name in given:
        if name not in names:
            raise InvalidData(
                f"`{key}` names the column {name!r}, which is not there.",
                where={"file": file, "column": name},
                remedy=f"The columns are: {', '.join(names[:50])}.",
            )


def _write(
    engine: duckdb.DuckDBPyConnection,
    source: Source,
    conversions: list[Conversion],
    target: Path,
) -> tuple[str, int]:
    schema = pa.schema([(c.name, ARROW_TYPES[c.type]) for c in conversions])
    digest = ContentHash(schema)
    values = ", ".join(f"{c.value} AS v{index}" for index, c in enumerate(conversions))
    with target.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            reader = engine.sql(f"SELECT {values} FROM {source.relation}").to_arrow_reader(
                _READ_ROWS
            )
            for group in _row_groups(reader, schema):
                digest.update(group)
                writer.write_batch(group, row_group_size=_GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), digest.rows


def _row_groups(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches of canonical types, as large as a row group should be."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        held.append(_canonical(batch, schema))
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.concat_batches(held)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.concat_batches(held)


def _canonical(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
