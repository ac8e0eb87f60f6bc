"""Bootstrap and Wilson intervals: against scipy, and how often they cover the truth."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pellucid.analysis.groups import compare_groups
from pellucid.analysis.intervals import (
    Interval,
    Sampled,
    bootstrap,
    paired_difference,
    wilson,
)
from pellucid.analysis.scores import SCORES, Outcomes


def noisy(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated binary rows."""
    random = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-1.5 * random.normal(size=rows)))
    return (random.random(rows) < p).astype(int), np.stack([1 - p, p], 1)


@pytest.mark.parametrize("name", ["mae", "r2"])
def test_limits_equal_scipys(name: str) -> None:
    random = np.random.default_rng(1)
    truth = random.gamma(2, size=120)
    prediction = truth + random.gamma(1, size=120)
    score, rows = SCORES[name], Outcomes(truth, prediction)
    ours = bootstrap(lambda w: score.weighted(rows, w), 120, resamples=20_000).interval(0.9)

    def statistic(indices: np.ndarray, axis: int) -> np.ndarray:
        return np.apply_along_axis(lambda i: score(truth[i], prediction[i]), axis, indices)

    theirs = stats.bootstrap(
        (np.arange(120),), statistic, n_resamples=4000, confidence_level=0.9, method="BCa", rng=0
    )
    limits = theirs.confidence_interval
    tolerance = 0.05 * (limits.high - limits.low)  # of the resampling
    assert ours.low == pytest.approx(limits.low, abs=tolerance)
    assert ours.high == pytest.approx(limits.high, abs=tolerance)


def test_limits_cover_the_true_score_as_often_as_they_say() -> None:
    names, rounds = ("accuracy", "roc_auc", "brier"), 200
    true = [SCORES[name](*noisy(400_000, 0)) for name in names]
    covered = np.zeros(len(names))
    for seed in range(1, rounds + 1):
        rows = Outcomes(*noisy(80, seed))
        sampled = bootstrap(
            lambda w, rows=rows: np.stack([SCORES[n].weighted(rows, w) for n in names], -1),
            80,
            resamples=400,
            seed=seed,
        )
        for s, value in enumerate(true):
            found = sampled.interval(0.9, s)
            covered[s] += found.low <= value <= found.high
    low, high = stats.binom.ppf([0.001, 0.999], rounds, 0.9)
    assert ((covered >= low - 4) & (covered <= high + 4)).all(), covered


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    def draw(seed: int) -> np.ndarray:
        return bootstrap(lambda w: w, 50, resamples=30, seed=seed).resampled

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()
    assert (draw(1).sum(1) == 50).all()


def test_draws_are_multinomial() -> None:
    counts = bootstrap(lambda w: w, 20, resamples=4000).resampled.ravel().astype(int)
    observed = np.bincount(counts.clip(max=4), minlength=5)
    expected = stats.binom(20, 1 / 20).pmf(range(5))
    expected[-1] = 1 - expected[:-1].sum()
    assert stats.chisquare(observed, expected * counts.size).pvalue > 1e-4


@pytest.mark.parametrize("rows", [3, 5000, 400_000])
def test_pieces_are_bounded_and_complete(rows: int) -> None:
    largest = 0

    def statistic(weights: np.ndarray) -> np.ndarray:
        nonlocal largest
        largest = max(largest, weights.size)
        return weights.sum(-1)

    sampled = bootstrap(statistic, rows, resamples=10)
    assert sampled.resampled.tolist() == [rows] * 10
    assert len(sampled.jackknife) == min(rows, 200)
    assert largest <= max(2**18, 4 * rows)


def test_undefined_resamples_are_left_out_until_they_are_too_many() -> None:
    resampled = np.array([math.nan] * 4 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    jackknife = np.array([3.0, 4.0, math.nan])
    found = Sampled(np.array(3.5), resampled, jackknife).interval(0.8)
    assert 1 <= found.low < 3.5 < found.high <= 6
    resampled[4:6] = math.nan
    assert math.isnan(Sampled(np.array(3.5), resampled, jackknife).interval(0.8).low)
    assert math.isnan(Sampled(np.array(math.nan), resampled, jackknife).interval(0.8).high)


def test_a_single_row_has_no_limits() -> None:
    found = bootstrap(lambda w: w.sum(-1), 1, resamples=100).interval(0.9)
    assert found.value == 1
    assert math.isnan(found.low)


def test_a_statistic_that_never_varies_has_no_width() -> None:
    found = bootstrap(lambda w: np.ones(len(w)), 10, resamples=100).interval(0.95)
    assert found == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", ["roc_auc", "log_loss"])
def test_paired_difference(name: str) -> None:
    truth, good = noisy(400, 4)
    random = np.random.default_rng(5)
    wobble = np.clip(good[:, 1] + random.normal(0, 0.01, 400), 0.01, 0.99)
    same, bad = np.stack([1 - wobble, wobble], 1), np.full((400, 2), 0.5)
    score = SCORES[name]
    better = paired_difference(score, truth, good, bad)
    assert better.value == pytest.approx(score(truth, good) - score(truth, bad))
    ends = sorted((score.sign * better.low, score.sign * better.high))
    assert ends[0] > 0
    alike = paired_difference(score, truth, good, same)
    assert alike.low <= 0 <= alike.high
    rows = Outcomes(truth, good)
    alone = bootstrap(lambda w: score.weighted(rows, w), 400).interval(0.95)
    assert alike.high - alike.low < (alone.high - alone.low) / 3  # the pairing pays
    assert paired_difference(score, truth, good, good) == Interval(0.0, 0.0, 0.0)


def test_paired_difference_of_the_other_class() -> None:
    truth, good = noisy(300, 8)
    bad = np.full((300, 2), 0.5)
    score = SCORES["pr_auc"]
    found = paired_difference(score, truth, good, bad, positive=0)
    expected = score(truth, good, positive=0) - score(truth, bad, positive=0)
    assert found.value == pytest.approx(expected)


@given(st.integers(1, 500), st.data(), st.floats(0.6, 0.999))
def test_wilson_equals_scipys(trials: int, data: st.DataObject, confidence: float) -> None:
    hits = data.draw(st.integers(0, trials))
    ours = wilson(hits / trials, trials, confidence)
    theirs = stats.binomtest(hits, trials).proportion_ci(confidence, "wilson")
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)


def test_wilson_of_nothing() -> None:
    assert math.isnan(wilson(math.nan, 0).low)


def test_intervals_read_well() -> None:
    assert str(Interval(0.86349, 0.819, 0.907)) == "0.863 (0.819 to 0.907)"
    assert str(Interval(12345.6, 12000, 13000)) == "12,346 (12,000 to 13,000)"
    assert str(Interval(0.5, math.nan, math.nan)) == "0.5"
    assert str(Interval(math.nan, math.nan, math.nan)) == "not defined"


def test_all_scores_of_5000_rows_take_seconds() -> None:
    rows = Outcomes(*noisy(5000, 9))
    started = time.process_time()
    compare_groups([s for s in SCORES.values() if s.task == "classification"], rows, {})
    assert time.process_time() - started < 8
