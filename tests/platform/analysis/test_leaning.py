"""SHAP values by group: means, their limits, and gaps that add up."""

import numpy as np
import pytest
from scipy import stats

from pellucid.analysis.groups import Group
from pellucid.analysis.leaning import leaning

VALUES = np.random.default_rng(0).normal((1, 2), 1, size=(50, 3, 2))
GROUP = Group("sex", "f", np.arange(0, 50, 3))


def test_limits_are_those_of_student_and_welch():
    found = leaning(VALUES, GROUP)
    own = VALUES[GROUP.rows, 1, 0]
    others = np.delete(VALUES, GROUP.rows, axis=0)[:, 1, 0]
    expected = stats.ttest_1samp(own, 0).confidence_interval(0.95)
    assert (found.low[1, 0], found.high[1, 0]) == pytest.approx(tuple(expected))
    welch = stats.ttest_ind(own, others, equal_var=False).confidence_interval(0.95)
    assert (found.gap_low[1, 0], found.gap_high[1, 0]) == pytest.approx(tuple(welch))
    assert found.size[1, 0] == pytest.approx(np.abs(own).mean())


def test_gaps_of_columns_add_up_to_that_of_their_sum():
    parts = leaning(VALUES, GROUP)
    whole = leaning(VALUES.sum(axis=1), GROUP)
    np.testing.assert_allclose(parts.gap.sum(axis=0), whole.gap)


def test_a_group_of_all_rows_has_no_gap_and_one_of_a_single_row_no_limits():
    everybody = leaning(VALUES, Group("sex", "f", np.arange(50)))
    assert np.isnan(everybody.gap).all()
    single = leaning(VALUES, Group("sex", "f", np.array([4])))
    np.testing.assert_array_equal(single.mean, VALUES[4])
    assert np.isnan(single.low).all()
    assert np.isnan(single.gap_low).all()
    assert np.isfinite(single.gap).all()
