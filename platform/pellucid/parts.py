"""Predictions of more rows than memory holds: written in parts, which become one file.

A part is a Parquet file with the predictions of some rows beside the columns that are kept. It is
there whole or not at all, so whoever scores on after an interruption leaves out what is there.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq

from pellucid.errors import InvalidData, InvalidRows

Table = Any  # pyarrow.Table: pyarrow has no types


def suffix_of(path: Path) -> str:
    """.csv or .parquet. Raises `InvalidData` for any other."""
    if path.suffix not in (".csv", ".parquet"):
        raise InvalidData(
            "The file is neither .csv nor .parquet.",
            where={"file": str(path)},
            remedy="Convert it, or rename it.",
        )
    return path.suffix


def divide(
    names: Sequence[str], inputs: Sequence[str], keep: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The columns that the model takes, and those that are kept: `keep`, or all others.

    Raises:
        InvalidRows: a column to keep is not there, or none that the model takes.
    """
    remedy = f"There are: {', '.join(names)}."
    unknown = [name for name in keep or () if name not in names]
    if unknown:
        raise InvalidRows(f"There is no column {unknown[0]!r} to keep.", remedy=remedy)
    known = [name for name in names if name in inputs]
    if not known and len(inputs) == 1:  # the features of a matrix
        known = [name for name in names if name not in (keep or ())]
    if not known:
        raise InvalidRows(
            f"There is no column that the model takes: {', '.join(inputs)}.", remedy=remedy
        )
    return known, [name for name in names if name not in known] if keep is None else list(keep)


def beside(kept: Table, predictions: Table) -> Table:
    """The kept columns, then the predictions.

    A kept column that has the name of a prediction, such as a target `label`, is `given_label`.
    """
    columns: dict[str, Any] = {}
    for name, column in zip(kept.column_names, kept.columns, strict=True):
        while name in predictions.column_names or name in columns:
            name = f"given_{name}"
        columns[name] = column
    columns |= zip(predictions.column_names, predictions.columns, strict=True)
    return pa.table(columns).replace_schema_metadata(predictions.schema.metadata)


def write_part(table: Table, path: Path) -> None:
    """Write a part: whole, or not at all."""
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial)
    _commit(partial, path)


def join(parts: Sequence[Path], out: Path) -> None:
    """The parts as one file, Parquet or CSV by its suffix: whole, or not at all.

    Raises:
        InvalidRows: there are no parts, or the columns of one are of other types.
    """
    if not parts:
        raise InvalidRows("There are no rows.", where={"file": str(out)})
    text = out.suffix == ".csv"
    partial = out.with_name(f"{out.name}.partial")
    first = pq.read_schema(parts[0])
    schema = flat(first.empty_table()).schema if text else first
    try:
        with (pa.csv.CSVWriter if text else pq.ParquetWriter)(partial, schema) as writer:
            for table in _tables(parts):
                if table.schema != first:
                    raise _unlike(first, table.schema)
                writer.write_table(flat(table) if text else table)
        _commit(partial, out)
    finally:
        partial.unlink(missing_ok=True)


def _commit(partial: Path, path: Path) -> None:
    """Give a file its name once its content would outlive a loss of power."""
    with partial.open("r+b") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _tables(parts: Sequence[Path]) -> Iterator[Table]:
    for part in parts:
        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def _unlike(first: Any, other: Any) -> InvalidRows:
    name = next(field.name for field in first if other.field(field.name) != field)
    return InvalidRows(
        f"The values of {name!r} are {first.field(name).type} at first and "
        f"{other.field(name).type} later: one file cannot hold both.",
        remedy="Score rows of one length at once.",
    )


def flat(table: Table) -> Table:
    """A table whose columns of fixed-size lists are a column for each value: y_1, y_2, ..."""
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values, size = column, 1
        while pa.types.is_fixed_size_list(values.type):
            size *= values.type.list_size
            values = pa.compute.list_flatten(values)
        if values is column:
            columns[name] = column
            continue
        rows = pa.array(range(table.num_rows), pa.int64())
        for i in range(size):
            places = pa.compute.add(pa.compute.multiply(rows, size), i)
            columns[f"{name}_{i + 1}"] = values.take(places)
    return pa.table(columns)
