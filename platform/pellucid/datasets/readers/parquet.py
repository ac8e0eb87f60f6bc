"""Parquet: the columns come with types, which map to the canonical ones."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.datasets.engine import literal
from pellucid.datasets.readers.source import Form, Source, SourceColumn, check_names, unreadable
from pellucid.errors import InvalidData
from pellucid.schema import StorageType

MAGIC = b"PAR1"


def open_parquet(path: Path, file: str) -> Source:
    """The relation of a Parquet file.

    Raises:
        InvalidData: the file is damaged, or a column is nested, binary or of an unknown type.
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
    cells = ", ".join(_cell(f"c{i}", column.storage) for i, column in enumerate(columns))
    relation = f"(SELECT {cells} FROM {table} AS t({aliases}))"
    return Source(file, relation, columns, lambda _, error: unreadable(file, error))


def _cell(name: str, storage: StorageType) -> str:
    """Of a number that is NaN, pandas says that it is missing."""
    if storage is StorageType.FLOAT64:
        number = f"CAST({name} AS DOUBLE)"
        return f"CASE WHEN NOT isnan({number}) THEN {number} END AS {name}"
    return name


def _storage_type(field: pa.Field, file: str) -> StorageType:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    for accepts, storage in _STORAGE_TYPES:
        if accepts(kind):
            return storage
    raise InvalidData(
        f"The type {field.type} cannot be used.",
        where={"file": file, "column": field.name},
        remedy="Flatten nested columns, and drop or convert binary ones, before registering.",
    )


_STORAGE_TYPES = (
    (pa.types.is_integer, StorageType.INT64),
    (pa.types.is_floating, StorageType.FLOAT64),
    (pa.types.is_decimal, StorageType.FLOAT64),
    (pa.types.is_boolean, StorageType.BOOL),
    (pa.types.is_timestamp, StorageType.TIMESTAMP),
    (pa.types.is_date, StorageType.TIMESTAMP),
    (pa.types.is_string, StorageType.STRING),
    (pa.types.is_large_string, StorageType.STRING),
    (pa.types.is_string_view, StorageType.STRING),
    (pa.types.is_null, StorageType.STRING),
)
