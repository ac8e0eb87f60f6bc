"""Scores on held-out rows: with intervals, by sensitive group, and across groups."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid import plan
from pellucid.analysis.groups import Comparison, compare_groups
from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import SCORES, Outcomes, confusion_matrix
from pellucid.errors import TrainingFailed

if TYPE_CHECKING:
    from pellucid_pipelines.fairness import Fairness

__all__ = ["HEADLINES", "Evaluation", "Interval", "evaluate", "kind_of_task"]

# The scores of figures and cards by group; the first one stands for the model.
HEADLINES = {
    "binary": ("roc_auc", "accuracy", "precision", "recall"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "log_loss"),
    "regression": ("rmse", "mae", "r2"),
}


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on held-out rows. A value that is not defined there is NaN.

    Attributes:
        metrics: score -> value and limits, over all rows.
        groups: rows of a table: column, group, rows, metric, value, low, high, verdict.
        disparities: rows of a table: column, metric, aggregate (min, max, difference, ratio over
            the column's groups that have enough rows), value, low, high.
        fairness: the audit of the sensitive columns; None where there are none.
        confusion: (K, K) counts, or sums of weights, a true class by row; None for regression.
    """

    metrics: dict[str, Interval]
    groups: list[dict[str, Any]] = field(default_factory=list)
    disparities: list[dict[str, Any]] = field(default_factory=list)
    confusion: np.ndarray | None = None
    fairness: "Fairness | None" = None


def evaluate(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    classes: tuple[int | str, ...] | None,
    positive: int | None,
    sensitive: Mapping[str, np.ndarray],
    weight: np.ndarray | None,
    spec: plan.Evaluation,
    seed: int,
    label: np.ndarray | None = None,
) -> Evaluation:
    """Every score of the task, on all rows and by group, with bootstrap intervals.

    Args:
        truth: (N,) class indices; regression: in the target's units, (N, steps) of a forecast.
        prediction: (N, K) probabilities in the order of `classes`; regression: as the truth.
        classes: None for regression.
        positive: with two classes, the index of the positive one.
        sensitive: column -> its raw values (N,); `groups.groups_of` says how they become groups.
        weight: (N,), or None.
        spec: resamples, confidence, smallest group with a verdict.
        seed: of the resamples.
        label: (N,) the classes that were decided on; None: the most probable ones.

    Raises:
        TrainingFailed: a prediction is NaN or infinite.
    """
    bad = int((~np.isfinite(prediction)).reshape(len(prediction), -1).any(1).sum())
    if bad:
        raise TrainingFailed(
            f"The network's predictions for {bad} of {len(prediction)} test rows are not finite.",
            remedy="Lower optimizer.lr, or set training.precision to fp32.",
        )
    outcomes = Outcomes(truth, prediction, positive, label)
    task = "regression" if classes is None else "classification"
    comparison = compare_groups(
        [score for score in SCORES.values() if score.task == task],
        outcomes,
        sensitive,
        weight=weight,
        min_group=spec.min_group,
        resamples=spec.resamples,
        confidence=spec.confidence,
        seed=seed,
    )
    return Evaluation(
        metrics=comparison.overall,
        groups=_group_rows(comparison),
        disparities=_disparity_rows(comparison),
        confusion=None if classes is None else confusion_matrix(outcomes, weight),
    )


def kind_of_task(classes: int) -> str:
    """The key of `HEADLINES` for a number of classes; 0 is a regression."""
    return {0: "regression", 2: "binary"}.get(classes, "multiclass")


def _group_rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "column": found.group.column,
            "group": found.group.name,
            "rows": len(found.group.rows),
            "metric": found.score.name,
            **asdict(found.interval),
            "verdict": found.verdict,
        }
        for found in comparison.groups
    ]


def _disparity_rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "column": found.column,
            "metric": found.score.name,
            "aggregate": found.aggregate,
            **asdict(found.interval),
        }
        for found in comparison.disparities
    ]
