"""How the values of a search get into a plan, and what is refused before anything runs."""

from typing import Any

import pytest

from pellucid.errors import InvalidPlan
from pellucid.plan import Plan, Search
from pellucid.schema import Column, Role, Schema, StorageType
from pellucid.search.space import check, trial_plan

SCHEMA = Schema(
    columns=(
        Column(name="x", type=StorageType.FLOAT64),
        Column(name="y", type=StorageType.FLOAT64, role=Role.TARGET),
    )
)
GIVEN: dict[str, Any] = {"name": "toy", "data": {"dataset": "toy@1"}}


def a_range(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"kind": "range", "low": low, "high": high, **more}


def choices(*values: Any) -> dict[str, Any]:
    return {"kind": "choice", "values": list(values)}


def test_values_land_at_their_paths_and_defaults_stay() -> None:
    usual = trial_plan(GIVEN, {}, SCHEMA)
    plan = trial_plan(GIVEN, {"optimizer.lr": 0.5, "training.epochs": 7}, SCHEMA)
    assert plan.optimizer.lr == 0.5
    assert plan.optimizer.kind == usual.optimizer.kind
    assert plan.training.epochs == 7
    assert plan.training.batch_size == usual.training.batch_size
    assert plan.search is None
    assert (plan.target, plan.task) == ("y", "regression")


def test_a_trial_may_change_the_kind_of_a_part() -> None:
    given = GIVEN | {"model": {"kind": "mlp"}, "search": {"space": {}}}
    plan = trial_plan(given, {"optimizer.kind": "sgd", "optimizer.momentum": 0.5}, SCHEMA)
    assert (plan.optimizer.kind, plan.optimizer.momentum) == ("sgd", 0.5)  # type: ignore[union-attr]
    whole = trial_plan(given, {"optimizer": {"kind": "adam", "lr": 0.1}}, SCHEMA)
    assert (whole.optimizer.kind, whole.optimizer.lr) == ("adam", 0.1)


@pytest.mark.parametrize(
    "space",
    [
        {"optimizer.lr": a_range(1e-4, 1, log=True)},
        {"training.batch_size": a_range(16, 256, integer=True, log=True)},
        {"model.kind": choices("mlp", "perceptron")},
        {"model.dropout": a_range(0, 0.5), "regularization.l2": a_range(0, 1)},
        {"schedule": choices({"kind": "constant"}, {"kind": "cosine", "warmup": 0.1})},
        {"preprocessing.numeric.kind": choices("standardize", "quantile")},
    ],
)
def test_good_spaces_are_taken(space: dict[str, Any]) -> None:
    check(GIVEN, Search.model_validate({"space": space}), SCHEMA)


@pytest.mark.parametrize(
    ("space", "path", "said"),
    [
        ({"optimizer.rate": a_range(0, 1)}, "optimizer.rate", "unknown key"),
        ({"optimizer.lr": a_range(-1, 1)}, "optimizer.lr", "-1.0"),
        ({"training.epochs": a_range(1, 9.5)}, "training.epochs", "9.5"),
        ({"model.kind": choices("mlp", "forest")}, "model.kind", "forest"),
        ({"model.kind": choices("mlp", "cnn")}, "model.kind", "cnn"),
        ({"target": choices("x", "y")}, "target", "compared"),
        ({"training.seed": choices(1, 2)}, "training.seed", "compared"),
        ({"split.test": a_range(0.1, 0.2)}, "split.test", "compared"),
        ({"loss.kind": choices("mse", "mae")}, "loss.kind", "by the loss"),
        ({"optimizer.lr.deep": choices(1)}, "optimizer.lr.deep", "lr"),
        (
            {"model.kind": choices("mlp", "perceptron"), "model.widths": choices([8])},
            "model.kind",
            "widths",
        ),
    ],
)
def test_bad_spaces_are_refused_with_their_path(
    space: dict[str, Any], path: str, said: str
) -> None:
    with pytest.raises(InvalidPlan) as refused:
        check(GIVEN, Search.model_validate({"space": space}), SCHEMA)
    assert refused.value.where["path"] == f"search.space.{path}"
    assert said in str(refused.value)


def test_a_score_of_another_task_is_refused() -> None:
    search = Search.model_validate({"space": {"optimizer.lr": a_range(0.1, 1)}, "metric": "f1"})
    with pytest.raises(InvalidPlan, match="rmse"):
        check(GIVEN, search, SCHEMA)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (a_range(1, 1), "below high"),
        (a_range(0, 1, log=True), "above 0"),
        (a_range(0.5, 2, integer=True), "whole"),
        (choices(), "at least 1"),
        (choices([1], [1]), "twice"),
    ],
)
def test_entries_that_make_no_sense_are_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidPlan, match=said) as refused:
        Plan.parse(GIVEN | {"search": {"space": {"optimizer.lr": entry}}})
    assert "search.space.optimizer.lr" in str(refused.value.where["path"])
