"""Rows of the prediction log, made without a service."""

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pellucid.bundle import Datatype, Input, Output
from pellucid.monitoring import ids
from pellucid.monitoring.columns import Columns
from pellucid.monitoring.writer import LogWriter, Retention, by_hour
from pellucid.schema import Kind

OUTPUTS = (Output(name="value", datatype=Datatype.FP32, shape=(-1,)),)
INPUTS = (Input.of("amount", Kind.NUMERIC), Input.of("purpose", Kind.CATEGORICAL))


def number_at(seconds: float, count: int = 0) -> int:
    """The number of an id that is given out at a time."""
    return int(seconds * 1000) << 74 | 1 << 60 | count


def batch(
    first: int,
    rows: int,
    *,
    model: str = "credit",
    version: int = 1,
    inputs: Sequence[Input] = INPUTS,
    arrays: dict[str, Any] | None = None,
) -> pa.RecordBatch:
    """Rows whose requests came when their ids were given out."""
    words = ids.from_numbers([first], np.array([rows]))
    times = (words[:, 0] >> np.uint64(16)).astype(np.int64) * 1000
    given = arrays or {
        "amount": np.arange(rows, dtype=float),
        "purpose": np.array(["car"] * rows, dtype=object),
    }
    outputs = {"value": np.arange(rows, dtype=np.float32)}
    latencies = np.ones(rows, np.float32)
    return Columns(model, version, inputs, OUTPUTS).batch(words, times, latencies, given, outputs)


def identities(rows: pa.RecordBatch | pa.Table) -> list[uuid.UUID]:
    return [uuid.UUID(bytes=each) for each in rows.column("id").to_pylist()]


def write(writer: LogWriter, rows: pa.RecordBatch) -> None:
    model, version = rows.column("model")[0].as_py(), rows.column("version")[0].as_py()
    for hour, part in by_hour(rows):
        writer.write(part, model, version, hour)


def a_writer(root: Path, **retention: Any) -> LogWriter:
    writer = LogWriter(root, Retention(**retention))
    writer.start()
    return writer


def now() -> int:
    return number_at(time.time())
