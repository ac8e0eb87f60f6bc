"""Rows as arrays, for what looks at columns together: some of a window's, and held-out ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pellucid.analysis.watching.drift.tables import Rows
from pellucid.bundle import Manifest
from pellucid.errors import InvalidData
from pellucid.monitoring.profiles.readings import Columns, is_scalar
from pellucid.monitoring.profiles.windows import columns_of
from pellucid.schema import Kind


def held_out(sample: Path) -> pa.RecordBatch:
    """The held-out rows that a bundle carries: `inputs`, `outputs`, `target`, as far as recorded.

    Raises:
        InvalidData: the file cannot be read.
    """
    try:
        table = pq.read_table(sample)
    except (OSError, pa.ArrowException) as error:
        raise InvalidData(
            f"The version's sample cannot be read: {error}.",
            where={"file": str(sample)},
            remedy="Train the version again.",
        ) from error
    columns = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def arrays(parts: Iterable[pa.RecordBatch], manifest: Manifest) -> Rows:
    """The inputs and outputs of all parts that are numbers or strings, as they are monitored.

    Args:
        parts: with the log's structs `inputs` and `outputs`, or one of them.
        manifest: of the version.

    Returns:
        Column -> (rows,); None where a part lacks a column that another has. Times are left out.
    """
    classes, left_out = [str(each) for each in manifest.classes], times(manifest)
    read = [(len(part), _scalars(columns_of(part, classes))) for part in parts]
    names = dict.fromkeys(name for _, columns in read for name in columns)
    return {
        name: _joined([columns.get(name, np.full(rows, None)) for rows, columns in read])
        for name in names
        if name not in left_out
    }


def times(manifest: Manifest | None) -> set[str]:
    """Columns that go on with the clock: they always differ from the training's."""
    inputs = manifest.inputs if manifest else ()
    return {each.name for each in inputs if each.kind is Kind.DATETIME}


def _scalars(columns: Columns) -> dict[str, NDArray[Any]]:
    return {
        name: values if isinstance(values, np.ndarray) else values.to_numpy(zero_copy_only=False)
        for name, values in columns.items()
        if is_scalar(values)
    }


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    if len({each.dtype.kind for each in parts}) > 1:
        parts = [each.astype(object) for each in parts]
    return np.concatenate(parts)
