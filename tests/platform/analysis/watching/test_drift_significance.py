import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pellucid.analysis.watching.drift import significance


def test_kolmogorov_p_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=4000), rng.normal(0.05, size=3000)
    exact = stats.ks_2samp(a, b, method="exact")
    size = significance.effective(4000, 3000)
    found = significance.kolmogorov_p(exact.statistic, size)
    assert exact.pvalue <= found < 1.3 * exact.pvalue


@pytest.mark.parametrize("rows", [10, 50, 200])
@pytest.mark.parametrize("target", [1e-3, 1e-5, 1e-7])
def test_kolmogorov_p_is_cautious_far_out(rows, target):
    size = float(significance.effective(10_000, rows))
    statistic = stats.kstwo.isf(target, rows)
    assert significance.kolmogorov_p(statistic, size) > 0.9 * target


def test_likelihood_ratio_p_is_scipys_but_for_williams_correction():
    old, new = np.array([5000, 3000, 2000]), np.array([2400, 1620, 980])
    exact = stats.chi2_contingency([old, new], correction=False, lambda_="log-likelihood").pvalue
    assert significance.likelihood_ratio_p(old, new) == pytest.approx(exact, rel=2e-3)
    pearson = stats.chi2_contingency([old, new], correction=False).pvalue
    assert significance.likelihood_ratio_p(old, new) == pytest.approx(pearson, rel=0.05)


@pytest.mark.parametrize(
    ("shares", "rows"),
    [(np.full(50, 0.02), 50), (np.array([0.9, 0.06, 0.04]), 50), (0.6 ** np.arange(1, 30), 200)],
)
def test_likelihood_ratio_p_is_uniform_if_nothing_differs(shares, rows):
    rng = np.random.default_rng(1)
    shares = shares / shares.sum()
    p_values = np.concatenate(
        [
            significance.likelihood_ratio_p(
                rng.multinomial(10_000, shares), rng.multinomial(rows, shares, 4000)
            )
            for _ in range(10)
        ]
    )
    for level in (0.05, 1e-3, 1e-4):
        expected = level * len(p_values)
        assert (p_values <= level).sum() <= 2 * expected + 3 * np.sqrt(expected)
    assert (p_values <= 0.05).mean() > 0.02


def test_few_values_are_joined_and_a_new_one_still_stands_out():
    old = np.array([*[200] * 50, 0])
    new = np.ones(51, int)
    new[50] = 0
    assert significance.likelihood_ratio_p(old, new) == pytest.approx(1)
    new[50] = 25
    assert significance.likelihood_ratio_p(old, new) < 1e-4
    assert significance.categories_p(old, new) < 1e-20


def test_a_change_of_many_categories_or_of_one():
    rng = np.random.default_rng(3)
    shares = np.full(20, 0.05)
    old, new = rng.multinomial(10_000, shares), rng.multinomial(100, shares, 20_000)
    p_values = significance.categories_p(old, new)
    assert (p_values <= 1e-3).mean() <= 2e-3
    assert (p_values <= 0.05).mean() <= 0.05
    exact = significance.likelihood_ratio_p(old, 5 * old)
    assert significance.categories_p(old, 5 * old) == pytest.approx(min(1, 2 * float(exact)))


def test_p_values_of_rare_shares_are_fishers_within_a_little():
    """Doubling the smaller side differs from Fisher's two-sided rule by a factor of two at most."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        n, m = rng.integers(20, 2000, 2)
        a, b = rng.binomial(n, 0.03), rng.binomial(m, rng.choice([0.01, 0.03, 0.09]))
        if a + b > 0.1 * (n + m):
            continue
        table = [[a, n - a], [b, m - b]]
        less, more = (stats.fisher_exact(table, side).pvalue for side in ("less", "greater"))
        exact = min(1.0, 2 * min(less, more))
        found = float(significance.share_p(a, n, b, m))
        assert exact > 0.5 or exact <= found
        assert found <= 1.5 * exact**0.8


def test_shares_that_are_common():
    found = significance.share_p(3000, 10_000, 1700, 5000)
    exact = stats.fisher_exact([[3000, 7000], [1700, 3300]]).pvalue
    assert found == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("share", [1e-4, 0.01, 0.05, 0.3])
def test_shares_alarm_no_more_than_they_should(share):
    rng = np.random.default_rng(2)
    draws = 150_000
    a, b = rng.binomial(10_000, share, draws), rng.binomial(50, share, draws)
    p_values = significance.share_p(a, 10_000, b, 50)
    for level in (0.05, 1e-3, 1e-4):
        expected = level * draws
        assert (p_values <= level).sum() <= 1.2 * expected + 3 * np.sqrt(expected)


def test_values_beyond_the_reference_are_as_frequent_as_the_test_expects():
    """Exact: what lies outside a reference's extremes is a negative hypergeometric count."""
    n, m, k = 1000, 500, 6
    found = float(significance.more_p(1, n, k, m))
    exact = stats.hypergeom.cdf(1, n + m, n, k + 1)  # at most one reference row among the outermost
    assert exact <= found < 1.05 * exact


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.001, 0.3))
def test_benjamini_hochberg_is_scipys(p_values, level):
    found = significance.benjamini_hochberg(np.array(p_values), level)
    adjusted = stats.false_discovery_control(p_values)
    near = np.abs(adjusted - level) < 1e-9
    assert (found == (adjusted <= level))[~near].all()


def test_benjamini_hochberg_by_window_and_of_nothing():
    p_values = np.array([[0.001, 0.5, 0.9], [0.02, 0.03, 0.9], [0.04, 0.5, 0.6]])
    found = significance.benjamini_hochberg(p_values, 0.05)
    assert found.tolist() == [[True, False, False], [True, True, False], [False, False, False]]
    assert not len(significance.benjamini_hochberg(np.empty(0), 0.05))
