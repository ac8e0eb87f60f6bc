"""Metrics by group: those of fairlearn and scikit-learn, from counts that add up."""

import warnings

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_ratio,
    equalized_odds_difference,
    false_negative_rate,
    false_positive_rate,
    selection_rate,
    true_negative_rate,
    true_positive_rate,
)
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_score

from pellucid.analysis.calibration import calibration_error
from pellucid.analysis.fairness.counting import Table, count, empty
from pellucid.analysis.fairness.criteria import judge
from pellucid.analysis.fairness.disparities import compare
from pellucid.analysis.fairness.metrics import METRICS, NUMBER_METRICS, means, shares
from pellucid.analysis.fairness.moments import add_up
from pellucid.analysis.intervals import wilson

GROUPS = 7


def rows(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Groups, truths, predictions and scores of people."""
    random = np.random.default_rng(seed)
    group = random.integers(0, GROUPS, number)
    score = np.clip(random.beta(2, 3, number) + 0.03 * group, 0, 1)
    truth = random.random(number) < score**1.2
    return group, truth, score > 0.45, score


def test_every_metric_is_fairlearns_to_nine_digits() -> None:
    group, truth, predicted, score = rows(20_000)
    table = count(group, GROUPS, predicted, truth, score)
    theirs = {
        "selection_rate": selection_rate,
        "base_rate": lambda t, p: t.mean(),
        "accuracy": accuracy_score,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
        "true_negative_rate": true_negative_rate,
        "false_negative_rate": false_negative_rate,
        "precision": precision_score,
        "negative_predictive_value": lambda t, p: precision_score(~t, ~p.astype(bool)),
    }
    frame = MetricFrame(metrics=theirs, y_true=truth, y_pred=predicted, sensitive_features=group)
    scored = {
        "mean_score": lambda t, s: s.mean(),
        "calibration_gap": lambda t, s: s.mean() - t.mean(),
        "calibration_error": lambda t, s: float(calibration_error(t, s, np.ones(len(s)))),
    }
    scores = MetricFrame(metrics=scored, y_true=truth, y_pred=score, sensitive_features=group)
    assert set(METRICS) == theirs.keys() | scored.keys()
    for name, metric in METRICS.items():
        expected = (frame if name in theirs else scores).by_group[name]
        found = metric.of(table, 0.95)
        np.testing.assert_allclose(found.value, expected.to_numpy(float), atol=1e-9, rtol=0)
        assert (found.low <= found.value).all()
        assert (found.value <= found.high).all()
        assert (found.low < found.high).all(), name


def test_disparities_are_fairlearns() -> None:
    group, truth, predicted, score = rows(5_000)
    table = count(group, GROUPS, predicted, truth, score)
    names = [str(g) for g in range(GROUPS)]
    frame = MetricFrame(
        metrics={"s": selection_rate, "t": true_positive_rate},
        y_true=truth, y_pred=predicted, sensitive_features=group,
    )  # fmt: skip
    for short, name in (("s", "selection_rate"), ("t", "true_positive_rate")):
        gap = compare(METRICS[name], table, names)
        assert gap.interval.value == pytest.approx(frame.difference()[short], abs=1e-12)
        assert (gap.lowest, gap.highest) == (
            str(frame.by_group[short].idxmin()), str(frame.by_group[short].idxmax()),
        )  # fmt: skip
        of = compare(METRICS[name], table, names, aggregate="ratio")
        assert of.interval.value == pytest.approx(frame.ratio()[short], abs=1e-12)
    found = {each.criterion.name: each.disparity for each in judge(table, names)}
    assert found["demographic_parity"].interval.value == pytest.approx(
        demographic_parity_ratio(truth, predicted, sensitive_features=group)
    )
    assert found["equalized_odds"].interval.value == pytest.approx(
        equalized_odds_difference(truth, predicted, sensitive_features=group)
    )


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_tables_of_parts_add_up_to_the_table_of_all(first: int, second: int, seed: int) -> None:
    group, truth, predicted, score = rows(first + second, seed)
    whole = count(group, GROUPS, predicted, truth, score)
    parts = [
        count(group[part], GROUPS, predicted[part], truth[part], score[part])
        for part in (slice(0, first), slice(first, None))
    ]
    total: Table = parts[0] + parts[1] + empty(GROUPS)
    np.testing.assert_array_equal(total.counts, whole.counts)
    np.testing.assert_allclose(total.scores, whole.scores, rtol=1e-12)
    halves = np.arange(GROUPS) % 2
    merged = whole.merged(halves, 2)
    expected = count(halves[group], 2, predicted, truth, score)
    np.testing.assert_array_equal(merged.counts, expected.counts)
    np.testing.assert_allclose(merged.squares, expected.squares, rtol=1e-12)


def test_rows_of_unknown_truth_count_for_selection_and_nothing_else() -> None:
    group, truth, predicted, score = rows(2_000)
    known = np.arange(2_000) < 1_500
    told = np.where(known, truth, 2)
    mixed = count(group, GROUPS, predicted, told, score)
    alone = count(group[known], GROUPS, predicted[known], truth[known], score[known])
    for name, metric in METRICS.items():
        same = metric.of(mixed, 0.95).value == metric.of(alone, 0.95).value
        assert same.all() == (name not in ("selection_rate", "mean_score")), name
    unlabelled = count(group, GROUPS, predicted)
    known_metrics = {name for name, metric in METRICS.items() if metric.known(unlabelled)}
    assert known_metrics == {"selection_rate"}


def test_limits_of_shares_are_wilsons() -> None:
    found = shares(np.array([0, 3, 10, 0]), np.array([5, 8, 10, 0]), 0.9)
    for g, (hits, trials) in enumerate([(0, 5), (3, 8), (10, 10)]):
        expected = wilson(hits / trials, trials, 0.9)
        np.testing.assert_allclose([found.low[g], found.high[g]], [expected.low, expected.high])
    assert np.isnan([found.value[3], found.low[3], found.high[3]]).all()


def test_a_mean_of_one_row_has_no_limits_and_of_none_no_value() -> None:
    found = means(np.array([0.0, 1, 4]), np.array([0.0, 2, 8]), np.array([0.0, 4, 18]), 0.95)
    np.testing.assert_array_equal(found.value, [np.nan, 2, 2])
    assert np.isnan(found.low).tolist() == [True, True, False]
    assert found.high[2] == pytest.approx(2 + 3.18245 * np.sqrt(2 / 3 / 4), rel=1e-5)


def test_numbers_have_their_mean_and_their_errors() -> None:
    random = np.random.default_rng(1)
    group, value = random.integers(0, 3, 500), 1e9 + random.normal(size=500)
    truth = value - 0.5 + random.normal(size=500)
    truth[::5] = np.nan
    sums = add_up(group, 3, value, truth, origin=1e9) + add_up(group[:0], 3, value[:0])
    known = ~np.isnan(truth)
    for g in range(3):
        mine, error = group == g, (value - truth)[known & (group == g)]
        expected = value[mine].mean(), error.mean(), np.abs(error).mean()
        for metric, wanted in zip(NUMBER_METRICS.values(), expected, strict=True):
            found = metric.of(sums, 0.95)
            assert found.value[g] == pytest.approx(wanted, rel=1e-12, abs=1e-6)
            assert found.low[g] < found.value[g] < found.high[g]
    assert sums.spread == pytest.approx(value.std(), rel=1e-6)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"codes": [0, 3]}, "codes are from 0 to 2"),
        ({"truth": [0, 3]}, "truths are NO, YES or UNKNOWN"),
        ({"score": [0.5, 1.5]}, "from 0 to 1"),
        ({"score": [0.5, np.nan]}, "from 0 to 1"),
        ({"score": [0.5]}, "different lengths"),
    ],
)
def test_what_cannot_be_counted_is_refused(bad: dict[str, list[float]], why: str) -> None:
    given = {"codes": [0, 1], "predicted": [0, 1], "truth": [0, 1], "score": [0.1, 0.9]} | bad
    arrays = {name: np.array(values) for name, values in given.items()}
    with pytest.raises(ValueError, match=why), warnings.catch_warnings():
        count(groups=3, **arrays)
