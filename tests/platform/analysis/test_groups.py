"""Groups of sensitive columns, and the scores within and across them."""

import datetime as dt
import math

import numpy as np
import pytest

from pellucid.analysis.groups import AGGREGATES, MISSING, OTHER, compare_groups, groups_of
from pellucid.analysis.intervals import bootstrap
from pellucid.analysis.scores import SCORES, Outcomes


def named(values: object, dtype: object = object) -> dict[str, int]:
    return {g.name: len(g.rows) for g in groups_of("c", np.array(values, dtype=dtype))}


def test_few_values_are_groups_in_order_and_missing_ones_are_a_group() -> None:
    assert named(["m", "f", None, "m", ""]) == {"f": 1, "m": 2, MISSING: 2}
    assert list(named([10.0, 9.0, math.nan, 2.5, 9.0], float)) == ["2.5", "9", "10", MISSING]
    assert named([True, False, None, True]) == {"False": 1, "True": 2, MISSING: 1}
    assert named([None, None]) == {MISSING: 2}
    assert named([], float) == {}


def test_many_numbers_fall_into_quarters() -> None:
    ages = np.random.default_rng(0).permutation(np.arange(20, 60)).astype(float)
    ages = np.append(ages, math.nan)
    found = groups_of("age", ages)
    assert [g.name for g in found] == ["20 to 29", "30 to 39", "40 to 49", "50 to 59", MISSING]
    assert sorted(ages[found[0].rows]) == list(range(20, 30))
    assert sorted(np.concatenate([g.rows for g in found])) == list(range(41))


def test_ties_merge_bins_instead_of_emptying_them() -> None:
    values = np.concatenate([np.zeros(80), np.arange(1, 21)])
    assert named(values, float) == {"0": 80, "1 to 20": 20}


def test_dates_are_binned_like_numbers() -> None:
    days = [dt.datetime(2026, 1, 1) + dt.timedelta(days=n) for n in range(20)]
    values = np.array([*days, None], dtype="datetime64[us]")
    found = [group.name for group in groups_of("day", values)]
    assert (found[0], found[-1]) == ("2026-01-01 to 2026-01-05", MISSING)


def test_many_categories_keep_the_frequent_ones() -> None:
    names = [f"town {n}" for n in range(30) for _ in range(30 - n)]
    found = named([*names, None])
    assert len(found) == 13
    assert list(found)[-2:] == [OTHER, MISSING]
    assert found["town 0"] == 30
    assert sum(found.values()) == len(names) + 1


def skewed(rows: int = 1200) -> tuple[Outcomes, np.ndarray]:
    """Predictions that are worth nothing for group "b" and good for "a" and "c"; "d" is small."""
    random = np.random.default_rng(0)
    group = random.choice(["a", "b", "c"], size=rows)
    group[:5] = "d"
    p = 1 / (1 + np.exp(-2 * random.normal(size=rows)))
    truth = (random.random(rows) < p).astype(int)
    truth[group == "b"] = random.integers(0, 2, size=(group == "b").sum())
    return Outcomes(truth, np.stack([1 - p, p], 1)), group


SCORED = [SCORES[name] for name in ("accuracy", "roc_auc", "log_loss", "ece")]


def test_a_planted_difference_is_found_and_a_small_group_gets_no_verdict() -> None:
    rows, group = skewed()
    found = compare_groups(SCORED, rows, {"g": group}, resamples=400)
    verdicts = {(f.group.name, f.score.name): f.verdict for f in found.groups}
    for name in ("accuracy", "roc_auc", "log_loss"):
        assert verdicts["b", name] == "worse"
        assert verdicts["a", name] == verdicts["c", name] == "better"
        assert verdicts["d", name] == "too few rows"
    assert verdicts["b", "ece"] == "not comparable"
    b = next(f for f in found.groups if (f.group.name, f.score.name) == ("b", "accuracy"))
    assert b.interval.value == SCORES["accuracy"](
        rows.truth[group == "b"], rows.prediction[group == "b"]
    )
    assert b.interval.low < b.interval.value < b.interval.high < found.overall["accuracy"].low


def test_overall_equals_a_bootstrap_of_its_own() -> None:
    rows, group = skewed(300)
    weight = np.random.default_rng(1).uniform(0.5, 2, size=300)
    found = compare_groups(SCORED, rows, {"g": group}, weight=weight, resamples=200, seed=3)
    score = SCORES["roc_auc"]
    alone = bootstrap(lambda w: score.weighted(rows, w), 300, weight=weight, resamples=200, seed=3)
    assert found.overall["roc_auc"] == alone.interval(0.95)


def test_disparities_are_of_the_extreme_groups_that_have_enough_rows() -> None:
    rows, group = skewed()
    found = compare_groups(SCORED, rows, {"g": group}, resamples=400)
    values = {
        f.group.name: f.interval.value
        for f in found.groups
        if f.score.name == "accuracy" and f.group.name != "d"
    }
    over = {d.aggregate: d.interval for d in found.disparities if d.score.name == "accuracy"}
    assert set(over) == set(AGGREGATES)
    assert over["min"].value == min(values.values())
    assert over["max"].value == max(values.values())
    assert over["difference"].value == pytest.approx(max(values.values()) - min(values.values()))
    assert over["ratio"].value == pytest.approx(min(values.values()) / max(values.values()))
    assert over["difference"].low > 0
    assert not any(d.score.name == "ece" for d in found.disparities)


def test_groups_that_do_not_differ_are_seldom_said_to() -> None:
    alarms = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        p = random.random(200)
        rows = Outcomes((random.random(200) < p).astype(int), np.stack([1 - p, p], 1))
        group = random.choice(list("abcd"), size=200)
        found = compare_groups([SCORES["accuracy"]], rows, {"g": group}, resamples=200, seed=seed)
        difference = next(d for d in found.disparities if d.aggregate == "difference")
        alarms += difference.interval.low > 0
    assert alarms <= 6  # 2 expected of 40; 7 or more has a chance under 1 %


def test_a_group_of_one_class_is_undefined_not_an_error() -> None:
    truth = np.array([0] * 30 + [0, 1] * 30)
    p = np.random.default_rng(0).random(90)
    group = np.array(["one"] * 30 + ["both"] * 60)
    found = compare_groups(
        [SCORES["roc_auc"]], Outcomes(truth, np.stack([1 - p, p], 1)), {"g": group}, resamples=100
    )
    assert {f.group.name: f.verdict for f in found.groups}["one"] == "undefined"
    assert found.disparities == []
