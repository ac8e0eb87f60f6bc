"""Rows of a data set on their way through a model, some at a time."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidRows
from pellucid_api.batch_jobs import batches
from pellucid_api.rowwise import run_rows

ROWS = 40


@given(st.integers(1, 45), st.integers(1, 45), st.sets(st.integers(0, ROWS - 1)), st.integers(0, 9))
def test_any_rows_in_any_batches_come_once_and_in_order(
    group: int, most: int, wanted: set[int], start: int
) -> None:
    sink = io.BytesIO()
    table = pa.table({"x": range(ROWS), "y": [str(i) for i in range(ROWS)]})
    pq.write_table(table, sink, row_group_size=group)
    for places in (range(start, ROWS), sorted(wanted)):
        found = list(batches(pq.ParquetFile(sink), places, most, ["x"]))
        assert [place for here, _ in found for place in here] == list(places)
        assert [x for _, part in found for x in part["x"].to_pylist()] == list(places)
        assert all(part.num_rows <= most for _, part in found)


@given(st.integers(1, 30), st.integers(1, 30))
def test_rows_are_run_a_few_at_a_time(rows: int, most: int) -> None:
    feed = {"x": np.arange(rows), "y": np.arange(rows * 2.0).reshape(rows, 2)}

    def run(some: dict[str, Any]) -> dict[str, Any]:
        assert len(some["x"]) <= most
        return {"sum": some["x"] + some["y"].sum(axis=1)}

    found = run_rows(run, feed, range(rows), most)["sum"]
    np.testing.assert_array_equal(found, feed["x"] + feed["y"].sum(axis=1))


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_the_row_that_cannot_be_run_is_found(rows: int, most: int, data: Any) -> None:
    """The first of them, by its number in the data set."""
    bad = data.draw(st.sets(st.integers(0, rows - 1), min_size=1))
    places = [3 * row + 5 for row in range(rows)]

    def run(some: dict[str, Any]) -> dict[str, Any]:
        if bad & set(some["x"].tolist()):
            raise RuntimeError("no kernel")
        return some

    with pytest.raises(InvalidRows, match="no kernel") as refused:
        run_rows(run, {"x": np.arange(rows)}, places, most)
    assert refused.value.where["row"] == places[min(bad)] + 1
