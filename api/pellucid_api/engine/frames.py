"""A model's outputs as columns, for answers in tables."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from pellucid.bundle import Manifest
from pellucid_api.engine.values import Values

IDS = "prediction_id"


def frame(manifest: Manifest, outputs: Mapping[str, Values]) -> dict[str, Values]:
    """Columns (rows,), named as MLflow's scoring of our models names them.

    `label` and `probability_CLASS`; `value`, or `value_1` ... of a forecast; the outputs of a model
    that was made elsewhere: `y` or `y_1` ..., in row-major order.
    """
    found: dict[str, Values] = {}
    for name, array in outputs.items():
        if array.ndim == 1:
            found[name] = array
            continue
        flat = array.reshape(len(array), -1)
        if name == "probabilities" and manifest.classes:
            names = [f"probability_{each}" for each in manifest.classes]
        else:
            names = [f"{name}_{i}" for i in range(1, flat.shape[1] + 1)]
        found |= zip(names, flat.T, strict=True)
    return found


def csv_of(manifest: Manifest, outputs: Mapping[str, Values], ids: Sequence[str]) -> bytes:
    """The answers as CSV: the ids, then the columns of `frame`; NaN is an empty cell."""
    columns = {IDS: pa.array(ids)}
    for name, values in frame(manifest, outputs).items():
        columns[name] = pa.array(_known(values), from_pandas=True)
    return written(pa.table(columns))


def written(table: Any) -> bytes:
    """A pyarrow.Table as CSV."""
    sink = io.BytesIO()
    arrow_csv.write_csv(table, sink)
    return sink.getvalue()


def table_of(
    manifest: Manifest,
    outputs: Mapping[str, Values],
    ids: Sequence[str] | None,
    metadata: Mapping[str, str],
) -> Any:
    """The answers as a pyarrow.Table: as in the CSV, but of a model that was made elsewhere each
    output is one column, of lists where it has axes. Answers that are not logged have no ids.
    """
    columns = outputs if manifest.task == "other" else frame(manifest, outputs)
    arrays = {} if ids is None else {IDS: pa.array(ids)}
    arrays |= {name: _array(values) for name, values in columns.items()}
    return pa.table(arrays).replace_schema_metadata(dict(metadata))


def _array(values: Values) -> Any:
    array = pa.array(_known(np.ascontiguousarray(values)).reshape(-1))
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _known(values: Values) -> Values:
    """Of a type that Arrow has."""
    return values.astype(np.float32) if values.dtype == ml_dtypes.bfloat16 else values
