"""Evaluation on held-out rows: what it holds, and what it refuses."""

import math

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from pellucid import plan
from pellucid.analysis.scores import SCORES
from pellucid.errors import TrainingFailed
from pellucid_pipelines.evaluate import HEADLINES, Evaluation, evaluate, kind_of_task

SPEC = plan.Evaluation(resamples=100)


def classified(
    rows: int = 200, classes: int = 2, **given: object
) -> tuple[np.ndarray, np.ndarray, Evaluation]:
    random = np.random.default_rng(0)
    raw = random.normal(size=(rows, classes))
    truth = raw.argmax(1)
    raw = np.exp(raw + random.normal(size=(rows, classes)))
    prediction = (raw / raw.sum(1, keepdims=True)).astype(np.float32)
    options: dict[str, object] = {
        "classes": tuple("abcdefgh"[:classes]),
        "positive": 1 if classes == 2 else None,
        "sensitive": {},
        "weight": None,
        "spec": SPEC,
        "seed": 0,
    }
    return truth, prediction, evaluate(truth, prediction, **(options | given))  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [2, 5])
def test_classification_has_its_scores_with_limits(classes: int) -> None:
    truth, prediction, found = classified(classes=classes)
    expected = {name for name, score in SCORES.items() if score.task == "classification"}
    assert set(found.metrics) == expected
    for name in expected - {"ece"}:
        interval = found.metrics[name]
        assert interval.low < interval.value < interval.high, name
    label = prediction.argmax(1)
    average = "binary" if classes == 2 else "macro"
    assert found.metrics["f1"].value == pytest.approx(f1_score(truth, label, average=average))
    assert found.metrics["balanced_accuracy"].value == pytest.approx(
        balanced_accuracy_score(truth, label)
    )
    assert found.confusion is not None
    np.testing.assert_array_equal(found.confusion, confusion_matrix(truth, label))
    assert (found.groups, found.disparities) == ([], [])


def test_the_positive_class_may_be_the_first() -> None:
    truth, prediction, found = classified(positive=0)
    expected = f1_score(truth, prediction.argmax(1), pos_label=0)
    assert found.metrics["f1"].value == pytest.approx(expected)


def test_regression_is_in_the_targets_units() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(500, 100, size=150)
    found = evaluate(
        truth,
        (truth + 7).astype(np.float32),
        classes=None,
        positive=None,
        sensitive={"site": np.array(["x", "y", None] * 50, dtype=object)},
        weight=None,
        spec=SPEC,
        seed=0,
    )
    assert set(found.metrics) == {"mae", "mse", "rmse", "r2", "mape"}
    assert found.metrics["mae"].value == pytest.approx(7, rel=1e-5)
    assert found.confusion is None
    assert {row["group"] for row in found.groups} == {"x", "y", "(missing)"}


def test_rows_by_group_make_a_table() -> None:
    sensitive = {
        "sex": np.array(["f", "m", "m", "m"] * 50, dtype=object),
        "age": np.append(np.arange(190.0), [math.nan] * 10),
    }
    _, _, found = classified(sensitive=sensitive)
    table = pa.Table.from_pylist(found.groups)
    assert table.column_names == [
        "column", "group", "rows", "metric", "value", "low", "high", "verdict",
    ]  # fmt: skip
    assert table.schema.field("value").type == pa.float64()
    assert table.num_rows == (2 + 5) * 10
    rows = {(r["column"], r["group"]): r["rows"] for r in found.groups}
    assert rows["sex", "f"] == 50
    assert rows["age", "(missing)"] == 10
    assert all(r["verdict"] == "too few rows" for r in found.groups if r["group"] == "(missing)")
    assert pa.Table.from_pylist(found.disparities).column_names == [
        "column", "metric", "aggregate", "value", "low", "high",
    ]  # fmt: skip


def test_weights_count() -> None:
    weight = np.zeros(200)
    weight[:50] = 2.0
    truth, prediction, found = classified(weight=weight)
    alone = SCORES["roc_auc"](truth[:50], prediction[:50])
    assert found.metrics["roc_auc"].value == pytest.approx(alone)
    assert found.confusion is not None
    assert found.confusion.sum() == 100


def test_the_same_seed_gives_the_same_limits() -> None:
    assert classified(seed=1)[2].metrics == classified(seed=1)[2].metrics
    assert classified(seed=1)[2].metrics != classified(seed=2)[2].metrics


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_predictions_that_are_not_finite_are_refused(value: float) -> None:
    prediction = np.full((4, 2), 0.5)
    prediction[2, 0] = value
    with pytest.raises(TrainingFailed, match="1 of 4 test rows"):
        evaluate(
            np.array([0, 1, 0, 1]), prediction, classes=("a", "b"), positive=1,
            sensitive={}, weight=None, spec=SPEC, seed=0,
        )  # fmt: skip


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_headlines_are_scores_of_their_task(classes: int) -> None:
    task = "classification" if classes else "regression"
    assert all(SCORES[name].task == task for name in HEADLINES[kind_of_task(classes)])
