"""Reliability curves against scikit-learn's."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from pellucid.analysis.calibration import calibration_error, reliability


def test_the_curve_equals_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probability = random.beta(2, 3, size=500)
    event = random.random(500) < probability
    observed, predicted = calibration_curve(event, probability, n_bins=10)
    curve = reliability(event, probability)
    np.testing.assert_allclose([b.observed for b in curve], observed)
    np.testing.assert_allclose([b.predicted for b in curve], predicted)
    assert sum(b.rows for b in curve) == pytest.approx(500)


def test_weights_count_as_repeated_rows_and_as_their_effective_number() -> None:
    event, probability = np.array([True, False, True]), np.array([0.31, 0.32, 0.95])
    found = reliability(event, probability, np.array([3.0, 1.0, 0.0]))
    assert len(found) == 1  # a bin without weight is left out
    assert found[0].observed == pytest.approx(0.75)
    assert found[0].predicted == pytest.approx((3 * 0.31 + 0.32) / 4)
    assert found[0].rows == pytest.approx(16 / 10)


def test_the_error_of_the_extremes() -> None:
    event, weight = np.array([True, False]), np.ones(2)
    assert calibration_error(event, np.array([1.0, 0.0]), weight) == 0.0
    assert calibration_error(event, np.array([0.0, 1.0]), weight) == 1.0
    assert calibration_error(event, np.array([0.5, 0.5]), weight) == 0.0
