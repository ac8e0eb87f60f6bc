"""LIME against closed forms and scikit-learn."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from pellucid.analysis.surrogates import local_linear, neighbours, rank_correlations

RANDOM = np.random.default_rng(0)


def test_the_first_neighbour_is_the_row_and_all_numbers_of_columns_occur():
    kept = neighbours(3, 2000, 6, np.random.default_rng(1))
    assert kept[:, 0].all()
    counts = np.bincount((~kept[:, 1:]).sum(axis=2).ravel(), minlength=7)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:] / counts.sum(), 1 / 6, atol=0.02)
    np.testing.assert_allclose(kept[:, 1:].mean(axis=(0, 1)), 5 / 12, atol=0.03)


def test_a_linear_model_is_found_exactly():
    effects = RANDOM.normal(size=(4, 8))
    kept = neighbours(4, 20_000, 8, RANDOM)
    outcome = (kept * effects[:, np.newaxis]).sum(axis=2) + 5
    found = local_linear(kept, outcome)
    np.testing.assert_allclose(found.effects, effects, atol=2e-3)  # what the penalty takes
    np.testing.assert_allclose(found.fidelity, 1, atol=1e-5)


def test_it_is_a_weighted_ridge_regression():
    kept = neighbours(1, 300, 5, RANDOM)
    outcome = RANDOM.normal(size=(1, 300))
    replaced = 5 - kept[0].sum(axis=1)
    weight = np.sqrt(np.exp(-replaced / (0.75**2 * 5)))  # the kernel as `lime` writes it
    expected = Ridge(alpha=1.0).fit(kept[0], outcome[0], sample_weight=weight)
    found = local_linear(kept, outcome)
    np.testing.assert_allclose(found.effects[0], expected.coef_, atol=1e-10)
    score = expected.score(kept[0], outcome[0], sample_weight=weight)
    np.testing.assert_allclose(found.fidelity[0], score, atol=1e-10)


def test_a_constant_model_has_no_effects():
    kept = neighbours(1, 100, 3, RANDOM)
    found = local_linear(kept, np.full((1, 100), 7.0))
    np.testing.assert_allclose(found.effects, 0, atol=1e-12)


@given(st.integers(2, 12), st.integers(0, 100))
def test_rank_correlations_are_those_of_scipy(columns, seed):
    random = np.random.default_rng(seed)
    a, b = random.integers(0, 4, size=(2, 3, columns)).astype(float)
    a[:, 0], b[:, 0] = 10, 20  # no row is constant
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(rank_correlations(a, b), expected, atol=1e-12)


def test_the_rank_correlation_with_a_constant_is_not_defined():
    assert np.isnan(rank_correlations(np.ones((1, 3)), np.arange(3.0)[np.newaxis]))
