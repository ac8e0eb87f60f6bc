"""Recorded predictions and their labels as rows of the data set that the model was trained on.

The inputs and sensitive columns are those that were recorded, the target is the label. A time
column is the time of the request, a text that names the row the prediction's id, a weight 1; other
columns, which nobody sends, are missing. Memory holds one batch, however many rows there are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pellucid.bundle import Manifest
from pellucid.datasets.content import ARROW_TYPES
from pellucid.errors import Conflict
from pellucid.monitoring import ids
from pellucid.monitoring.feedback.labelled import labelled
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.windows import Window
from pellucid.schema import Column, Kind, Role, Schema, StorageType

_AS_RECORDED = {Kind.NUMERIC, Kind.BOOLEAN, Kind.DATETIME, Kind.CATEGORICAL, Kind.SEQUENCE}
_GROUP_ROWS = 2**17
_WEIGHT = 1.0


@dataclass(frozen=True)
class Fresh:
    """Rows that were labelled.

    Attributes:
        path: Parquet with the data set's columns; whole numbers are floats there.
        rows: how many there are.
        fractional: columns of whole numbers in which others were seen, or larger ones than fit.
    """

    path: Path
    rows: int
    fractional: frozenset[str]


def require_recorded(manifest: Manifest, schema: Schema, target: str) -> None:
    """Make sure that rows can be made of what is recorded.

    Raises:
        Conflict: an input is not recorded as it was sent, or there is one that is no column.
    """
    redacted = set(manifest.plan.get("serving", {}).get("log", {}).get("redact", ()))
    for each in manifest.inputs:
        if each.name in redacted:
            why = f"The column {each.name!r} is not recorded (serving.log.redact)."
        elif each.kind not in _AS_RECORDED:
            why = f"The column {each.name!r} is recorded as the network takes it, not as a file."
        elif each.name not in schema.names:
            why = f"The input {each.name!r} is no column of the data set."
        else:
            continue
        raise Conflict(why, remedy="Register new data, and submit its training yourself.")
    if target not in schema.names:
        raise Conflict(f"The target {target!r} is no column of the data set.")


def write_fresh(
    log: PredictionLog, labels: Path, window: Window, schema: Schema, target: str, path: Path
) -> Fresh:
    """Write the labelled predictions of a window, in no certain order.

    Args:
        log: the predictions.
        labels: root of the labels.
        window: of one version.
        schema: of the data set that the version was trained on.
        target: the column that labels tell.
        path: the file to be made.
    """
    held = pa.schema([(column.name, _held_type(column)) for column in schema.columns])
    rows, fractional = 0, set[str]()
    batches = labelled(log, labels, window, columns=("inputs", "sensitive"))
    with pq.ParquetWriter(path, held) as writer:
        for batch in batches:
            known = batch.filter(batch.column("label").is_valid())
            table = _rows(known, schema, target, held)
            writer.write_table(table)
            rows += len(table)
            fractional |= {
                column.name
                for column in schema.columns
                if column.type is StorageType.INT64 and _has_fractions(table.column(column.name))
            }
    return Fresh(path, rows, frozenset(fractional))


def append(original: Path | None, fresh: Fresh, schema: Schema, path: Path) -> None:
    """Write one file of the original's rows, if there is one, and the fresh ones behind them."""
    types = [
        (
            column.name,
            pa.float64() if column.name in fresh.fractional else ARROW_TYPES[column.type],
        )
        for column in schema.columns
    ]
    with pq.ParquetWriter(path, pa.schema(types)) as writer:
        for source in (original, fresh.path):
            for table in _tables(source):
                made = [
                    # Large whole numbers among fractions are rounded to floats; nothing else is.
                    table.column(name).cast(kind, safe=name not in fresh.fractional)
                    for name, kind in types
                ]
                writer.write_table(pa.table(made, writer.schema), _GROUP_ROWS)


def _tables(source: Path | None) -> Iterator[pa.Table]:
    if source is not None:
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(_GROUP_ROWS):
                yield pa.Table.from_batches([batch])


def _held_type(column: Column) -> pa.DataType:
    return pa.float64() if column.type is StorageType.INT64 else ARROW_TYPES[column.type]


def _rows(batch: pa.RecordBatch, schema: Schema, target: str, held: pa.Schema) -> pa.Table:
    given = dict(_fields(batch, ("sensitive", "inputs")))  # of the same name: the input
    arrays = []
    for column in schema.columns:
        kind = held.field(column.name).type
        if column.name == target:
            arrays.append(_labels(batch.column("label"), kind))
        elif column.name in given:
            arrays.append(_fitted(given[column.name], kind))
        else:
            arrays.append(_made_up(batch, column, kind))
    table = pa.Table.from_arrays(arrays, schema=held)
    return table.filter(table.column(target).is_valid())


def _fields(batch: pa.RecordBatch, groups: Iterable[str]) -> Iterator[tuple[str, pa.Array]]:
    for group in groups:
        if group in batch.schema.names:
            struct = batch.column(group)
            for place, field in enumerate(struct.type):
                yield field.name, struct.flatten()[place]


def _labels(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """As the target's type; null where a text is none of it, as after a change of the target."""
    if pa.types.is_floating(kind):
        return pa.array([_number(text) for text in texts.to_pylist()], kind)
    if pa.types.is_boolean(kind):
        known = {"true": True, "false": False}
        return pa.array([known.get(text.lower()) for text in texts.to_pylist()], kind)
    return texts.cast(kind)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _fitted(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """As the column's type; what was of another type then is missing."""
    try:
        return array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(array), kind)


def _made_up(batch: pa.RecordBatch, column: Column, kind: pa.DataType) -> pa.Array:
    rows = len(batch)
    if column.role is Role.TIME and column.type is StorageType.TIMESTAMP:
        return batch.column("time").cast(kind)
    if column.role is Role.ID and column.type is StorageType.STRING:
        return pa.array([ids.text(each) for each in batch.column("id").to_pylist()], kind)
    if column.role is Role.WEIGHT and pa.types.is_floating(kind):
        return pa.repeat(pa.scalar(_WEIGHT, kind), rows)
    return pa.nulls(rows, kind)


def _has_fractions(column: pa.ChunkedArray) -> bool:
    fits = pc.less(pc.abs(column), 2.0**63)  # any number may have been sent, infinity as well
    whole = pc.and_(fits, pc.equal(pc.round(column), column))
    return not (pc.all(whole, min_count=0).as_py())
