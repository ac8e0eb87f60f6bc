"""Thresholds of groups, against all combinations tried one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from pellucid.analysis.thresholds import RATES, Curve, at_rate, equalized


def a_group(seed, rows, ties=False):
    random = np.random.default_rng(seed)
    positive = random.random(rows) < 0.4
    positive[:2] = True, False
    score = 1 / (1 + np.exp(-(random.normal(size=rows) + 1.2 * positive)))
    score = score.round(1) if ties else score
    return score.astype(np.float32), positive, random.integers(1, 4, rows).astype(float)


def gain(curves, places, balanced):
    positives = sum(each.true[-1] for each in curves) if balanced else 1.0
    negatives = sum(each.false[-1] for each in curves) if balanced else 1.0
    return sum(
        each.true[at] / positives - each.false[at] / negatives
        for each, at in zip(curves, places, strict=True)
    )


def gap(curves, places, criterion):
    return max(
        np.ptp([each.rates[name][at] for each, at in zip(curves, places, strict=True)])
        for name in RATES[criterion]
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(2, 12), min_size=2, max_size=3),
    criterion=st.sampled_from(list(RATES)),
    tolerance=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    balanced=st.booleans(),
    ties=st.booleans(),
)
def test_the_best_of_all_combinations_is_found(seed, sizes, criterion, tolerance, balanced, ties):
    curves = [Curve.of(*a_group(seed + i, rows, ties)) for i, rows in enumerate(sizes)]
    found = equalized(curves, RATES[criterion], tolerance, balanced)
    assert gap(curves, found, criterion) <= tolerance + 1e-9
    every = itertools.product(*(range(len(each.thresholds)) for each in curves))
    best = max(
        gain(curves, places, balanced)
        for places in every
        if gap(curves, places, criterion) <= tolerance + 1e-9
    )
    assert gain(curves, found, balanced) == pytest.approx(best)


@pytest.mark.parametrize("ties", [False, True])
def test_a_threshold_does_what_the_curve_says(ties):
    score, positive, weight = a_group(3, 200, ties)
    curve = Curve.of(score, positive, weight)
    for i, threshold in enumerate(curve.thresholds):
        yes = score >= threshold
        assert curve.rates["true_positive"][i] == pytest.approx(yes[positive].mean())
        assert curve.rates["false_positive"][i] == pytest.approx(yes[~positive].mean())
        assert curve.rates["selection"][i] == pytest.approx(yes.mean())
        assert curve.true[i] == pytest.approx(weight[yes & positive].sum())
    false, true, _ = roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(curve.rates["true_positive"], true)
    np.testing.assert_allclose(curve.rates["false_positive"], false)


def test_thresholds_lie_between_scores_even_where_floats_are_neighbours():
    low = np.float32(0.3)
    score = np.array([1, np.nextafter(low, np.float32(1)), low, 0], np.float32)
    curve = Curve.of(score, np.array([True, False, True, False]), np.ones(4))
    assert [int((score >= each).sum()) for each in curve.thresholds] == [0, 1, 2, 3, 4]


def test_many_rows_take_no_more_places_than_they_may():
    curves = [Curve.of(*a_group(i, 20_000)) for i in range(3)]
    found = equalized(curves, RATES["equalized_odds"], 0.02)
    assert gap(curves, found, "equalized_odds") <= 0.02
    accuracy = [each.true - each.false for each in curves]
    free = sum(each.max() for each in accuracy)
    assert gain(curves, found, balanced=False) > 0.97 * free, "groups are alike: it costs little"


def test_the_nearest_share_is_found():
    curve = Curve.of(*a_group(1, 1000))
    threshold = at_rate(curve, 0.25)
    score, *_ = a_group(1, 1000)
    assert (score >= np.float32(threshold)).mean() == pytest.approx(0.25, abs=1e-3)
