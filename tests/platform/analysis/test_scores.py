"""Every score of the table against scikit-learn: weights, ties, classes without rows."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.analysis.scores import SCORES, Outcomes, confusion_matrix

SEEDS = st.integers(0, 2**32 - 1)


class Case:
    """Rows, with ties among the probabilities and now and then a class without rows."""

    def __init__(self, seed: int, classes: int, rows: int, weighted: bool) -> None:
        random = np.random.default_rng(seed)
        coarse = random.integers(1, 5, size=(rows, classes)).astype(float)
        self.classes = classes
        self.prediction = coarse / coarse.sum(1, keepdims=True)
        self.truth = random.integers(0, random.integers(1, classes + 1), size=rows)
        self.weight = random.choice([0.5, 1.0, 3.0], size=rows) if weighted else None
        self.positive = int(random.integers(0, 2))
        self.label = self.prediction.argmax(1)
        self.present = np.unique(self.truth)

    def one_vs_rest(self, score: Callable[..., float], k: int) -> float:
        return score(self.truth == k, self.prediction[:, k], sample_weight=self.weight)

    def of_labels(self, score: Callable[..., float]) -> float:
        """Binary: of the positive class, NaN where undefined. More: over the classes present."""
        given = {"sample_weight": self.weight}
        if self.classes == 2:
            given |= {"labels": [self.positive], "average": None, "zero_division": math.nan}
            return score(self.truth, self.label, **given)[0]
        given |= {"labels": self.present, "average": "macro", "zero_division": 0.0}
        return score(self.truth, self.label, **given)

    def of_rankings(self, score: Callable[..., float], both_sides: bool) -> float:
        scored = [self.positive] if self.classes == 2 else range(self.classes)
        usable = [k for k in scored if k in self.present]
        if both_sides and len(self.present) < 2:
            usable = []
        return np.mean([self.one_vs_rest(score, k) for k in usable]) if usable else math.nan

    def calibration(self) -> float:
        """Written out bin by bin."""
        event, probability = self.truth == self.label, self.prediction.max(1)
        if self.classes == 2:
            event, probability = self.truth == self.positive, self.prediction[:, self.positive]
        weight = np.ones(len(event)) if self.weight is None else self.weight
        total = 0.0
        for b in range(10):
            inside = [i for i, p in enumerate(probability) if min(int(p * 10), 9) == b]
            total += abs(sum(weight[i] * (event[i] - probability[i]) for i in inside))
        return total / weight.sum()


CLASSIFICATION: dict[str, Callable[[Case], float]] = {
    "accuracy": lambda c: sk.accuracy_score(c.truth, c.label, sample_weight=c.weight),
    "balanced_accuracy": lambda c: sk.recall_score(
        c.truth, c.label, labels=c.present, average="macro", sample_weight=c.weight
    ),
    "precision": lambda c: c.of_labels(sk.precision_score),
    "recall": lambda c: c.of_labels(sk.recall_score),
    "f1": lambda c: c.of_labels(sk.f1_score),
    "roc_auc": lambda c: c.of_rankings(sk.roc_auc_score, True),
    "pr_auc": lambda c: c.of_rankings(sk.average_precision_score, False),
    "log_loss": lambda c: sk.log_loss(
        c.truth, c.prediction, labels=range(c.classes), sample_weight=c.weight
    ),
    "brier": lambda c: sk.brier_score_loss(
        c.truth, c.prediction, labels=range(c.classes), sample_weight=c.weight
    ),
    "ece": Case.calibration,
}
REGRESSION: dict[str, Callable[..., Any]] = {
    "mae": sk.mean_absolute_error,
    "mse": sk.mean_squared_error,
    "rmse": sk.root_mean_squared_error,
    "r2": sk.r2_score,
    "mape": sk.mean_absolute_percentage_error,
}


def test_every_score_has_a_reference() -> None:
    assert set(CLASSIFICATION) | set(REGRESSION) == set(SCORES)
    assert all(SCORES[name].task == "classification" for name in CLASSIFICATION)
    assert all(SCORES[name].task == "regression" for name in REGRESSION)


@pytest.mark.parametrize("name", CLASSIFICATION)
@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 5), st.integers(1, 40), st.booleans())
def test_classification_scores_equal_scikit_learn(
    name: str, seed: int, classes: int, rows: int, weighted: bool
) -> None:
    case = Case(seed, classes, rows, weighted)
    with warnings.catch_warnings():  # scikit-learn warns of what we define as NaN
        warnings.simplefilter("ignore")
        expected = CLASSIFICATION[name](case)
    actual = SCORES[name](case.truth, case.prediction, case.weight, positive=case.positive)
    assert actual == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", REGRESSION)
@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 40), st.booleans())
def test_regression_scores_equal_scikit_learn(
    name: str, seed: int, rows: int, weighted: bool
) -> None:
    random = np.random.default_rng(seed)
    truth = random.normal(1e4, 1, size=rows)  # far from 0: sums of squares must not cancel
    prediction = (truth + random.normal(size=rows)).astype(np.float32)
    weight = random.uniform(0.1, 5, size=rows) if weighted else None
    expected = REGRESSION[name](truth, prediction.astype(float), sample_weight=weight)
    assert SCORES[name](truth, prediction, weight) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_whole_weights_are_repeated_rows_and_matrices_are_many_weightings(
    score: Any, seed: int
) -> None:
    random = np.random.default_rng(seed)
    truth, prediction = rows_for(score, random, 30)
    counts = random.integers(0, 4, size=(5, 30)).astype(float)
    together = score.weighted(Outcomes(truth, prediction), counts)
    assert together.shape == (5,)
    for row, value in zip(counts.astype(int), together, strict=True):
        repeated = score(np.repeat(truth, row), np.repeat(prediction, row, axis=0))
        assert value == pytest.approx(repeated, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_perfect_predictions_score_better_than_noise(score: Any) -> None:
    random = np.random.default_rng(3)
    truth, noise = rows_for(score, random, 400)
    perfect = np.eye(3)[truth] if score.task == "classification" else truth
    assert score.sign * (score(truth, perfect) - score(truth, noise)) > 0
    assert (score.sign == 1) == (score.direction == "higher")


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_no_rows_or_no_weight_is_undefined(score: Any) -> None:
    truth, prediction = rows_for(score, np.random.default_rng(0), 4)
    assert math.isnan(score(truth[:0], prediction[:0]))
    assert math.isnan(score(truth, prediction, np.zeros(4)))


def test_one_class_leaves_rankings_undefined() -> None:
    truth, prediction = np.zeros(5, dtype=int), np.full((5, 2), 0.5)
    undefined = {n for n in CLASSIFICATION if math.isnan(SCORES[n](truth, prediction))}
    assert undefined == {"precision", "recall", "f1", "roc_auc", "pr_auc"}
    assert SCORES["accuracy"](truth, prediction) == 1.0  # of equals the first class wins


def test_constant_and_zero_targets_leave_r2_and_mape_undefined() -> None:
    prediction = np.array([1.0, 2.0, 3.0])
    assert math.isnan(SCORES["r2"](np.full(3, 0.1), prediction))
    assert math.isnan(SCORES["r2"](np.array([0.1, 0.1, 7.0]), prediction, np.array([3.0, 1, 0])))
    assert math.isnan(SCORES["mape"](np.zeros(3), prediction))
    assert SCORES["mape"](np.array([0.0, 2.0, 2.0]), prediction) == pytest.approx(0.25)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    prediction = np.array([[1.0, 0.0]], dtype=np.float32)
    expected = -math.log(np.finfo(np.float32).eps)
    assert SCORES["log_loss"](np.array([1]), prediction) == pytest.approx(expected)


def test_confusion_matrix_equals_scikit_learn() -> None:
    case = Case(5, 4, 60, weighted=True)
    rows = Outcomes(case.truth, case.prediction)
    for weight in (None, case.weight):
        expected = sk.confusion_matrix(
            case.truth, case.label, labels=range(4), sample_weight=weight
        )
        np.testing.assert_allclose(confusion_matrix(rows, weight), expected)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\).*\(2, 2\)"):
        Outcomes(np.zeros(3), np.zeros((2, 2)))


def rows_for(score: Any, random: np.random.Generator, rows: int) -> tuple[Any, Any]:
    if score.task == "classification":
        raw = random.integers(1, 6, size=(rows, 3)).astype(float)
        return random.integers(0, 3, size=rows), raw / raw.sum(1, keepdims=True)
    return random.normal(50, 5, size=rows), random.normal(50, 5, size=rows)


@pytest.mark.parametrize("name", ["mae", "mse", "rmse", "r2", "mape"])
def test_a_forecast_is_scored_over_all_its_steps(name):
    random = np.random.default_rng(0)
    truth, prediction = random.normal(size=(2, 40, 6))
    weight = random.uniform(1, 2, 40)
    flat = SCORES[name](truth.ravel(), prediction.ravel(), np.repeat(weight, 6))
    assert SCORES[name](truth, prediction, weight) == pytest.approx(flat)
