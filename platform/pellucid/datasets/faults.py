"""Cells that cannot be taken: where the first one is, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from pellucid.datasets import expressions as sql
from pellucid.datasets.engine import first_row
from pellucid.datasets.readers.source import Source
from pellucid.errors import InvalidData
from pellucid.schema import StorageType


@dataclass(frozen=True)
class Conversion:
    """How a column is read: `cell` and `value` are SQL over the source's relation.

    `cell` is what the file has, NULL where missing; `value` is of the type, NULL where `cell`
    cannot be read as it. Timestamps are microseconds as integers.
    """

    name: str
    type: StorageType
    cell: str
    value: str
    overridden: bool = False
    checked: bool = False  # every value is known to be of the type


def check_lengths(
    engine: duckdb.DuckDBPyConnection, source: Source, columns: list[int], limit: int
) -> None:
    """Raise `InvalidData` for the first cell of more than `limit` bytes in columns of text."""
    tests = {
        source.columns[i].name: (f"left(c{i}, 20)", f"strlen(c{i}) > {limit}") for i in columns
    }
    if found := _first(engine, source, tests):
        name, row, text = found
        raise InvalidData(
            f"The cell beginning with {text!r} has more than {limit:,} bytes.",
            where={"file": source.file, "row": row, "column": name},
            remedy="Shorten it, close an open quote, or raise PELLUCID_MAX_CELL_BYTES.",
        )


def check_values(
    engine: duckdb.DuckDBPyConnection, source: Source, conversions: list[Conversion]
) -> None:
    """Raise `InvalidData` for the first value that is not of its column's type, or infinite."""
    doubtful = {c.name: c for c in conversions if not c.checked}
    tests = {
        name: (c.cell, f"{c.cell} IS NOT NULL AND {_is_unusable(c)}")
        for name, c in doubtful.items()
    }
    if found := _first(engine, source, tests):
        name, row, text = found
        raise _unreadable(source.file, doubtful[name], row, text)


def ambiguous_date(
    engine: duckdb.DuckDBPyConnection, source: Source, name: str, text: str
) -> InvalidData:
    """The error for dates of which no row tells whether the day or the month comes first."""
    day, month = sql.timestamp(text, "day_first"), sql.timestamp(text, "month_first")
    found = _first(engine, source, {name: (text, f"{day} <> {month}")})
    assert found is not None
    _, row, date = found
    return InvalidData(
        f"The date {date!r} may have the day or the month first; no other row tells which.",
        where={"file": source.file, "row": row, "column": name},
        remedy=f"Write dates as 2011-12-31, or keep them as text: {_as_string(name)}.",
    )


def _first(
    engine: duckdb.DuckDBPyConnection, source: Source, tests: Mapping[str, tuple[str, str]]
) -> tuple[str, int, str] | None:
    """The column, row (from 1) and text of the first row that passes a column's (text, test)."""
    if not tests:
        return None
    columns = ", ".join(
        f"CAST({text} AS VARCHAR) AS t{i}, {test} AS b{i}"
        for i, (text, test) in enumerate(tests.values())
    )
    wanted = ", ".join(
        f"min(row) FILTER (b{i}), arg_min(t{i}, row) FILTER (b{i})" for i in range(len(tests))
    )
    found = first_row(
        engine,
        f"SELECT {wanted} FROM (SELECT row_number() OVER () AS row, {columns} "
        f"FROM {source.relation})",
    )
    assert found is not None
    hits = zip(tests, found[::2], found[1::2], strict=True)
    return min((hit for hit in hits if hit[1] is not None), key=lambda hit: hit[1], default=None)


def _is_unusable(conversion: Conversion) -> str:
    if conversion.type is StorageType.FLOAT64:
        return f"({conversion.value} IS NULL OR isinf({conversion.value}))"
    return f"{conversion.value} IS NULL"


_NOUNS = {
    StorageType.INT64: "an integer of 64 bits",
    StorageType.FLOAT64: "a number",
    StorageType.BOOL: "true or false",
    StorageType.TIMESTAMP: "a date or time like the others",
}


def _unreadable(file: str, conversion: Conversion, row: int, text: str) -> InvalidData:
    name = conversion.name
    where = {"file": file, "row": row, "column": name}
    if conversion.type is StorageType.FLOAT64 and sql.spells_infinity(text):
        return InvalidData(
            f"The value {text!r} is infinite.",
            where=where,
            remedy="Write a finite number, or leave the cell empty where it is missing.",
        )
    shown = text if len(text) <= 80 else text[:80] + "..."
    if conversion.overridden:
        fault = f"cannot be read as {conversion.type}, which `types` asks for"
    else:
        fault = f"is not {_NOUNS[conversion.type]}, as the column's other values are"
    return InvalidData(
        f"The value {shown!r} {fault}.",
        where=where,
        remedy=f"Correct the cell, or read the column as text: {_as_string(name)}.",
    )


def _as_string(name: str) -> str:
    return f'types={{"{name}": "string"}}'
