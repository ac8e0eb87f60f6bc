"""From a file of the user's to canonical Parquet, streamed: find the types, then convert.

DuckDB converts the scalars, `objects` the images and lists; their batches are joined row by row.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.datasets.content import ARROW_TYPES, ContentHash
from pellucid.datasets.engine import connection, storage_errors
from pellucid.datasets.faults import Conversion
from pellucid.datasets.inference import infer
from pellucid.datasets.objects import read_objects
from pellucid.datasets.readers import open_source
from pellucid.datasets.readers.source import Source, unreadable
from pellucid.errors import InvalidData
from pellucid.schema import Role, StorageType

_READ_ROWS = 2048
_GROUP_ROWS = 2**17
_GROUP_BYTES = 2**26


class Ingested(NamedTuple):
    """What was written: its content's digest, rows, and columns with their types.

    `roles` are those that the format tells.
    """

    sha256: str
    rows: int
    types: dict[str, StorageType]
    roles: dict[str, Role]


def ingest(
    source: Path,
    target: Path,
    *,
    file: str,
    scratch: Path,
    types: Mapping[str, StorageType],
    max_cell_bytes: int,
) -> Ingested:
    """Write a file of any format that `open_source` knows as canonical Parquet, in bounded memory.

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
                scalars = {c.name: c.type for c in conversions}
                columns = {c.name: scalars.get(c.name, c.storage) for c in opened.columns}
                batches = _batches(engine, opened, conversions, columns, max_cell_bytes)
                sha256, rows = _write(batches, columns, target)
        except duckdb.Error as error:
            raise opened.explain(engine, error) from error
    if not rows:
        raise InvalidData(
            "The file has a header but no rows.",
            where={"file": file},
            remedy="Send at least one row.",
        )
    return Ingested(sha256, rows, columns, dict(opened.roles))


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
    batches: Iterator[pa.RecordBatch], types: Mapping[str, StorageType], target: Path
) -> tuple[str, int]:
    schema = pa.schema([(name, ARROW_TYPES[storage]) for name, storage in types.items()])
    digest = ContentHash(schema)
    # Dictionaries and bounds of images and lists cost space and are of no use.
    scalars = [name for name, storage in types.items() if not storage.is_object]
    plain: bool | list[str] = True if len(scalars) == len(types) else scalars
    with target.open("wb") as file:
        with pq.ParquetWriter(
            file, schema, compression="zstd", use_dictionary=plain, write_statistics=plain
        ) as writer:
            for group in _row_groups(batches, schema):
                digest.update(group)
                writer.write_batch(group, row_group_size=_GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), digest.rows


def _batches(
    engine: duckdb.DuckDBPyConnection,
    source: Source,
    conversions: list[Conversion],
    names: Iterable[str],
    max_cell_bytes: int,
) -> Iterator[pa.RecordBatch]:
    """The columns by name, in order."""
    streams: list[Iterator[pa.RecordBatch]] = []
    if conversions:
        values = ", ".join(f"{c.value} AS v{index}" for index, c in enumerate(conversions))
        reader = engine.sql(f"SELECT {values} FROM {source.relation}").to_arrow_reader(_READ_ROWS)
        scalars = [c.name for c in conversions]
        streams.append(batch.rename_columns(scalars) for batch in reader)
    if source.objects:
        streams.append(read_objects(source, max_cell_bytes))
    for parts in _aligned(streams):
        columns = {name: part.column(name) for part in parts for name in part.schema.names}
        yield pa.RecordBatch.from_arrays([columns[name] for name in names], list(names))


def _aligned(streams: list[Iterator[pa.RecordBatch]]) -> Iterator[list[pa.RecordBatch]]:
    """Streams of the same rows, cut to the same lengths."""
    held = [next(stream, None) for stream in streams]
    while all(batch is not None for batch in held):
        batches = [batch for batch in held if batch is not None]
        rows = min(batch.num_rows for batch in batches)
        yield [batch[:rows] for batch in batches]
        held = [
            batch[rows:] if batch.num_rows > rows else next(stream, None)
            for batch, stream in zip(batches, streams, strict=True)
        ]
    assert held == [None] * len(streams), "the columns differ in length"


def _row_groups(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches of canonical types, as large as a row group should be."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
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
