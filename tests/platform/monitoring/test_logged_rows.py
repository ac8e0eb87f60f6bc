"""Logged rows as arrays: of any number of files, of whatever types they have."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.bundle import Input
from pellucid.errors import InvalidData
from pellucid.monitoring.checks.rows import arrays, held_out
from pellucid.schema import Kind

TIME = np.datetime64("2026-11-21T18:00:00", "us")


def manifest(*inputs: Input) -> Any:
    return SimpleNamespace(inputs=inputs, classes=("bad", "good"))


def part(**inputs: pa.Array) -> pa.RecordBatch:
    structs = pa.StructArray.from_arrays(list(inputs.values()), list(inputs))
    return pa.record_batch({"inputs": structs})


def test_columns_follow_each_other_and_none_stands_for_what_a_file_lacks() -> None:
    first = part(amount=pa.array([1.0, None]), purpose=pa.array(["car", None]))
    second = part(amount=pa.array([3.0]))
    found = arrays([first, second], manifest())
    np.testing.assert_array_equal(found["amount"], [1.0, np.nan, 3.0])
    assert found["purpose"].tolist() == ["car", None, None]


def test_a_column_may_change_its_type() -> None:
    found = arrays([part(amount=pa.array([1.5])), part(amount=pa.array(["1.5"]))], manifest())
    assert found["amount"].tolist() == [1.5, "1.5"]


def test_outputs_are_read_as_they_are_monitored() -> None:
    shares = pa.array([[0.25, 0.75]], pa.list_(pa.float64()))
    outputs = pa.StructArray.from_arrays([pa.array(["good"]), shares], ["label", "probabilities"])
    found = arrays([pa.record_batch({"outputs": outputs})], manifest())
    assert {name: each.tolist() for name, each in found.items()} == {
        "outputs.label": ["good"],
        "outputs.probabilities.bad": [0.25],
        "outputs.probabilities.good": [0.75],
    }


def test_times_and_what_is_no_scalar_are_left_out() -> None:
    made = part(
        amount=pa.array([1]),
        when=pa.array([TIME]),
        names=pa.array([["a"]]),
        content=pa.array([b"a"]),
    )
    found = arrays([made], manifest(Input.of("when", Kind.DATETIME)))
    assert list(found) == ["amount"]
    assert arrays([], manifest()) == {}


def test_held_out_rows_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="sample cannot be read"):
        held_out(tmp_path / "absent.parquet")
    made = part(amount=pa.array([1.0]))
    for rows in (1, 0):
        pq.write_table(pa.Table.from_batches([made]).slice(0, rows), tmp_path / "sample.parquet")
        assert held_out(tmp_path / "sample.parquet") == made.slice(0, rows)
