"""Arrays in the log: packed where that is cheaper, and read as if they never had been."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.bundle import Datatype, Input
from pellucid.monitoring.arrays import unpacked, unpacked_schema, written
from pellucid.monitoring.log import PredictionLog
from pellucid.schema import Kind
from support.predictions import a_writer, batch, identities, now, write

NUMPY = {
    Datatype.BOOL: np.bool_,
    Datatype.UINT8: np.uint8,
    Datatype.INT16: np.int16,
    Datatype.UINT64: np.uint64,
    Datatype.FP16: np.float16,
    Datatype.BF16: ml_dtypes.bfloat16,
    Datatype.FP32: np.float32,
    Datatype.FP64: np.float64,
}
SHAPES = st.sampled_from([(), (1,), (16,), (17,), (40,), (1030,), (2, 3), (4, 5, 1), (0,), (0, 2)])


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(list(NUMPY)), SHAPES, st.integers(1, 5), st.data())
def test_every_array_comes_back(
    datatype: Datatype, shape: tuple[int, ...], rows: int, data: st.DataObject
) -> None:
    chance = np.random.default_rng(data.draw(st.integers(0, 9)))
    values = chance.integers(0, 100, (rows, *shape)).astype(NUMPY[datatype])
    column = written("x", datatype, shape)
    struct = pa.StructArray.from_arrays([column.convert(values)], fields=[column.field])
    rows_of = pa.record_batch([struct], names=["inputs"])
    start = data.draw(st.integers(0, rows - 1))
    plain = unpacked(rows_of.slice(start))  # a slice begins within the buffers
    plain.validate(full=True)
    assert plain.schema == unpacked_schema(rows_of.schema)
    for held, value in zip(plain.to_pylist(), values[start:], strict=True):
        found = held["inputs"]["x"]
        if len(shape) > 1 or (shape and shape[0] > 1024):
            assert found == {"shape": list(shape), "data": value.tobytes()}
        else:
            assert found == value.tolist()


def test_an_array_of_another_shape_than_its_column_is_refused() -> None:
    column = written("x", Datatype.FP32, (40,))
    with pytest.raises(ValueError, match="shape"):
        column.convert(np.zeros((2, 20), np.float32))


def vectors(length: int) -> tuple[list[Input], dict[str, Any]]:
    spec = Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(length,))
    return [spec], {"x": np.arange(3 * length, dtype=np.float32).reshape(3, length)}


@pytest.mark.parametrize("sealed", [False, True])
def test_vectors_of_versions_with_other_lengths_are_lists_to_readers(
    tmp_path: Path, sealed: bool
) -> None:
    writer = a_writer(tmp_path)
    written_rows = []
    for version, length in enumerate((8, 32, 64), 1):
        inputs, arrays = vectors(length)
        rows = batch(now() + version * 10, 3, version=version, inputs=inputs, arrays=arrays)
        write(writer, rows)
        written_rows.append((rows, arrays["x"]))
    if sealed:
        writer.close()
    log, today = PredictionLog(tmp_path), datetime.now(UTC)
    found = log.window("credit", today - timedelta(hours=2), today + timedelta(hours=2))
    by_version = {}
    for row in found.read_all().to_pylist():
        by_version.setdefault(row["version"], []).append(row["inputs"]["x"])
    for version, (rows, values) in enumerate(written_rows, 1):
        assert by_version[version] == values.tolist()
        one = log.find(identities(rows)[2])
        assert one is not None
        assert one.inputs["x"] == values[2].tolist()
    if not sealed:
        writer.close()


def test_packed_vectors_are_bytes_with_their_shape_in_the_files(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    inputs, arrays = vectors(32)
    write(writer, batch(now(), 3, inputs=inputs, arrays=arrays))
    writer.close()
    (segment,) = tmp_path.rglob("*.parquet")
    table = pq.read_table(segment)
    field = table.schema.field("inputs").type.field("x")
    assert (field.metadata[b"datatype"], field.metadata[b"packed"]) == (b"FP32", b"32")
    held = b"".join(row["x"] for row in table["inputs"].to_pylist())
    assert np.array_equal(np.frombuffer(held, "<f4").reshape(3, 32), arrays["x"])
