"""Fairness on held-out rows: the audit, its tables, and its section in the card."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pellucid.errors import InvalidPlan
from pellucid.schema import Role
from pellucid_pipelines import data, fairness
from pellucid_pipelines.card.fairness import fairness as section
from support.training import a_plan, schema_of

ROLES = {"bad": Role.TARGET, "sex": Role.SENSITIVE, "age": Role.SENSITIVE, "photo": Role.SENSITIVE}


def table(target: Any, rows: int = 900) -> pa.Table:
    random = np.random.default_rng(7)  # not the split's
    sex = np.where(random.random(rows) < 0.5, "f", "m").astype(object)
    sex[::50] = None
    return pa.table(
        {
            "x": random.normal(size=rows),
            "sex": pa.array(sex, pa.string()),
            "age": pa.array(random.integers(18, 90, rows)),
            "photo": pa.array([b"x"] * rows, pa.large_binary()),
            "bad": pa.array(target(random, rows)),
        }
    )


def prepared(target: Any, **parts: Any) -> tuple[data.Data, Any]:
    rows = table(target)
    schema = schema_of(rows, ROLES)
    task = parts.pop("task", "classification")
    spec = a_plan(target="bad", task=task, modality="tabular", split={"kind": "random"}, **parts)
    return data.prepare(rows, data.split(rows, spec), schema, spec), spec


def binary(random: Any, rows: int) -> Any:
    return random.integers(0, 2, rows)


def test_the_groups_are_those_of_training_rows() -> None:
    examples, spec = prepared(binary)
    sex, age = fairness.described(examples, spec.training.seed)
    assert (sex.name, sex.categories, sex.edges) == ("sex", ("f", "m"), ())
    assert (age.name, age.categories, len(age.edges)) == ("age", (), 3)
    alone = dataclasses.replace(examples, schema=schema_of(table(binary), {"bad": Role.TARGET}))
    assert fairness.described(alone, 0) == ()
    assert fairness.audit(np.empty(0), np.empty((0, 2)), None, alone, spec) is None


def test_a_biased_model_is_told_of() -> None:
    examples, spec = prepared(binary, evaluation={"favourable": "0", "min_group": 10})
    rows = examples.parts.test
    truth = examples.truth(rows)
    women = examples.sensitive(rows)["sex"] == "f"
    share = np.where(women, 0.9, 0.1) + 0.01 * truth
    prediction = np.stack([1 - share, share], 1)
    found = fairness.audit(truth, prediction, None, examples, spec)
    assert found is not None
    assert found.outcomes == ("0",)
    verdicts = {(row["column"], row["criterion"]): row["status"] for row in found.criteria}
    assert verdicts["sex", "demographic_parity"] == "alarm"
    assert verdicts["age", "demographic_parity"] == "unclear"  # so few rows
    lines = {row["category"]: row for row in found.impact if row["column"] == "sex"}
    assert (lines["f"]["impact"], lines["m"]["impact"]) == (0, 1)
    assert lines["f"]["unknown"] > 0
    text = section(found)
    assert "selected means: predicted 0" in text
    assert "| f | " in text
    assert "below four fifths" in text
    assert f"{lines['f']['unknown']} rows whose category is not known" in text


def test_the_label_may_be_decided_otherwise() -> None:
    examples, spec = prepared(binary)
    truth = examples.truth(examples.parts.test)
    prediction = np.full((len(truth), 2), 0.5)
    found = fairness.audit(truth, prediction, np.ones(len(truth), int), examples, spec)
    assert found is not None
    assert {row["rate"] for row in found.impact} == {1.0}


def test_each_of_several_classes_is_looked_at_in_turn() -> None:
    examples, spec = prepared(lambda random, rows: random.choice(["a", "b", "c"], rows))
    truth = examples.truth(examples.parts.test)
    found = fairness.audit(truth, np.eye(3)[truth], None, examples, spec)
    assert found is not None
    assert found.outcomes == ("a", "b", "c")
    assert "Impact ratios by sex, b" in section(found)
    assert "demographic parity: c" in section(found)


def test_of_too_many_classes_none_is() -> None:
    examples, spec = prepared(lambda random, rows: [f"c{i % 14:02}" for i in range(rows)])
    truth = examples.truth(examples.parts.test)
    found = fairness.audit(truth, np.eye(14)[truth], None, examples, spec)
    assert found == fairness.Fairness()
    assert "Not assessed" in section(found)


def test_numbers_are_selected_above_their_median() -> None:
    examples, spec = prepared(lambda random, rows: random.normal(size=rows), task="regression")
    truth = examples.truth(examples.parts.test)
    women = examples.sensitive(examples.parts.test)["sex"] == "f"
    found = fairness.audit(truth, truth + 3 * women, None, examples, spec)
    assert found is not None
    verdicts = {row["criterion"]: row["status"] for row in found.criteria if row["column"] == "sex"}
    assert verdicts["mean_error_gap"] == verdicts["mean_prediction_gap"] == "alarm"
    lines = {row["category"]: row for row in found.impact if row["column"] == "sex"}
    assert lines["m"]["status"] == "alarm"
    assert "above the median" in section(found)


def test_a_favourable_class_that_is_none_is_refused() -> None:
    examples, spec = prepared(binary, evaluation={"favourable": "good"})
    with pytest.raises(InvalidPlan, match="no class of 'bad'") as caught:
        fairness.check(spec, examples.target)
    assert caught.value.remedy == "Its classes are: 0, 1."
    fairness.check(a_plan(evaluation={"favourable": "1"}), examples.target)
    fairness.check(a_plan(), examples.target)
