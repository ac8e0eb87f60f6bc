"""A Parquet file as the JSON table that a tracker's UI shows."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

_ROWS = 1000  # more makes the UI slow; the whole file is logged as an artifact
_DECIMALS = 6


def table_as_json(path: Path) -> str:
    """The file's first 1,000 rows as `{"columns": [...], "data": [[...], ...]}`.

    That is pandas' "split" layout, which MLflow reads; NaN becomes null, dates become text.
    """
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(batch_size=_ROWS), None)
        names = file.schema_arrow.names
    columns = [] if batch is None else [column.to_pylist() for column in batch.columns]
    rows = [[_plain(value) for value in row] for row in zip(*columns, strict=True)]
    return json.dumps({"columns": names, "data": rows})


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS) if math.isfinite(value) else None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
