import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.errors import InvalidData
from pellucid.jobs.workspace import Request
from pellucid.schema import Role
from pellucid_pipelines import data
from support.training import a_plan, schema_of

ROLES = {"y": Role.TARGET, "w": Role.WEIGHT, "s": Role.SENSITIVE, "unused": Role.IGNORE}


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    return pa.table(
        {
            "x": random.normal(size=100),
            "colour": random.choice(["red", "green"], 100),
            "s": random.choice(["a", "b"], 100),
            "w": random.uniform(1, 3, 100),
            "unused": random.normal(size=100),
            "y": [0] * 75 + [1] * 25,
        }
    )


def prepared(table):
    spec = a_plan(
        target="y", task="classification", modality="tabular", split={"kind": "stratified"}
    )
    return data.prepare(table, data.split(table, spec), schema_of(table, ROLES), spec)


def test_only_columns_that_are_used_are_read(tmp_path, table):
    pq.write_table(table, tmp_path / "data.parquet")
    values = {"job_id": "j", "attempt": 1, "plan": {}, "data_version": "d"}
    request = Request(
        **values,
        data_schema=schema_of(table, ROLES),
        data_path=str(tmp_path / "data.parquet"),
    )
    assert data.read(request, a_plan()).column_names == ["x", "colour", "s", "w", "y"]
    by_group = a_plan(split={"kind": "group", "column": "unused"})
    assert "unused" in data.read(request, by_group).column_names


def test_rows_are_dense_and_weighted_by_row_and_class(table):
    examples = prepared(table)
    part = examples.parts.train
    rows = examples.rows(part, "balanced")
    assert rows.inputs.shape == (60, 3)
    truth, weight = table["y"].to_numpy()[part], table["w"].to_numpy()[part]
    assert rows.targets.tolist() == truth.tolist()
    expected = weight * np.where(truth == 1, 60 / (2 * 15), 60 / (2 * 45))
    np.testing.assert_allclose(rows.weights, expected / expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(examples.rows(part).weights, weight / weight.mean(), rtol=1e-5)


def test_balance_is_that_of_the_training_rows(table):
    examples = prepared(table)
    ones = examples.parts.validation[table["y"].to_numpy()[examples.parts.validation] == 1]
    weights = examples.rows(ones, "balanced").weights
    plain = table["w"].to_numpy()[ones]
    np.testing.assert_allclose(weights, plain / plain.mean(), rtol=1e-5)


def test_sensitive_columns_are_no_inputs_but_are_at_hand(table):
    examples = prepared(table)
    assert list(examples.preprocessing.features.blocks) == ["x", "colour"]
    test = examples.parts.test
    assert examples.sensitive(test)["s"].tolist() == table["s"].to_numpy()[test].tolist()


def test_a_negative_weight_is_refused(table):
    column = table.column_names.index("w")
    with pytest.raises(InvalidData, match="negative: -1"):
        prepared(table.set_column(column, "w", pa.array(np.full(100, -1.0))))


def test_preprocessing_sees_training_rows_only(table):
    examples = prepared(table)
    held_out = np.concatenate([examples.parts.validation, examples.parts.test])
    values = table["x"].to_numpy().copy()
    values[held_out] = 1e9
    changed = prepared(table.set_column(0, "x", pa.array(values)))
    part = examples.parts.train
    assert np.array_equal(changed.rows(part).inputs, examples.rows(part).inputs)
