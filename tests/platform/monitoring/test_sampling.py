"""Samples of windows: the same rows whatever the order, no more than asked for, and light."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.bundle import Datatype, Input
from pellucid.monitoring import ids
from pellucid.monitoring.arrays import unpacked
from pellucid.monitoring.checks import sampling
from pellucid.monitoring.checks.sampling import Sample, sampled
from pellucid.monitoring.log import PredictionLog
from pellucid.schema import Kind
from support.predictions import batch, number_at


def numbered(rows: int) -> pa.RecordBatch:
    words = ids.from_numbers([number_at(1.8e9)], np.array([rows]))
    return pa.record_batch({"id": ids.to_arrow(words), "row": pa.array(np.arange(rows))})


WHOLE = numbered(3_000)
NONE = WHOLE.filter(pa.array([False] * len(WHOLE)))


@given(st.integers(1, 4_000), st.lists(st.integers(0, 3_000), max_size=6), st.randoms())
def test_the_same_rows_in_the_same_order_whatever_order_they_come_in(most, cuts, random):
    ends = [0, *sorted(cuts), len(WHOLE)]
    parts = [WHOLE.slice(a, b - a) for a, b in pairwise(ends)]
    random.shuffle(parts)
    first, second = Sample(most), Sample(most)
    first.add(WHOLE)
    for part in parts:
        second.add(part)
        second.add(NONE)
    assert first.batches() == second.batches()
    assert (second.seen, second.rows) == (3_000, first.rows)
    kept = sum(map(len, first.batches()))
    assert kept == first.rows <= most
    if most >= 40:
        assert kept > min(most, 2_999) / 4
    if most >= 3_000:
        assert first.batches() == [WHOLE]


def test_a_sample_is_fair() -> None:
    sample = Sample(2_000)
    sample.add(numbered(40_000))
    (kept,) = sample.batches()
    halves = np.bincount(kept.column("row").to_numpy() // 20_000, minlength=2)
    assert abs(halves[0] - halves[1]) < 4 * np.sqrt(len(kept))


def test_files_may_have_different_types() -> None:
    words = ids.to_arrow(ids.from_numbers([number_at(1.8e9)], np.array([4])))
    text = pa.record_batch({"id": words.slice(0, 2), "row": pa.array(["a", "b"])})
    number = pa.record_batch({"id": words.slice(2, 2), "row": pa.array([1.0, 2.0])})
    sample = Sample(10)
    for part in (number.slice(1), text, number.slice(0, 1)):
        sample.add(part)
    found = sorted(each.column("row").to_pylist() for each in map(_str, sample.batches()))
    assert found == [["1.0", "2.0"], ["a", "b"]]


def _str(part: pa.RecordBatch) -> pa.RecordBatch:
    texts = [str(each) for each in part.column("row").to_pylist()]
    return part.set_column(1, "row", pa.array(texts))


def test_content_of_images_and_sequences_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "ROWS", 10)
    inputs = (
        Input.of("amount", Kind.NUMERIC),
        Input(name="photo", kind=Kind.IMAGE, datatype=Datatype.UINT8, shape=(8, 8, 3)),
        Input(name="steps", kind=Kind.SEQUENCE, datatype=Datatype.FP64, shape=(5, 1)),
    )
    arrays = {
        "amount": np.arange(40.0),
        "photo": np.full((40, 8, 8, 3), 7, np.uint8),
        "steps": np.tile([1.0, 3.0, np.nan, np.nan, np.nan], (40, 1)),
    }
    made = unpacked(batch(number_at(1.8e9), 40, inputs=inputs, arrays=arrays))
    (kept,) = sampled([made.select(sampling.COLUMNS)], inputs)
    assert 0 < len(kept) <= 10
    row = kept.column("inputs").to_pylist()[0]
    assert row.keys() == {
        "amount", "photo.brightness", "photo.contrast",
        "steps.length", "steps.mean", "steps.deviation",
    }  # fmt: skip
    assert (row["photo.brightness"], row["steps.length"], row["steps.mean"]) == (7, 2, 2)
    assert kept.schema.names == ["id", "inputs", "outputs", "contents"]


def test_rows_of_which_nothing_is_recorded_are_rows_all_the_same(tmp_path: Path) -> None:
    made = batch(number_at(1.8e9), 5)
    words = pa.array([["a"]] * 5, pa.list_(pa.string()))
    odd = pa.StructArray.from_arrays([words], ["names"])
    only = made.select(["id", "outputs"])
    (first,) = sampled([only], ())
    (second,) = sampled([only.append_column("inputs", odd)], ())
    assert first == second
    start = made.column("time")[0].as_py()
    log = PredictionLog(tmp_path)
    assert sampled(log.parts("credit", start, start, columns=sampling.COLUMNS), ()) == []
