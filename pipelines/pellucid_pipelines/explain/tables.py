"""SHAP values as a Parquet file."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid_pipelines.explain.values import Explained


def write_table(explained: Explained, path: Path) -> None:
    """Write Parquet: raw columns, shap_<column>, base, prediction.

    With several classes each row comes once per class, named in a column `class`. Of images,
    sequences and texts, places_<column> lists the values of its pixels (row by row), steps or
    tokens for the output that they were computed for. A name that is taken by a raw column gets
    underscores appended.
    """
    count, width = len(explained.rows), len(explained.outputs)
    table = explained.rows.take(np.repeat(np.arange(count), width))
    added: dict[str, Any] = {}
    if width > 1:
        added["class"] = pa.array(explained.outputs * count)
    for i, column in enumerate(explained.columns):
        added[f"shap_{column}"] = explained.values[:, i].ravel()
    added |= _listed(explained)
    added["base"] = np.tile(explained.base, count)
    added["prediction"] = explained.prediction.ravel()
    for name, values in added.items():
        while name in table.column_names:
            name += "_"
        table = table.append_column(name, pa.array(values))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _listed(explained: Explained) -> dict[str, pa.Array]:
    places, width = explained.places, len(explained.outputs)
    if places is None:
        return {}
    values = places.values if places.modality == "sequence" else places.values[..., np.newaxis]
    values = values.reshape(len(values), -1, len(explained.columns))
    shown = np.zeros((len(values), width), dtype=bool)
    shown[np.arange(len(values)), places.outputs] = True

    def column(i: int) -> pa.Array:
        lists = iter(values[..., i].astype(np.float32))
        cells = [next(lists) if each else None for each in shown.ravel()]
        return pa.array(cells, pa.list_(pa.float32()))

    return {f"places_{name}": column(i) for i, name in enumerate(explained.columns)}
