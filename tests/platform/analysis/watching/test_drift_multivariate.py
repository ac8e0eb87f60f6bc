from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from pellucid.analysis.watching.drift import Levels
from pellucid.analysis.watching.drift.mmd import discrepancy, weighted_chi_square_p
from pellucid.analysis.watching.drift.multivariate import judge_rows, judge_vectors
from pellucid.analysis.watching.drift.ranking import Area, area
from pellucid.analysis.watching.drift.tables import tabulate
from pellucid.analysis.watching.signals import Status

START = datetime(2026, 3, 1, tzinfo=UTC)


def rows(rng, size, correlation=0.0):
    """Columns whose own distributions do not depend on how they go together."""
    common = rng.normal(size=size)
    own = rng.normal(size=(size, 4))
    numbers = correlation**0.5 * common[:, None] + (1 - correlation) ** 0.5 * own
    found = {f"x{i}": each for i, each in enumerate(numbers.T)}
    found["c"] = rng.choice(["a", "b", None], size).astype(object)
    return found


def looks(reference, window, **more):
    found = judge_rows(reference, window, levels=Levels(), since={}, start=START, **more)
    return {each.subject: each for each in found}


def test_the_same_rows_are_ok():
    rng = np.random.default_rng(0)
    found = looks(rows(rng, 1500), rows(rng, 1500))
    assert {each.status for each in found.values()} == {Status.OK}
    assert list(found) == ["classifier", "reconstruction", "mmd"]


def test_columns_that_go_together_no_more():
    rng = np.random.default_rng(1)
    found = looks(rows(rng, 1500, correlation=0.9), rows(rng, 1500))
    assert found["classifier"].status is Status.ALARM
    assert found["classifier"].low > 0.55
    assert "mostly by x" in found["classifier"].summary
    assert found["reconstruction"].status is Status.ALARM
    assert "columns go together less" in found["reconstruction"].summary
    assert found["mmd"].status is Status.ALARM
    assert {each.since for each in found.values()} == {START}


def test_a_shifted_column_is_named():
    rng = np.random.default_rng(2)
    window = rows(rng, 800)
    window["x2"] = window["x2"] + 1
    found = looks(rows(rng, 1500), window)["classifier"]
    assert found.status is Status.ALARM
    assert "mostly by x2" in found.summary


def test_few_rows_and_odd_ones():
    rng = np.random.default_rng(3)
    for reference, window in [
        (rows(rng, 500), rows(rng, 20)),
        (rows(rng, 500), {}),
        ({}, {}),
        ({"x": np.full(100, np.nan)}, {"x": np.full(100, np.nan)}),
    ]:
        found = looks(reference, window)
        assert {each.status for each in found.values()} == {Status.UNCLEAR}
        assert {each.effect for each in found.values()} == {None}
    constant = {"x": np.ones(100), "c": np.full(100, "a", object)}
    found = looks(constant, constant)
    assert not [each for each in found.values() if each.status is Status.ALARM]


def test_values_of_any_type_make_a_table():
    reference = {
        "number": np.array([1.0, np.inf, np.nan, 2.0]),
        "flag": np.array([True, False, True, True]),
        "time": np.array(["2026-01-01", "NaT", "2026-01-02", "2026-01-03"], "datetime64[s]"),
        "text": np.array(["a", None, "b", "a"], object),
        "list": np.array([[1], [2], [3], [4]], object)[:, 0].astype(object),
        "image": np.array([b"x", b"y", b"z", b"w"], object),
    }
    window = reference | {"text": np.array(["new", 5, "a", "a"], object)}
    table = tabulate(reference, window)
    assert table.names == ["number", "flag", "time", "text", "list"]
    assert table.text.tolist() == [False, False, False, True, False]
    assert table.window[:, 3].tolist()[2:] == [0, 0]
    old, new = table.dense()
    assert np.isfinite(old).all()
    assert np.isfinite(new).all()
    assert np.abs(old).max() <= 5


def test_area_is_scikit_learns_and_its_error_the_bootstraps():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=300).round(1), rng.normal(0.4, 1, 200).round(1)
    found = area(a, b)
    truth = np.repeat([0, 1], [300, 200])
    assert found.value == pytest.approx(roc_auc_score(truth, np.concatenate([a, b])))
    resampled = [area(rng.choice(a, 300), rng.choice(b, 200)).value for _ in range(500)]
    assert found.error == pytest.approx(np.std(resampled), rel=0.15)
    exact = stats.mannwhitneyu(b, a, alternative="greater", use_continuity=False).pvalue
    assert found.p_value(two_sided=False) == pytest.approx(exact, rel=0.05)
    five = Area.cross_validated([found] * 5)
    assert five.value == found.value
    assert five.error == pytest.approx(found.error * 0.45**0.5)  # of independent ones: 0.2


def test_folds_of_a_cross_validation_vary_together():
    """Without drift, the average of five folds varies more than five areas would, not more than is
    said."""
    claimed, found = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(300, 8)), np.repeat([0, 1], 150)
        areas = []
        for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y):
            means = [X[train][y[train] == side].mean(axis=0) for side in (0, 1)]
            score = X[test] @ (means[1] - means[0])
            areas.append(area(score[y[test] == 0], score[y[test] == 1]))
        whole = Area.cross_validated(areas)
        claimed.append(whole.error)
        found.append(whole.value)
    independent = float(np.mean(claimed)) * (0.2 / 0.45) ** 0.5
    assert 1.1 * independent < np.std(found) < 1.15 * np.mean(claimed)


def test_saddlepoint_is_chi_square_for_equal_weights():
    for value in (1.0, 4.999, 5.0, 12.0, 60.0):
        found = weighted_chi_square_p(2 * value, np.full(5, 2.0))
        assert found == pytest.approx(stats.chi2.sf(value, 5), rel=0.03)


def test_discrepancy_has_the_p_value_of_permutations():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(300, 3)), rng.normal(0.12, 1, size=(250, 3))
    observed = discrepancy(a, b)
    both = np.vstack([a, b])
    wide = np.sqrt(np.median(((a[:, None] - a) ** 2).sum(-1)[np.triu_indices(300, 1)]))
    kernel = np.exp(-((both[:, None] - both) ** 2).sum(-1) / (2 * wide**2))

    def squared(order):
        sign = np.where(np.arange(550) < 300, 1 / 300, -1 / 250)[np.argsort(order)]
        return sign @ kernel @ sign

    null = [squared(rng.permutation(550)) for _ in range(500)]
    exact = np.mean(np.array(null) >= squared(np.arange(550)))
    assert observed.p_value == pytest.approx(exact, abs=0.05)


def test_discrepancies_of_equal_samples_have_even_p_values():
    rng = np.random.default_rng(6)
    found = [discrepancy(rng.normal(size=(120, 4)), rng.normal(size=(80, 4))) for _ in range(60)]
    assert stats.kstest([each.p_value for each in found], "uniform").pvalue > 1e-3
    assert np.mean([each.upper > each.value for each in found]) == 1


def test_vectors():
    rng = np.random.default_rng(7)
    reference = rng.normal(size=(600, 64))
    many = {"levels": Levels(), "since": {"multivariate:images": START}}
    (found,) = judge_vectors({"images": (reference, rng.normal(0.3, 1, (600, 64)))}, **many)
    assert (found.status, found.since) == (Status.ALARM, START)
    (found,) = judge_vectors({"images": (reference, rng.normal(size=(600, 64)))}, **many)
    assert (found.status, found.since) == (Status.OK, None)
    (found,) = judge_vectors({"images": (reference, np.full((600, 64), np.nan))}, **many)
    assert found.status is Status.UNCLEAR
    with pytest.raises(ValueError, match="shapes"):
        judge_vectors({"images": (reference, reference[:, :5])}, **many)
