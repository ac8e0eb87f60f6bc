"""Estimates without labels, against what the simulated truth turns out to be."""

import numpy as np
import pytest
from sklearn import metrics

from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import SCORES, Outcomes
from pellucid.analysis.watching import estimation
from pellucid.analysis.watching.estimation import Answers
from pellucid.analysis.watching.performance import Found, Minimums, measure, verdict
from pellucid.analysis.watching.signals import Status

BINARY = [
    SCORES[name]
    for name in (
        "accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "brier"
    )
]  # fmt: skip
WEIGHTS = np.array([1.4, -1.0, 0.5])
SHIFTS = {
    "none": lambda rows: rows,
    "moved": lambda rows: rows + np.array([0.8, 0.0, 0.0]),
    "narrow": lambda rows: rows * 0.5,
    "wide": lambda rows: rows * 1.5,
    "two columns": lambda rows: rows + np.array([-0.6, 0.6, 0.0]),
}


def chance_of(rows: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-(rows @ WEIGHTS))))


def answers(rows: np.ndarray, slope: float = 1.0) -> Answers:
    """What a model says that is over-confident where the slope is above 1."""
    good = 1 / (1 + np.exp(-slope * (rows @ WEIGHTS)))
    shares = np.stack((1 - good, good), axis=1)
    return Answers(shares, shares.argmax(1))


def truth_of(rows: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(rows)) < chance_of(rows)).astype(int)


@pytest.mark.parametrize(
    ("shift", "slope"),
    [("none", 1.0), ("moved", 1.6), ("narrow", 1.0), ("wide", 1.6), ("two columns", 1.0)],
)
def test_scores_under_covariate_shift_are_estimated(shift: str, slope: float) -> None:
    random = np.random.default_rng(11)
    held = random.normal(size=(2000, 3))
    live = SHIFTS[shift](random.normal(size=(40_000, 3)))
    truth = truth_of(live, 1)
    said = answers(live, slope)
    few = Answers(said.probability[:4000], said.label[:4000])
    weight = estimation.density_ratio(held, live[:3000])
    found = estimation.classification(
        BINARY, few, answers(held, slope), truth_of(held, 2), weight=weight, resamples=30
    )
    realised = {
        "accuracy": metrics.accuracy_score(truth, said.label),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said.label),
        "precision": metrics.precision_score(truth, said.label),
        "recall": metrics.recall_score(truth, said.label),
        "f1": metrics.f1_score(truth, said.label),
        "roc_auc": metrics.roc_auc_score(truth, said.probability[:, 1]),
        "log_loss": metrics.log_loss(truth, said.probability),
        "brier": metrics.brier_score_loss(truth, said.probability[:, 1]),
    }
    assert found["accuracy"].value == pytest.approx(realised["accuracy"], abs=0.015)
    for name, value in realised.items():
        assert found[name].value == pytest.approx(value, abs=0.06), name
        assert found[name].low <= found[name].value <= found[name].high


def test_a_concept_shift_does_not_move_the_estimate() -> None:
    random = np.random.default_rng(4)
    held, live = random.normal(size=(1500, 3)), random.normal(size=(4000, 3))
    said = answers(live)
    found = estimation.classification(
        BINARY[:1], said, answers(held), truth_of(held, 2), resamples=40
    )["accuracy"]
    as_before = metrics.accuracy_score(truth_of(live, 1), said.label)
    otherwise = metrics.accuracy_score(1 - truth_of(live, 1), said.label)
    assert found.value == pytest.approx(as_before, abs=0.02)
    assert abs(found.value - otherwise) > 0.3
    reference = Interval(as_before, np.nan, np.nan)
    signal = verdict(Found("estimate", BINARY[0], found, 4000, reference), Minimums())
    assert signal.status is Status.OK
    assert "concept drift" in signal.summary
    assert "only labels do" in signal.summary


def test_several_classes_are_calibrated_and_estimated() -> None:
    random = np.random.default_rng(0)

    def rows(count: int, scale: float) -> tuple[Answers, np.ndarray]:
        scores = random.normal(size=(count, 4)) * scale
        chance = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        truth = (random.random((count, 1)) > chance.cumsum(1)).sum(1).clip(max=3)
        said = np.exp(1.5 * scores) / np.exp(1.5 * scores).sum(1, keepdims=True)
        return Answers(said, said.argmax(1)), truth

    held, truth = rows(2000, 1.5)
    live, realised = rows(5000, 2.0)
    scores = [SCORES[name] for name in ("accuracy", "roc_auc", "log_loss", "f1")]
    found = estimation.classification(scores, live, held, truth, resamples=40)
    outcomes = Outcomes(realised, live.probability)
    for score in scores:
        expected = float(score.weighted(outcomes, np.ones(5000)))
        assert found[score.name].value == pytest.approx(expected, abs=0.06), score.name
    assert found["accuracy"].value == pytest.approx(
        metrics.accuracy_score(realised, live.label), abs=0.02
    )


def test_the_same_seed_gives_the_same_limits() -> None:
    held = np.random.default_rng(0).normal(size=(300, 3))
    known = answers(held), answers(held), truth_of(held, 0)
    first, second = (
        estimation.classification(BINARY, *known, resamples=20, seed=7) for _ in range(2)
    )
    assert first == second


def test_a_single_class_in_the_sample_is_no_crash() -> None:
    held = np.random.default_rng(0).normal(size=(300, 3))
    found = estimation.classification(
        BINARY, answers(held), answers(held), np.zeros(300, int), resamples=20
    )
    assert 0 <= found["accuracy"].value <= 1
    certain = Answers(np.tile((1.0, 0.0), (200, 1)), np.zeros(200, int))
    found = estimation.classification(BINARY, certain, certain, np.zeros(200, int), resamples=20)
    assert found["accuracy"].value == pytest.approx(1, abs=0.01)
    assert np.isnan(found["precision"].value)
    assert np.isnan(found["precision"].low)


def test_weights_make_reference_rows_look_like_the_window() -> None:
    random = np.random.default_rng(2)
    held, live = random.normal(size=(2000, 2)), random.normal((0.7, 0), 1, (2000, 2))
    held[::50, 1] = np.nan
    weight = estimation.density_ratio(held, live)
    assert 0.8 < weight.mean() < 1.2
    assert np.average(held[:, 0], weights=weight) == pytest.approx(0.7, abs=0.15)
    assert 200 < estimation.effective_rows(weight) < 1500
    same = estimation.density_ratio(held, random.normal(size=(2000, 2)))
    assert estimation.effective_rows(same) > 1700
    assert estimation.overlap(same) > 0.9


@pytest.mark.parametrize("moved", [0.0, 1.0, 2.0, 4.0, 20.0])
def test_overlap_is_the_windows_share_that_the_reference_covers(moved: float) -> None:
    random = np.random.default_rng(4)
    held, live = random.random((3000, 1)) * 4, moved + random.random((3000, 1)) * 4
    ratio = estimation.density_ratio(held, live)
    covered = float((live < 4).mean())
    assert estimation.overlap(ratio) == pytest.approx(covered, abs=0.06)


def test_losses_of_a_regression_follow_the_inputs() -> None:
    random = np.random.default_rng(3)

    def error_of(rows: np.ndarray) -> np.ndarray:
        return random.normal(size=len(rows)) * (0.5 + rows[:, 0])

    held, live = random.uniform(0, 4, (1500, 2)), random.uniform(2, 4, (4000, 2))
    found = estimation.regression(held, error_of(held), live)
    realised = error_of(live)
    for name, value in (
        ("mae", np.abs(realised).mean()),
        ("rmse", np.sqrt((realised**2).mean())),
    ):
        assert found[name].value == pytest.approx(value, rel=0.08)
        assert found[name].low < value < found[name].high
    assert found["mse"].value == pytest.approx(found["rmse"].value ** 2)
    few = held[:400]
    steps = estimation.regression(few, np.stack([error_of(few)] * 3, axis=1), live[:400])
    assert steps["mae"].value == pytest.approx(np.abs(realised).mean(), rel=0.2)


def test_limits_of_many_rows_are_those_of_few_brought_nearer() -> None:
    random = np.random.default_rng(0)
    chance = random.beta(1, 1, 40_000)
    rows = Outcomes(
        (random.random(40_000) < chance).astype(int), np.stack((1 - chance, chance), axis=1)
    )
    scores = [SCORES["roc_auc"], SCORES["log_loss"], SCORES["accuracy"]]
    many, few = measure(scores, rows), measure(scores, rows.take(np.arange(4000)))
    for score in scores:
        wide, narrow = (each[score.name].high - each[score.name].low for each in (few, many))
        assert narrow == pytest.approx(wide / np.sqrt(10), rel=0.25), score.name
    assert many["roc_auc"].value == pytest.approx(
        metrics.roc_auc_score(rows.truth, rows.prediction[:, 1])
    )


@pytest.mark.slow
def test_estimates_hold_the_truth_as_often_as_their_limits_say() -> None:
    hits = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        held = random.normal(size=(800, 3))
        live = random.normal((0.4, 0, 0), 0.8, (1000, 3))
        found = estimation.classification(
            BINARY,
            answers(live, 1.3),
            answers(held, 1.3),
            truth_of(held, seed + 1000),
            weight=estimation.density_ratio(held, live),
        )
        said = answers(live, 1.3)
        rows = Outcomes(truth_of(live, seed + 2000), said.probability)
        for score in BINARY:
            value = float(score.weighted(rows, np.ones(1000)))
            hits.append(found[score.name].low <= value <= found[score.name].high)
    assert np.mean(hits) > 0.9
