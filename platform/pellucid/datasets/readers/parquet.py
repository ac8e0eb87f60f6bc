"""Parquet: the columns come with types, which map to the canonical ones."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.datasets.engine import literal
from pellucid.datasets.readers.source import (
    Form,
    Objects,
    Source,
    SourceColumn,
    check_names,
    unreadable,
)
from pellucid.errors import InvalidData
from pellucid.schema import StorageType

MAGIC = b"PAR1"
_types = pa.types


def open_parquet(path: Path, file: str) -> Source:
    """The relation of a Parquet file.

    Binary columns are images, as are Hugging Face's structs of `bytes` and `path`.

    Raises:
        InvalidData: the file is damaged, or a column is of a type that has no place here.
    """
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InvalidData(
            f"The file is not a whole Parquet file: {error}",
            where={"file": file},
            remedy="Write it again, or send it again: it may have been cut off.",
        ) from error
    check_names(schema.names, file)
    columns = tuple(
        SourceColumn(field.name, Form.TYPED, _storage_type(field, file)) for field in schema
    )
    aliases = ", ".join(f"c{index}" for index in range(len(columns)))
    table = f"(SELECT * FROM read_parquet({literal(str(path))}, hive_partitioning=false))"
    cells = ", ".join(
        _cell(f"c{i}", column.storage) for i, column in enumerate(columns) if not column.is_object
    )
    relation = f"(SELECT {cells or 'NULL'} FROM {table} AS t({aliases}))"
    objects = Objects(path) if any(column.is_object for column in columns) else None
    return Source(file, relation, columns, lambda _, error: unreadable(file, error), objects)


def _cell(name: str, storage: StorageType) -> str:
    """Of a number that is NaN, pandas says that it is missing."""
    if storage is StorageType.FLOAT64:
        number = f"CAST({name} AS DOUBLE)"
        return f"CASE WHEN NOT isnan({number}) THEN {number} END AS {name}"
    return name


def _storage_type(field: pa.Field, file: str) -> StorageType:
    kind = field.type.value_type if _types.is_dictionary(field.type) else field.type
    for accepts, storage in _STORAGE_TYPES:
        if accepts(kind):
            return storage
    raise InvalidData(
        f"The type {field.type} cannot be used.",
        where={"file": file, "column": field.name},
        remedy="Use numbers, texts, dates, images (bytes) or lists of numbers; flatten the rest.",
    )


def _is_number(kind: pa.DataType) -> bool:
    kinds = (_types.is_integer, _types.is_floating, _types.is_decimal, _types.is_null)
    return any(accepts(kind) for accepts in kinds)


def _is_list(kind: pa.DataType) -> bool:
    lists = (_types.is_list, _types.is_large_list, _types.is_fixed_size_list)
    return any(accepts(kind) for accepts in lists) and _is_number(kind.value_type)


def _is_binary(kind: pa.DataType) -> bool:
    kinds = (_types.is_binary, _types.is_large_binary, _types.is_binary_view)
    return any(accepts(kind) for accepts in kinds)


def _is_image(kind: pa.DataType) -> bool:
    """Bytes, or a struct of bytes and perhaps the path that they came from."""
    if not _types.is_struct(kind):
        return _is_binary(kind)
    fields = {field.name: field.type for field in kind}
    return fields.keys() <= {"bytes", "path"} and _is_binary(fields.get("bytes", pa.null()))


_STORAGE_TYPES = (
    (_types.is_integer, StorageType.INT64),
    (_types.is_floating, StorageType.FLOAT64),
    (_types.is_decimal, StorageType.FLOAT64),
    (_types.is_boolean, StorageType.BOOL),
    (_types.is_timestamp, StorageType.TIMESTAMP),
    (_types.is_date, StorageType.TIMESTAMP),
    (_types.is_string, StorageType.STRING),
    (_types.is_large_string, StorageType.STRING),
    (_types.is_string_view, StorageType.STRING),
    (_types.is_null, StorageType.STRING),
    (_is_list, StorageType.LIST),
    (_is_image, StorageType.BINARY),
)
