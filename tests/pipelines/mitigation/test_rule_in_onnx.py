"""The rule inside model.onnx and explain.onnx, against the same rule in NumPy."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid import decisions, plan
from pellucid.bundle import MODEL, PARITY, Input
from pellucid.errors import TrainingFailed
from pellucid.schema import Kind
from pellucid_pipelines import architectures
from pellucid_pipelines.export import export_model, measure_parity, raw_inputs, run_onnx
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.preprocessing import Tabular
from pellucid_pipelines.tensors import Target
from support.training import schema_of

SEX = Input.of("sex", Kind.CATEGORICAL, ("f", "日本", "m"))
AGE = Input.of("label", Kind.NUMERIC).model_copy(update={"edges": (25.0, 60.0)})  # a taken name
CITIZEN = Input.of("core/x", Kind.BOOLEAN)
COLUMNS = (SEX, AGE, CITIZEN)


def a_rule(columns, positive=1, seed=0):
    count = int(np.prod(decisions.shape_of(columns)))
    table = np.random.default_rng(seed).uniform(0.3, 0.7, count).astype(np.float32)
    table[0], table[-1] = 0.0, decisions.NEVER
    return Rule(columns, table, 0.5, positive, {})


def a_model(classes=("no", "yes"), positive=None):
    random = np.random.default_rng(0)
    table = pa.table(
        {
            "x": random.normal(size=60),
            "k": random.choice(["u", "v"], 60),
            "sex": random.choice(["f", "m", "日本"], 60),
            "label": random.integers(18, 80, 60),
            "core/x": random.choice([True, False], 60),
        }
    )
    schema = schema_of(table.select(["x", "k"]), {})
    preprocessing = Tabular.fit(table, schema.columns, plan.Preprocessing(min_count=1))
    target = Target.fit(pa.chunked_array([list(classes) * 30]), "y", "classification", positive)
    torch.manual_seed(0)
    network = architectures.build(plan.Mlp(widths=(8,)), preprocessing.features, 1)
    return network, preprocessing, target, table


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    network, preprocessing, target, _ = a_model()
    path = tmp_path_factory.mktemp("ruled") / MODEL
    rule = a_rule(COLUMNS)
    export_model(network, preprocessing, target, path, rule)
    return path, rule


CELLS = {
    "x": st.floats(-3, 3),
    "k": st.sampled_from(["u", "v", ""]),
    "sex": st.sampled_from(["f", "m", "日本", "", "?"]) | st.text(st.characters(codec="utf-8")),
    "label": st.floats() | st.sampled_from([25.0, 60.0]),
    "core/x": st.sampled_from([0.0, 1.0, np.nan]),
}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(st.fixed_dictionaries(CELLS), min_size=0, max_size=6))
def test_any_row_is_decided_as_in_numpy(exported, rows):
    path, rule = exported
    raw = {
        name: np.array([row[name] for row in rows], object if name in ("k", "sex") else float)
        for name in CELLS
    }
    found = run_onnx(path, raw)
    thresholds = rule.of_raw(raw)
    chosen = rule.labels(found["probabilities"], thresholds)
    assert found["label"].tolist() == [("no", "yes")[i] for i in chosen]
    if len(rows):
        blank = run_onnx(path, raw | rule.blank(len(rows)))
        np.testing.assert_array_equal(found["probabilities"], blank["probabilities"])


@pytest.mark.parametrize(("columns", "positive"), [((AGE,), "yes"), ((CITIZEN, SEX), "no")])
def test_parity_covers_every_group_missing_and_unknown(tmp_path, columns, positive):
    network, preprocessing, target, table = a_model(positive=positive)
    rule = a_rule(columns, target.positive)
    export_model(network, preprocessing, target, tmp_path / MODEL, rule)
    parity = measure_parity(network, preprocessing, target, table, tmp_path, rule)
    assert parity.max_error < 1e-6
    with np.load(tmp_path / PARITY) as arrays:
        for column in columns:
            values = arrays[f"input:{column.name}"]
            missing = values == "" if values.dtype.kind == "U" else np.isnan(values)
            assert missing.any()
            if column.categories:
                assert not set(values) <= {"", *column.categories}


def test_another_rule_than_that_of_the_graph_is_refused(tmp_path):
    network, preprocessing, target, table = a_model()
    export_model(network, preprocessing, target, tmp_path / MODEL, a_rule((SEX,)))
    swapped = Rule((SEX,), np.float32([decisions.NEVER, 0, 0, 0]), 0.0, 1, {})
    with pytest.raises(TrainingFailed, match="labels"):
        measure_parity(network, preprocessing, target, table, tmp_path, swapped)


def test_integer_classes_and_names_that_are_taken(tmp_path):
    network, preprocessing, target, table = a_model(classes=(1, 2))
    rule = a_rule(COLUMNS)
    export_model(network, preprocessing, target, tmp_path / MODEL, rule)
    raw = raw_inputs(table, (*preprocessing.inputs, *rule.columns))
    found = run_onnx(tmp_path / MODEL, raw)
    assert set(found) == {"label", "probabilities"}
    assert found["label"].dtype == np.int64
    np.testing.assert_array_equal(
        found["label"], 1 + rule.labels(found["probabilities"], rule.of_raw(raw))
    )
