"""Significance of a difference: published values, scipy, and how often a test is wrong."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pellucid.analysis.contests import mcnemar, two_proportions, welch, wilcoxon

counts = st.integers(0, 200)


def test_mcnemar_equals_the_value_in_agresti() -> None:
    """Approval ratings, Agresti, Categorical Data Analysis (2002), table 10.1: z^2 = 34.7."""
    found = mcnemar(794, 150, 86, 570)
    assert found.difference == pytest.approx(-0.04)
    assert (found.low, found.high) == pytest.approx((-0.0587, -0.0211), abs=2e-4)
    assert found.p_value == pytest.approx(stats.binomtest(86, 236).pvalue)
    assert found.p_value == pytest.approx(3.716e-5, rel=1e-3)  # as statsmodels' mcnemar gives


def test_newcombe_equals_the_published_limits() -> None:
    """Newcombe (1998), table II, (a) and (h), method 10: 56/70 - 48/80, 10/10 - 0/10."""
    found = two_proportions(48, 80, 56, 70)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    found = two_proportions(0, 10, 10, 10)
    assert (found.low, found.high) == pytest.approx((0.6075, 1.0), abs=5e-5)


@given(counts, counts, counts, counts)
def test_mcnemar_is_symmetric_and_exact(both: int, a: int, b: int, neither: int) -> None:
    found, turned = mcnemar(both, a, b, neither), mcnemar(both, b, a, neither)
    if both + a + b + neither == 0:
        assert math.isnan(found.p_value)
        return
    assert found.p_value == turned.p_value
    assert found.low == pytest.approx(-turned.high)
    assert found.low <= found.high
    if a + b:
        assert found.p_value == pytest.approx(stats.binomtest(a, a + b).pvalue)


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_the_z_test_is_chi_square_without_correction(n: int, m: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    found = two_proportions(a, n, b, m)
    assert -1 <= found.low <= found.difference + 1e-12
    assert found.difference - 1e-12 <= found.high <= 1
    if 0 < a + b < n + m:
        table = [[a, n - a], [b, m - b]]
        expected = stats.chi2_contingency(table, correction=False).pvalue
        assert found.p_value == pytest.approx(expected, abs=1e-12)
    else:
        assert found.p_value == 1


def test_welch_equals_scipy() -> None:
    random = np.random.default_rng(3)
    a, b = random.gamma(2, size=40), random.gamma(3, size=90)
    found = welch(a, b)
    expected = stats.ttest_ind(b, a, equal_var=False)
    limits = expected.confidence_interval()
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high))


def test_wilcoxon_equals_the_published_p_value() -> None:
    """Darwin's maize heights, cross- minus self-fertilised (Fisher 1935): W = 24, p = 0.0413."""
    cross = [23.5, 12, 21, 22, 19.1, 21.5, 22.1, 20.4, 18.3, 21.6, 23.3, 21, 22.1, 23, 12]
    own = [17.4, 20.4, 20, 20, 18.4, 18.6, 18.6, 15.3, 16.5, 18, 16.3, 18, 12.8, 15.5, 18]
    found = wilcoxon(own, cross)
    assert found.p_value == pytest.approx(stats.wilcoxon(cross, own).pvalue)
    assert found.p_value == pytest.approx(0.041, abs=0.002)
    assert found.difference == pytest.approx(2.6067, abs=1e-3)
    assert found.low < found.difference < found.high


def test_too_little_is_never_significant() -> None:
    for found in (
        mcnemar(0, 0, 0, 0),
        two_proportions(0, 0, 3, 5),
        welch([1.0], [2.0, 3.0]),
        wilcoxon([], []),
    ):
        assert math.isnan(found.p_value)
        assert not found.significant()
    assert welch([1, 1], [1, 1]).p_value == 1
    assert wilcoxon([1, 2], [1, 2]).p_value == 1
    with pytest.raises(ValueError, match="no pairs"):
        wilcoxon([1], [1, 2])


def test_equal_models_are_rarely_called_different() -> None:
    random = np.random.default_rng(0)
    wrong = {"mcnemar": 0, "two": 0, "welch": 0}
    for _ in range(1000):
        right = random.random((2, 400)) < 0.8
        a, b = right
        wrong["mcnemar"] += mcnemar(
            int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())
        ).significant()
        wrong["two"] += two_proportions(int(a.sum()), 400, int(b.sum()), 400).significant()
        wrong["welch"] += welch(*random.exponential(size=(2, 100))).significant()
    assert max(wrong.values()) < 75, wrong  # 5 % of 1,000, and three standard errors
    assert wrong["welch"] > 20
