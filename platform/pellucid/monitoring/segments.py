"""Segments: Parquet files, each sealed from one spool and never changed."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pellucid.monitoring import spools
from pellucid.monitoring.ids import TYPE

_GROUP_ROWS = 2**16
_GROUP_BYTES = 2**26


def seal(spool: Path, segment: Path) -> None:
    """Turn a spool into a segment, once: after a crash at any point it may be called again.

    Raises:
        OSError: it cannot be written; the spool is still there.
    """
    if not segment.exists():
        segment.parent.mkdir(parents=True, exist_ok=True)
        partial = segment.with_suffix(".part")
        try:
            if _convert(spool, partial):
                _sync(partial)
                partial.rename(segment)
                _sync(segment.parent)
        finally:
            partial.unlink(missing_ok=True)  # where that went wrong: a full disk needs the room
    spool.unlink(missing_ok=True)


def find(segment: Path, prediction: uuid.UUID) -> pa.RecordBatch | None:
    """The row with an id: of each group of rows only the smallest and the largest id are read."""
    key = prediction.bytes
    with pq.ParquetFile(segment) as file:
        for group in range(file.num_row_groups):
            bounds = file.metadata.row_group(group).column(0).statistics
            if bounds is not None and bounds.has_min_max and not bounds.min <= key <= bounds.max:
                continue
            column = file.read_row_group(group, columns=["id"]).column("id")
            row = position(column.combine_chunks(), key)
            if row is not None:
                return file.read_row_group(group).slice(row, 1).combine_chunks().to_batches()[0]
    return None


def position(column: pa.Array, key: bytes) -> int | None:
    """Where an id stands in a column of ids."""
    found = pc.index(pc.equal(column, pa.scalar(key, TYPE)), True).as_py()
    return None if found < 0 else int(found)


def scan(segment: Path, columns: list[str], where: pc.Expression) -> Iterator[pa.RecordBatch]:
    """A segment's rows, a group at a time; groups that cannot hold any are not read."""
    # By default a file's bytes are read ahead, and held until its last row has been read.
    unbuffered = ds.ParquetFragmentScanOptions(pre_buffer=False)
    form = ds.ParquetFileFormat(default_fragment_scan_options=unbuffered)
    data = ds.dataset(segment, format=form)
    have = [name for name in columns if name in data.schema.names]
    options = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
    yield from data.scanner(columns=have, filter=where, **options).to_batches()


def _convert(spool: Path, path: Path) -> int:
    """Write a spool's whole batches as Parquet. Returns the rows; without any it is no segment."""
    rows = 0
    with pa.OSFile(str(spool)) as source:
        schema = spools.schema_of(source)
        if schema is None:
            return 0
        # Measurements seldom repeat, nor is one of their bounds ever asked for: dictionaries and
        # bounds of all columns would take twice as long to write, and Zstandard as long again.
        options = {
            "compression": "lz4",
            "use_dictionary": ["model", "version"],
            "write_statistics": ["id", "time"],
        }
        with pq.ParquetWriter(path, schema, **options) as writer:
            for group in _groups(spools.batches(source)):
                table = pa.Table.from_batches(group)
                writer.write_table(table, row_group_size=_GROUP_ROWS)
                rows += len(table)
    return rows


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        group.append(batch)
        rows += len(batch)
        size += batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
