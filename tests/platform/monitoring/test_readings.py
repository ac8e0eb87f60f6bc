"""What of the log is profiled."""

import numpy as np
import pyarrow as pa
import pytest

from pellucid.bundle import Datatype, Input, Output
from pellucid.monitoring.arrays import unpacked
from pellucid.monitoring.columns import Columns
from pellucid.monitoring.profiles.readings import CONFIDENCE, LABEL, inputs_of, outputs_of
from pellucid.schema import Kind


def logged(inputs, arrays, outputs=(), answers=None):
    rows = len(next(iter((arrays or answers).values())))
    columns = Columns("m", 1, inputs, outputs)
    common = np.zeros((rows, 2), np.uint64), np.zeros(rows, np.int64), np.zeros(rows, np.float32)
    return unpacked(columns.batch(*common, arrays, answers or {}))


def read(kind, shape, values):
    inputs = (Input.of("x", kind, shape=shape),)
    return inputs_of(logged(inputs, {"x": values}).column("inputs"))


def test_images_by_brightness_and_contrast():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3)).astype(np.uint8)
    found = read(Kind.IMAGE, (8, 6, 3), pixels)
    flat = pixels.reshape(5, -1)
    assert found["x.brightness"] == pytest.approx(flat.mean(axis=1))
    assert found["x.contrast"] == pytest.approx(flat.std(axis=1))


def test_sequences_by_length_mean_and_deviation():
    values = np.array([[1.0, 3, np.nan], [2, np.nan, 4], [np.nan] * 3])
    found = read(Kind.SEQUENCE, (3,), values)
    assert found["x.length"] == pytest.approx([2, 3, np.nan], nan_ok=True)
    assert found["x.mean"] == pytest.approx([2, 3, np.nan], nan_ok=True)
    assert found["x.deviation"] == pytest.approx([1, 1, np.nan], nan_ok=True)


def test_texts_by_length_and_unknown_words():
    found = read(Kind.TEXT, (4,), np.array([[5, 1, 1, 0], [7, 0, 0, 0], [0, 0, 0, 0]]))
    assert found["x.length"] == pytest.approx([3, 1, np.nan], nan_ok=True)
    assert found["x.unknown"] == pytest.approx([2 / 3, 0, np.nan], nan_ok=True)


def test_scalars_as_they_are():
    found = read(Kind.NUMERIC, (), np.array([1.0, np.nan]))
    assert found["x"].to_pylist() == [1.0, None]


def test_a_slice_of_a_batch_is_read_as_its_own_rows():
    batch = logged(
        (Input.of("x", Kind.SEQUENCE, shape=(3,)), Input.of("y", Kind.IMAGE, shape=(20, 1, 1))),
        {
            "x": np.array([[1.0, 3, np.nan], [2, 2, 2], [np.nan] * 3, [5, 7, np.nan]]),
            "y": np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((20, 1, 1), np.uint8),
        },
    )
    found = inputs_of(batch.slice(1, 3).column("inputs"))
    assert found["x.mean"] == pytest.approx([2, np.nan, 6], nan_ok=True)
    assert found["y.brightness"] == pytest.approx([1, 2, 3])


def answers(classes, label=Datatype.BYTES):
    return (
        Output(name="label", datatype=label, shape=(-1,)),
        Output(name="probabilities", datatype=Datatype.FP32, shape=(-1, classes)),
    )


@pytest.mark.parametrize("count", [2, 16, 17, 20])
def test_probabilities_of_each_class(count):
    table = np.random.default_rng(0).random((5, count)).astype(np.float32)
    given = {"label": np.array(["a"] * 5, object), "probabilities": table}
    batch = logged((), {}, answers(count), given)
    names = [f"c{i}" for i in range(count)]
    found = outputs_of(batch.column("outputs"), names)
    assert found[LABEL].to_pylist() == ["a"] * 5
    for name, column in zip(names, table.T, strict=True):
        assert np.asarray(found[f"outputs.probabilities.{name}"]) == pytest.approx(column)


@pytest.mark.parametrize("count", [21, 1024, 2000])
def test_of_many_classes_the_largest_probability(count):
    table = np.random.default_rng(0).random((5, count)).astype(np.float32)
    given = {"label": np.arange(5), "probabilities": table}
    batch = logged((), {}, answers(count, Datatype.INT64), given)
    found = outputs_of(batch.column("outputs"), ())
    assert found[LABEL].to_pylist() == list("01234")
    assert np.asarray(found[CONFIDENCE]) == pytest.approx(table.max(axis=1))


def test_the_steps_of_a_forecast():
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    output = (Output(name="value", datatype=Datatype.FP32, shape=(-1, 3)),)
    found = outputs_of(logged((), {}, output, {"value": values}).column("outputs"), ())
    assert list(found) == ["outputs.value.1", "outputs.value.2", "outputs.value.3"]
    assert np.asarray(found["outputs.value.2"]).tolist() == [1, 4, 7, 10]


def test_outputs_of_another_form_are_left_out():
    for column in ([[0.1, 0.9], [0.2]], [[], []], [None, None], ["a", "b"]):
        structs = pa.StructArray.from_arrays([pa.array(column)], names=["probabilities"])
        assert outputs_of(structs, ("a", "b")) == {}
