"""Which canonical type each column has, judged by all of its values.

Text is an int64, float64, bool or timestamp where every value that is there can be read as one,
else a string. A column of text of which at least `MOSTLY` can be read as numbers (or as dates), but
not all, is not guessed at: it is refused, because it is nearly always a column of numbers with a
slip in it.
"""

from collections.abc import Mapping

import duckdb

from pellucid.datasets import expressions as sql
from pellucid.datasets.faults import Conversion, ambiguous_date, check_lengths, check_values
from pellucid.datasets.readers.source import Form, Source, SourceColumn
from pellucid.datasets.tallies import Tally, tally
from pellucid.errors import InvalidData
from pellucid.schema import StorageType

MOSTLY = 0.9


def infer(
    engine: duckdb.DuckDBPyConnection,
    source: Source,
    types: Mapping[str, StorageType],
    max_cell_bytes: int,
) -> list[Conversion]:
    """How each column but those of images and lists is to be read, every value checked.

    Raises:
        InvalidData: a value does not fit its column's type, is infinite, or is too large. The
            error names the first such row.
    """
    for column in source.columns:
        _check_override(column, types.get(column.name), source.file)
    texts = [i for i, column in enumerate(source.columns) if _is_text(column)]
    tallies = dict.fromkeys(texts, Tally()) | tally(engine, source, texts)
    check_lengths(
        engine, source, [i for i in texts if tallies[i].longest > max_cell_bytes], max_cell_bytes
    )
    conversions = [
        _convert(engine, source, index, tallies.get(index, Tally()), types.get(column.name))
        for index, column in enumerate(source.columns)
        if not column.is_object
    ]
    check_values(engine, source, conversions)
    return conversions


def _check_override(column: SourceColumn, override: StorageType | None, file: str) -> None:
    """Images and lists are what the file says, and nothing else becomes one."""
    if override in (None, column.storage):
        return
    if column.is_object or override in (StorageType.BINARY, StorageType.LIST):
        has = f"{column.storage.kind} column" if column.is_object else "column of single values"
        raise InvalidData(
            f"`types` asks for {override}, but this is a {has}.",
            where={"file": file, "column": column.name},
            remedy="Leave the type out; images and lists come in Parquet, .npz, zip or JSON lines.",
        )


def _convert(
    engine: duckdb.DuckDBPyConnection,
    source: Source,
    index: int,
    counts: Tally,
    override: StorageType | None,
) -> Conversion:
    column, text = source.columns[index], f"c{index}"
    if column.form is Form.TYPED:
        return _convert_typed(column, text, override)
    chosen = override or _choose(counts, column.form)
    order: sql.Order = "iso"
    if chosen is StorageType.TIMESTAMP:
        order = _date_order(counts)
        if order == "day_first" and counts.day_first == counts.month_first and counts.ambiguous:
            raise ambiguous_date(engine, source, column.name, text)
    if override is None and _readable(counts, chosen) == counts.present:
        return Conversion(column.name, chosen, text, sql.known(text, chosen, order), checked=True)
    value = sql.value(text, chosen, order)
    return Conversion(column.name, chosen, text, value, overridden=override is not None)


def _convert_typed(column: SourceColumn, raw: str, override: StorageType | None) -> Conversion:
    if override in (None, column.storage):
        value = sql.typed(raw, column.storage)
        checked = column.storage not in (StorageType.INT64, StorageType.FLOAT64)
        return Conversion(column.name, column.storage, raw, value, checked=checked)
    text = f"CAST({raw} AS VARCHAR)"
    return Conversion(column.name, override, text, sql.value(text, override), overridden=True)


def _is_text(column: SourceColumn) -> bool:
    return column.form is not Form.TYPED or column.storage is StorageType.STRING


def _choose(counts: Tally, form: Form) -> StorageType:
    if counts.present == 0:
        return StorageType.STRING
    if form is Form.TEXT:
        if counts.booleans == counts.present:
            return StorageType.BOOL
        if counts.integers == counts.present:
            return StorageType.INT64
        if counts.numbers >= MOSTLY * counts.present:
            return StorageType.FLOAT64
    if counts.dates >= MOSTLY * counts.present:
        return StorageType.TIMESTAMP
    return StorageType.STRING


def _readable(counts: Tally, chosen: StorageType) -> int:
    """How many values can be read as the type."""
    match chosen:
        case StorageType.BOOL:
            return counts.booleans
        case StorageType.INT64:
            return counts.fitting
        case StorageType.FLOAT64:
            return counts.numbers - counts.infinite
        case StorageType.TIMESTAMP:
            return counts.dates
        case _:
            return counts.present


def _date_order(counts: Tally) -> sql.Order:
    """The order in which most values can be read; the day first where both are as good."""
    if counts.iso >= max(counts.day_first, counts.month_first):
        return "iso"
    return "day_first" if counts.day_first >= counts.month_first else "month_first"
