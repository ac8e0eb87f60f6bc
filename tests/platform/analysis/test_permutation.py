"""Permutation importance against scikit-learn, and its intervals."""

import numpy as np
import pytest
from sklearn.inspection import permutation_importance as reference
from sklearn.linear_model import LinearRegression

from pellucid.analysis.permutation import permutation_importance
from pellucid.analysis.scores import SCORES, Outcomes


def fitted(rows=400, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    y = 2 * x[:, 0] + 0.5 * x[:, 1] + 0.3 * random.normal(size=rows)
    return x, y, LinearRegression().fit(x, y)


def shuffled(model, x, column, times, seed=1):
    random = np.random.default_rng(seed)
    predictions = []
    for _ in range(times):
        moved = x.copy()
        moved[:, column] = random.permutation(moved[:, column])
        predictions.append(model.predict(moved))
    return predictions


def measured(x, y, model, metric="rmse", times=30, **options):
    outcomes = Outcomes(y, model.predict(x))
    columns = [shuffled(model, x, column, times) for column in range(x.shape[1])]
    return permutation_importance(SCORES[metric], outcomes, columns, **options)


@pytest.mark.parametrize(
    ("metric", "scoring"), [("rmse", "neg_root_mean_squared_error"), ("r2", "r2")]
)
def test_it_is_that_of_scikit_learn(metric, scoring):
    x, y, model = fitted()
    found = measured(x, y, model, metric)
    expected = reference(model, x, y, scoring=scoring, n_repeats=30, random_state=0)
    spread = expected.importances_std.max()  # of a single shuffle
    values = [each.value for each in found]
    np.testing.assert_allclose(values, expected.importances_mean, atol=3 * spread / np.sqrt(30))


def test_limits_enclose_the_value_and_shrink_with_rows():
    few, many = (measured(*fitted(rows), times=5)[0] for rows in (100, 1600))
    for each in (few, many):
        assert each.low < each.value < each.high
    assert (many.high - many.low) < 0.5 * (few.high - few.low)


def test_a_column_without_use_is_not_told_from_nothing():
    useless = measured(*fitted(), times=5)[2]
    assert useless.low <= 0.01
    assert abs(useless.value) < 0.02


def test_weights_count():
    x, y, model = fitted()
    weight = (x[:, 0] > 0).astype(float)
    found = measured(x, y, model, weight=weight)
    kept = weight > 0
    outcomes = Outcomes(y[kept], model.predict(x)[kept])
    expected = permutation_importance(
        SCORES["rmse"], outcomes, [[p[kept] for p in shuffled(model, x, 0, 30)]]
    )
    assert found[0].value == pytest.approx(expected[0].value)


def test_no_columns():
    assert permutation_importance(SCORES["rmse"], Outcomes(np.ones(3), np.ones(3)), []) == []
