"""The exported model against PyTorch, on data and names of every kind."""

import dataclasses
import math

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid import plan
from pellucid.bundle import MODEL, PARITY, parity_error
from pellucid.datasets import synthetic
from pellucid.errors import TrainingFailed
from pellucid.schema import Role
from pellucid_pipelines import architectures, export
from pellucid_pipelines.export import export_model, measure_parity, raw_inputs, run_onnx
from pellucid_pipelines.preprocessing import Tabular
from pellucid_pipelines.tensors import Target
from support.training import schema_of

TIMESTAMP = pa.timestamp("us", "UTC")
TEXTS = ["a", "Ü ñ", "日本語", 'qu"ote', "new\nline", "x" * 300, " ", "a,b", "\\", "null", "a\0b"]


def trained(table, target_column, task="classification", scaling=None, **model):
    """Preprocessing, target and a network with random weights."""
    spec = plan.Preprocessing(numeric=scaling or plan.Standardize(), min_count=1)
    preprocessing = Tabular.fit(table, schema_of(table, {}).columns, spec)
    target = Target.fit(target_column, "outcome", task, None)
    torch.manual_seed(0)
    spec = plan.Mlp(**{"widths": (16, 8), **model})
    return (
        architectures.build(spec, preprocessing.features, target.outputs),
        preprocessing,
        target,
    )


def predicted(network, preprocessing, target, table):
    """What PyTorch gives, in evaluation mode."""
    with torch.no_grad():
        dense = preprocessing(preprocessing.encode(table))
        return target.head()(network.eval()(dense)).numpy()


def mixed(rows=40, seed=0):
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "number": random.normal(1e6, 3e5, rows),
            "count": pa.array(random.integers(0, 9, rows)),
            "flag": pa.array([None if i % 7 == 0 else i % 3 == 0 for i in range(rows)]),
            "moment": pa.array(random.integers(0, 2**51, rows), TIMESTAMP),
            "text": [TEXTS[i % len(TEXTS)] for i in range(rows)],
        }
    )


CLASSES = {
    "strings": pa.chunked_array([["no", "ünsure", "yes", "no"] * 10]),
    "integers": pa.chunked_array([[-3, 0, 7, 0] * 10]),
    "two": pa.chunked_array([["no", "yes"] * 20]),
    "booleans": pa.chunked_array([[True, False] * 20]),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_classification(tmp_path, kind):
    table = mixed()
    network, preprocessing, target = trained(table, CLASSES[kind], norm="batch", dropout=0.5)
    opset = export_model(network, preprocessing, target, tmp_path / MODEL)
    model = onnx.load(tmp_path / MODEL)
    assert opset == next(each.version for each in model.opset_import if not each.domain)
    outputs = run_onnx(tmp_path / MODEL, raw_inputs(table, preprocessing.inputs))
    expected = predicted(network, preprocessing, target, table)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
    labels = [target.classes[i] for i in expected.argmax(axis=1)]
    assert outputs["label"].tolist() == labels
    assert outputs["label"].dtype == (np.int64 if kind == "integers" else object)


def test_regression(tmp_path):
    table = mixed()
    column = pa.chunked_array([np.random.default_rng(1).normal(1e5, 50, 40)])
    network, preprocessing, target = trained(table, column, "regression", plan.Quantile())
    export_model(network, preprocessing, target, tmp_path / MODEL)
    outputs = run_onnx(tmp_path / MODEL, raw_inputs(table, preprocessing.inputs))
    assert outputs.keys() == {"value"}
    assert outputs["value"].dtype == np.float32
    expected = predicted(network, preprocessing, target, table)
    np.testing.assert_allclose(outputs["value"], expected, rtol=1e-6)


@pytest.fixture(scope="module", params=[plan.Standardize(), plan.MinMax(), plan.Quantile()])
def exported(request, tmp_path_factory):
    """A model over every kind of column, with each scaling."""
    path = tmp_path_factory.mktemp("exported") / MODEL
    parts = trained(mixed(), CLASSES["strings"], scaling=request.param)
    export_model(*parts, path)
    return *parts, path


CELLS = {
    "number": st.floats(),
    "count": st.floats(),
    "flag": st.booleans().map(float) | st.floats(),
    "moment": st.floats(-1e13, 1e13) | st.floats(),
    "text": st.sampled_from([*TEXTS, ""]) | st.text(st.characters(codec="utf-8")),
}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_rows_are_predicted_as_pytorch_does(exported, data):
    network, preprocessing, target, path = exported
    rows = data.draw(st.lists(st.fixed_dictionaries(CELLS), max_size=8))
    table = pa.table(
        {
            name: pa.array([row[name] for row in rows], pa.string() if name == "text" else None)
            if rows
            else pa.array([], pa.string() if name == "text" else pa.float64())
            for name in CELLS
        }
    )
    outputs = run_onnx(path, raw_inputs(table, preprocessing.inputs))
    expected = predicted(network, preprocessing, target, table)
    assert outputs["probabilities"].shape == (len(rows), 3)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 2, 1000])
def test_any_number_of_rows(exported, rows):
    _, preprocessing, _, path = exported
    table = mixed(rows or 1).slice(0, rows)
    outputs = run_onnx(path, raw_inputs(table, preprocessing.inputs))
    assert outputs["label"].shape == (rows,)
    assert outputs["probabilities"].shape == (rows, 3)


NAMES = [
    "label", "label_", "probabilities", "value", "numbers", "codes", "core/axis", "_core/x",
    "core/network.layers.0.weight", "with space", "dots.and/slashes\\", 'quo"te\'s', "9 lives",
    "価格 €", "très " * 100, "\t", "input:x", "Identity",
]  # fmt: skip


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_inputs_have_the_raw_columns_names(tmp_path, task):
    random = np.random.default_rng(0)
    table = pa.table(
        {
            name: random.choice(["u", "v"], 30) if i % 2 else random.normal(size=30)
            for i, name in enumerate(NAMES)
        }
    )
    column = random.normal(size=30) if task == "regression" else random.choice(["n", "y"], 30)
    parts = trained(table, pa.chunked_array([column]), task)
    export_model(*parts, tmp_path / MODEL)
    session = onnxruntime.InferenceSession(tmp_path / MODEL, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == NAMES
    assert all(each.shape == ["rows"] for each in session.get_inputs())
    kinds = [each.type for each in session.get_inputs()]
    assert kinds == ["tensor(double)", "tensor(string)"] * (len(NAMES) // 2)
    names = [each.name for each in session.get_outputs()]
    assert names == (["value_"] if task == "regression" else ["label__", "probabilities_"])
    outputs = run_onnx(tmp_path / MODEL, raw_inputs(table, parts[1].inputs))
    expected = predicted(*parts, table)
    given = outputs["value" if task == "regression" else "probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-5)
    parity = measure_parity(*parts, table, tmp_path)
    with np.load(tmp_path / PARITY) as arrays:
        assert {f"input:{name}" for name in NAMES} <= set(arrays)
        assert all(len(arrays[name]) == parity.rows for name in arrays)


@pytest.mark.parametrize("column", [[1.5, 2.5, None, 4.0] * 5, ["a", "b", None, "c"] * 5])
def test_a_single_column(tmp_path, column):
    parts = trained(pa.table({"only": column}), pa.chunked_array([["n", "y"] * 10]))
    export_model(*parts, tmp_path / MODEL)
    assert measure_parity(*parts, pa.table({"only": column}), tmp_path).max_error < 1e-6


def test_the_file_is_self_contained_and_the_same_every_time(tmp_path):
    parts = trained(mixed(), CLASSES["two"])
    export_model(*parts, tmp_path / "a" / MODEL)
    export_model(*parts, tmp_path / "b" / MODEL)
    first = (tmp_path / "a" / MODEL).read_bytes()
    assert first == (tmp_path / "b" / MODEL).read_bytes()
    assert [file.name for file in (tmp_path / "a").iterdir()] == [MODEL]
    assert b".py" not in first  # no path of ours


def test_a_model_beyond_what_a_file_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGEST", 1000)
    with pytest.raises(TrainingFailed, match="2 GiB"):
        export_model(*trained(mixed(), CLASSES["two"]), tmp_path / MODEL)
    assert not (tmp_path / MODEL).exists()


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    """The demo's data, and a model over it."""
    table, roles = synthetic.credit(400)
    features = [name for name in table.column_names if roles.get(name, Role.FEATURE) == "feature"]
    target = next(name for name, role in roles.items() if role == Role.TARGET)
    directory = tmp_path_factory.mktemp("credit")
    parts = trained(table.select(features), table[target])
    export_model(*parts, directory / MODEL)
    return parts, table.select(features), directory


def test_parity_rows_hold_missing_and_unknown_values(credit):
    (network, preprocessing, target), table, directory = credit
    texts = [each for each in preprocessing.inputs if each.categories]
    parity = measure_parity(network, preprocessing, target, table.slice(0, 256), directory)
    assert parity.rows == 256 + len(preprocessing.inputs) + len(texts)
    assert parity.max_error <= parity.tolerance == 1e-5
    with np.load(directory / PARITY, allow_pickle=False) as arrays:
        for each in preprocessing.inputs:
            values = arrays[f"input:{each.name}"]
            if each.categories:
                assert values.dtype.kind == "U"
                assert "" in values
                assert not set(values) <= {"", *each.categories}
            else:
                assert values.dtype == np.float64
                assert np.isnan(values).any()
        first = table.column_names[0]
        raw = raw_inputs(table.slice(0, 256), preprocessing.inputs)[first]
        np.testing.assert_array_equal(arrays[f"input:{first}"][:256], raw)
        probabilities = predicted(network, preprocessing, target, table.slice(0, 256))
        np.testing.assert_allclose(arrays["output:probabilities"][:256], probabilities, atol=1e-7)
        assert set(arrays["output:label"]) <= set(target.classes)


def test_a_model_that_differs_is_refused(credit, tmp_path):
    (network, preprocessing, target), table, _ = credit
    export_model(network, preprocessing, target, tmp_path / MODEL)
    with torch.no_grad():
        next(network.parameters())[0, 0] += 0.01
    with pytest.raises(TrainingFailed, match="differs from PyTorch"):
        measure_parity(network, preprocessing, target, table, tmp_path)
    assert not (tmp_path / PARITY).exists()


def test_other_labels_are_refused(credit, tmp_path):
    (network, preprocessing, target), table, _ = credit
    swapped = dataclasses.replace(target, classes=target.classes[::-1])
    export_model(network, preprocessing, swapped, tmp_path / MODEL)
    with pytest.raises(TrainingFailed, match="labels"):
        measure_parity(network, preprocessing, target, table, tmp_path)


def test_a_network_that_gives_nan_is_refused(credit, tmp_path):
    (_, preprocessing, target), table, _ = credit
    broken = architectures.build(plan.Mlp(widths=(4,)), preprocessing.features, 1)
    with torch.no_grad():
        next(broken.parameters())[0, 0] = math.nan
    export_model(broken, preprocessing, target, tmp_path / MODEL)
    with pytest.raises(TrainingFailed, match="nan"):
        measure_parity(broken, preprocessing, target, table, tmp_path)


def test_a_very_long_cell_takes_no_more_room_than_the_categories(credit):
    (_, preprocessing, _), table, _ = credit
    name = next(each.name for each in preprocessing.inputs if each.categories)
    i = table.column_names.index(name)
    long = table.slice(0, 5).set_column(i, name, [["x" * 10**6] * 5])
    assert max(map(len, raw_inputs(long, preprocessing.inputs)[name])) < 100


def test_values_are_compared_relative_to_the_largest(tmp_path):
    near_zero, shares = np.array([0.001, 200.0]), np.array([[0.25, 0.75]])
    assert parity_error(near_zero, np.array([0.0, 200.0]), "value") == 0.001 / 200
    assert parity_error(near_zero[None], np.array([[0.0, 200.0]]), "value") == 0.001 / 200
    assert parity_error(shares, np.array([[0.5, 0.5]]), "probabilities") == 0.25
    assert parity_error(np.zeros(3), np.zeros(3), "value") == 0
    assert parity_error(np.zeros((2, 2)), np.zeros((3, 2)), "probabilities") == math.inf
    around_zero = pa.chunked_array([np.random.default_rng(0).normal(0, 1e9, 40)])
    parts = trained(mixed(), around_zero, "regression")
    export_model(*parts, tmp_path / MODEL)
    assert measure_parity(*parts, mixed(), tmp_path).max_error < 1e-6
