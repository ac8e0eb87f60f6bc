"""Bounds and comparisons decide what a version becomes."""

import math

import pytest

from pellucid.plan import Gates
from pellucid.tracking.gates import judge, missed_bound


@pytest.mark.parametrize(
    ("at_least", "metrics", "missed"),
    [
        ({}, {"accuracy": 0.1}, ""),
        ({"accuracy": 0.7}, {"accuracy": 0.7}, ""),
        ({"accuracy": 0.7}, {"accuracy": 0.69}, "accuracy is 0.69; the gate asks for at least 0.7"),
        ({"rmse": 60}, {"rmse": 60.0}, ""),
        ({"rmse": 60}, {"rmse": 61.0}, "rmse is 61; the gate asks for at most 60"),
        ({"log_loss": 0.5}, {"log_loss": 0.6}, "at most 0.5"),
        ({"r2": 0.5}, {"r2": math.nan}, "r2 is nan"),
        ({"f1": 0.5}, {"accuracy": 0.9}, "f1 was not measured"),
        ({"accuracy": 0.7, "f1": 0.9}, {"accuracy": 0.8, "f1": 0.1}, "f1 is 0.1"),
    ],
)
def test_bounds(at_least: dict[str, float], metrics: dict[str, float], missed: str) -> None:
    found = missed_bound(Gates(at_least=at_least), metrics)
    assert found == missed == "" or (missed and missed in found)


@pytest.mark.parametrize(
    ("promote", "low", "high", "outcome"),
    [
        ("never", 0.1, 0.2, "challenger"),
        ("not_worse", -0.2, -0.1, "challenger"),
        ("not_worse", -0.1, 0.1, "champion"),
        ("not_worse", -0.1, 0.0, "champion"),
        ("not_worse", 0.1, 0.2, "champion"),
        ("better", -0.1, 0.1, "challenger"),
        ("better", 0.0, 0.1, "challenger"),
        ("better", 0.1, 0.2, "champion"),
        ("better", math.nan, math.nan, "challenger"),
        ("not_worse", math.nan, math.nan, "challenger"),
    ],
)
def test_comparisons(promote: str, low: float, high: float, outcome: str) -> None:
    comparison = {
        "metric": "roc_auc",
        "champion": 0.8,
        "candidate": 0.85,
        "difference": 0.05,
        "low": low,
        "high": high,
        "rows": 200,
    }
    decision = judge(Gates(promote=promote), 3, comparison)
    assert decision.outcome == outcome
    if promote != "never":
        assert "version 3" in decision.reason
        assert "200 test rows" in decision.reason


def test_incomparable_versions_leave_the_champion() -> None:
    decision = judge(Gates(promote="not_worse"), 1, {"incomparable": "other classes."})
    assert decision == ("challenger", "Not comparable with version 1: other classes.")
