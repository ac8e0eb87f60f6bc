"""The identity of a data set: SHA-256 over its canonical content.

The digest is that of these bytes, one after the other:

    "pellucid content 1\\n"
    {"rows": n, "columns": [[name, type], ...]} "\\n"   compact JSON in UTF-8, columns in order
    for each column: SHA-256 of its first stream, SHA-256 of its second stream (32 bytes each)

`type` is a `schema.StorageType`. A column's streams run over all rows:

    string, binary     first: the length in bytes as a signed 64-bit integer, -1 where missing
                       second: the bytes of all values, those of a string in UTF-8
    list<float64>      first: the count of elements as a signed 64-bit integer, -1 where missing
                       second: the elements of all values, each as an IEEE 754 double; a missing
                       element is the quiet NaN 0x7ff8000000000000, which is no number's
    any other          first: one byte, 1 where there is a value and 0 where it is missing
                       second: the value, 0 where missing: 64-bit integer, IEEE 754 double,
                       microseconds since 1970-01-01 UTC as a 64-bit integer; a boolean is one byte

All numbers are little-endian. Row groups, chunks, compression, encodings and the format of the
file that the data came from leave no trace; every cell, name, type and the order of rows and
columns do. Roles are not content.

Binary columns have 64-bit offsets: images soon are more than the 2 GiB that 32-bit offsets reach,
and rows are taken from a column as a whole. Lists keep 32-bit offsets, which count elements: 16 GiB
of them in one chunk.
"""

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.schema import StorageType

ARROW_TYPES: dict[StorageType, pa.DataType] = {
    StorageType.INT64: pa.int64(),
    StorageType.FLOAT64: pa.float64(),
    StorageType.BOOL: pa.bool_(),
    StorageType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    StorageType.STRING: pa.string(),
    StorageType.BINARY: pa.large_binary(),
    StorageType.LIST: pa.list_(pa.float64()),
}


class ContentHash:
    """The digest of a table that arrives in batches."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [[field.name, storage_type(field.type).value] for field in schema]
        self._streams = [(hashlib.sha256(), hashlib.sha256()) for _ in schema]
        self.rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        self.rows += batch.num_rows
        for column, (first, second) in zip(batch.columns, self._streams, strict=True):
            lengths_or_valid, values = _streams_of(column)
            first.update(lengths_or_valid)
            second.update(values)

    def hexdigest(self) -> str:
        """The SHA-256 of the rows taken so far."""
        header = {"rows": self.rows, "columns": self._columns}
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
        whole = hashlib.sha256(b"pellucid content 1\n" + text.encode() + b"\n")
        for first, second in self._streams:
            whole.update(first.digest() + second.digest())
        return whole.hexdigest()


def storage_type(arrow: pa.DataType) -> StorageType:
    """The storage type of a canonical Arrow type; what a list calls its elements is no matter."""
    return next(storage for storage, canonical in ARROW_TYPES.items() if canonical == arrow)


def content_hash(table: pa.Table) -> str:
    """The digest of a whole table of canonical types."""
    digest = ContentHash(table.schema)
    for batch in table.to_batches():
        digest.update(batch)
    return digest.hexdigest()


def _streams_of(column: pa.Array) -> tuple[memoryview, memoryview]:
    if pa.types.is_string(column.type):
        lengths = pc.fill_null(pc.cast(pc.binary_length(column), pa.int64()), -1)
        return _bytes_of(lengths, "<i8"), _data_of(pc.fill_null(column, ""), np.int32)
    if pa.types.is_large_binary(column.type):
        lengths = pc.fill_null(pc.binary_length(column), -1)
        return _bytes_of(lengths, "<i8"), _data_of(pc.fill_null(column, b""), np.int64)
    if pa.types.is_list(column.type):
        counts = pc.fill_null(pc.cast(pc.list_value_length(column), pa.int64()), -1)
        return _bytes_of(counts, "<i8"), _doubles_of(column.flatten())
    valid = _bytes_of(pc.cast(column.is_valid(), pa.uint8()), "u1")
    if pa.types.is_boolean(column.type):
        return valid, _bytes_of(pc.fill_null(pc.cast(column, pa.uint8()), 0), "u1")
    if pa.types.is_floating(column.type):
        return valid, _bytes_of(pc.fill_null(column, 0.0), "<f8")
    return valid, _bytes_of(pc.fill_null(pc.cast(column, pa.int64()), 0), "<i8")


def _bytes_of(column: pa.Array, dtype: str) -> memoryview:
    values: NDArray[Any] = np.ascontiguousarray(column.to_numpy(zero_copy_only=False), dtype)
    return values.data.cast("B")


def _doubles_of(elements: pa.Array) -> memoryview:
    """The elements, missing ones as the one NaN that there is."""
    values: NDArray[np.float64] = np.array(elements.to_numpy(zero_copy_only=False), "<f8")
    values[np.isnan(values)] = np.nan
    return values.data.cast("B") if len(values) else memoryview(b"")


def _data_of(column: pa.Array, offset: type[np.int32 | np.int64]) -> memoryview:
    """The bytes of all strings, as they lie in Arrow's buffer."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None:
        return memoryview(b"")
    bounds = np.frombuffer(offsets, offset)[column.offset : column.offset + len(column) + 1]
    return memoryview(data)[bounds[0] : bounds[-1]]
