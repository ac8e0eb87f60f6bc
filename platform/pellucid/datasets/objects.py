"""Columns of images and of lists: streamed from Parquet past DuckDB, and checked on the way.

DuckDB reads 2,048 rows at once, which of photographs are gigabytes; here a batch has as many rows
as take some megabytes. Every image is decoded once, in threads, to find those that are damaged.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pellucid.datasets.content import ARROW_TYPES
from pellucid.datasets.readers.source import Source, SourceColumn
from pellucid.errors import InvalidData
from pellucid.raw import images
from pellucid.schema import StorageType

MAX_IMAGE_BYTES = 2**26
_BATCH_BYTES = 2**24
_BATCH_ROWS = 2048
_BUFFER = 2**20
_AT_ONCE = 32  # images that a thread takes
_THUMBNAIL = (8, 8, 3)  # what an image is decoded to, only to see that it can be


def read_batches(path: Path, columns: list[str], file: str) -> Iterator[pa.RecordBatch]:
    """Some columns of a Parquet file, a few megabytes of rows at a time.

    Raises:
        InvalidData: a page is damaged.
    """
    with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as parquet:
        try:
            yield from parquet.iter_batches(_rows_of(parquet, columns), columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise InvalidData(
                f"The file cannot be read: {str(error).splitlines()[0]}",
                where={"file": file},
                remedy="It may be damaged: write it again.",
            ) from error


def read_objects(source: Source, max_cell_bytes: int) -> Iterator[pa.RecordBatch]:
    """The source's columns of images and lists, canonical.

    Raises:
        InvalidData: an image is damaged or too large, or a list holds what is no finite number;
            the error names the row.
    """
    assert source.objects is not None
    columns = [column for column in source.columns if column.is_object]
    named_by = source.objects.named_by
    names = [column.name for column in columns] + ([named_by] if named_by else [])
    row = 1
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in read_batches(source.objects.path, names, source.file):
            called = batch.column(named_by) if named_by else None
            arrays = [
                _Cells(source.file, column, row, called).canonical(
                    batch.column(column.name), pool, max_cell_bytes
                )
                for column in columns
            ]
            row += batch.num_rows
            yield pa.RecordBatch.from_arrays(arrays, names[: len(columns)])


class _Cells:
    """One column of one batch, whose first row is `row`."""

    def __init__(self, file: str, column: SourceColumn, row: int, called: pa.Array | None) -> None:
        self._file, self._column, self._row, self._called = file, column, row, called

    def canonical(self, cells: pa.Array, pool: ThreadPoolExecutor, max_cell_bytes: int) -> pa.Array:
        if self._column.storage is StorageType.BINARY:
            return self._images(cells, pool)
        return self._lists(cells, max_cell_bytes)

    def _images(self, cells: pa.Array, pool: ThreadPoolExecutor) -> pa.Array:
        if pa.types.is_struct(cells.type):
            cells = self._embedded(cells)
        found = cells.cast(ARROW_TYPES[StorageType.BINARY])
        large = np.flatnonzero(
            pc.fill_null(pc.binary_length(found), 0).to_numpy() > MAX_IMAGE_BYTES
        )
        if len(large):
            raise self._error(
                int(large[0]), f"The image has more than {MAX_IMAGE_BYTES:,} bytes.", "Shrink it."
            )
        starts = range(0, len(found), _AT_ONCE)
        for start, damage in zip(
            starts,
            pool.map(_damage, (found[start : start + _AT_ONCE] for start in starts)),
            strict=True,
        ):
            if damage is not None:
                index, fault = damage
                raise self._error(start + index, fault.message, fault.remedy) from fault
        return found

    def _embedded(self, cells: pa.Array) -> pa.Array:
        """Of Hugging Face's struct of bytes and path, the bytes."""
        found = pc.struct_field(cells, "bytes")
        if "path" in [field.name for field in cells.type]:
            elsewhere = pc.and_(pc.is_null(found), pc.is_valid(pc.struct_field(cells, "path")))
            index = pc.index(elsewhere, True).as_py()
            if index >= 0:
                raise self._error(
                    index,
                    "The image is not in the file: the row has its path only.",
                    "Write the bytes into the file: `embed_external_files=True`.",
                )
        return found

    def _lists(self, cells: pa.Array, max_cell_bytes: int) -> pa.Array:
        lists = self._floats(cells)
        counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        long = np.flatnonzero(counts * 8 > max_cell_bytes)
        if len(long):
            raise self._error(
                int(long[0]),
                f"The list of {counts[long[0]]:,} numbers has more than {max_cell_bytes:,} bytes.",
                "Cut it into windows, or raise PELLUCID_MAX_CELL_BYTES.",
            )
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        elements = lists.flatten()
        infinite = pc.index(pc.is_inf(elements), True).as_py()
        if infinite >= 0:
            raise self._error(
                int(np.searchsorted(offsets, infinite, side="right")) - 1,
                "A number of the list is infinite.",
                "Write a finite number, or null where it is missing.",
            )
        missing = pa.scalar(None, pa.float64())
        numbers = pc.if_else(pc.is_nan(elements), missing, elements)
        return pa.ListArray.from_arrays(pa.array(offsets), numbers, mask=lists.is_null())

    def _floats(self, cells: pa.Array) -> pa.Array:
        kind = ARROW_TYPES[StorageType.LIST]
        try:
            return cells.cast(kind)
        except pa.ArrowInvalid:
            for index in range(len(cells)):
                try:
                    cells.take([index]).cast(kind)
                except pa.ArrowInvalid as error:
                    raise self._error(
                        index,
                        f"The list cannot be read as 64-bit floats: {error}",
                        "Use numbers that a double holds exactly.",
                    ) from error
            raise

    def _error(self, index: int, message: str, remedy: str) -> InvalidData:
        where: dict[str, Any] = {"file": self._file, "row": self._row + index}
        if self._called is not None:
            where["member"] = self._called[index].as_py()
        return InvalidData(message, where=where | {"column": self._column.name}, remedy=remedy)


def _damage(cells: pa.LargeBinaryArray) -> tuple[int, InvalidData] | None:
    """The first image that cannot be decoded, and why."""
    for index, cell in enumerate(cells):
        if cell.is_valid:
            try:
                images.decode(cell.as_py(), _THUMBNAIL)
            except InvalidData as error:
                return index, error
    return None


def _rows_of(parquet: pq.ParquetFile, columns: list[str]) -> int:
    """How many rows a batch should have."""
    largest = 1.0
    for index in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(index)
        sizes = (group.column(i) for i in range(group.num_columns))
        total = sum(
            c.total_uncompressed_size
            for c in sizes
            if any(c.path_in_schema == n or c.path_in_schema.startswith(n + ".") for n in columns)
        )
        largest = max(largest, total / max(group.num_rows, 1))
    return int(np.clip(_BATCH_BYTES / largest, 1, _BATCH_ROWS))
