"""Which disparities are judged, against what threshold, and what the verdict is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pellucid.analysis.fairness.counting import Table
from pellucid.analysis.fairness.disparities import MIN_GROUP, Aggregate, Disparity, compare
from pellucid.analysis.fairness.metrics import METRICS, NUMBER_METRICS, Metric, NumberMetric
from pellucid.analysis.fairness.moments import Moments
from pellucid.analysis.intervals import Interval
from pellucid.analysis.watching.signals import Status


@dataclass(frozen=True)
class Criterion:
    """What equality between groups is asked for.

    Attributes:
        name: as in the literature.
        metrics: one, or several of which the farthest from equality counts.
        aggregate: how groups are compared.
        threshold: of a difference the largest, of a ratio the smallest that is accepted. Of
            numbers, a difference is in standard deviations of all predictions.
        means: what holds where it is met.
    """

    name: str
    metrics: tuple[str, ...]
    aggregate: Aggregate
    threshold: float
    means: str


@dataclass(frozen=True)
class Judged:
    """A criterion over the groups of a column.

    Attributes:
        disparity: of several metrics, the one that is farthest from equality, with the limits of
            the farthest.
        status: ok or alarm where the whole interval lies on one side of the threshold; unclear
            where it spans it, or groups are too small; absent where there is but one group.
        threshold: the criterion's; of numbers in the target's units.
    """

    criterion: Criterion
    disparity: Disparity
    threshold: float
    status: Status

    @property
    def beyond(self) -> bool:
        """Whether the whole interval is beyond the threshold."""
        return _beyond(self.disparity, self.threshold)


CRITERIA = (
    Criterion(
        "demographic_parity",
        ("selection_rate",),
        "ratio",
        0.8,
        "groups are selected at similar rates: the four-fifths rule",
    ),
    Criterion(
        "equal_opportunity",
        ("true_positive_rate",),
        "difference",
        0.1,
        "those that are YES are found equally often",
    ),
    Criterion(
        "equalized_odds",
        ("true_positive_rate", "false_positive_rate"),
        "difference",
        0.1,
        "true and false positive rates are alike",
    ),
    Criterion(
        "predictive_parity",
        ("precision",),
        "difference",
        0.1,
        "a YES is equally often right",
    ),
    Criterion(
        "calibration",
        ("calibration_gap",),
        "difference",
        0.1,
        "scores are too high or too low by the same",
    ),
    Criterion(
        "accuracy_parity",
        ("accuracy",),
        "difference",
        0.1,
        "predictions are equally often right",
    ),
)  # Hardt, Price and Srebro (NIPS 2016); Chouldechova (Big Data 5, 2017); 29 CFR 1607.4 D
NUMBER_CRITERIA = (
    Criterion(
        "mean_prediction_gap",
        ("mean_prediction",),
        "difference",
        0.25,
        "predictions are as high on average",
    ),
    Criterion(
        "mean_error_gap",
        ("mean_error",),
        "difference",
        0.25,
        "predictions are too high or too low by the same",
    ),
    Criterion(
        "absolute_error_gap",
        ("mean_absolute_error",),
        "difference",
        0.25,
        "errors are of the same size",
    ),
)


def judge(
    table: Table | Moments,
    names: Sequence[str],
    *,
    criteria: Iterable[Criterion] | None = None,
    min_group: int = MIN_GROUP,
    confidence: float = 0.95,
) -> list[Judged]:
    """The verdicts on a column's groups; criteria whose metrics cannot be told are left out.

    Confidence holds for all pairs of groups of a criterion together (Bonferroni), not for several
    criteria or columns: at the threshold itself one verdict in twenty is wrong, and with equal
    groups far fewer, since they are a whole threshold away from an alarm.

    Args:
        table: of G groups.
        names: of the groups.
        criteria: `CRITERIA`, or `NUMBER_CRITERIA` for moments.
        min_group: as `compare` says.
        confidence: of the intervals.
    """
    if criteria is None:
        criteria = CRITERIA if isinstance(table, Table) else NUMBER_CRITERIA
    found = []
    for criterion in criteria:
        if all(_known(name, table) for name in criterion.metrics):
            each = 1 - (1 - confidence) / len(criterion.metrics)
            parts = [
                compare(
                    _metric(name, table),
                    table,
                    names,
                    aggregate=criterion.aggregate,
                    min_group=min_group,
                    confidence=each,
                )
                for name in criterion.metrics
            ]
            disparity = _farthest(parts)
            unit = table.spread if isinstance(table, Moments) else 1.0
            threshold = criterion.threshold * unit
            found.append(Judged(criterion, disparity, threshold, _status(disparity, threshold)))
    return found


def _status(disparity: Disparity, threshold: float) -> Status:
    if np.isnan(disparity.interval.value):
        return Status.UNCLEAR if disparity.judged + disparity.small > 1 else Status.ABSENT
    if _beyond(disparity, threshold):
        return Status.ALARM
    interval = disparity.interval
    ratio = disparity.aggregate == "ratio"
    fine = interval.low >= threshold if ratio else interval.high <= threshold
    return Status.OK if fine else Status.UNCLEAR


def _beyond(disparity: Disparity, threshold: float) -> bool:
    interval = disparity.interval
    return interval.high < threshold if disparity.aggregate == "ratio" else interval.low > threshold


def _known(name: str, table: Table | Moments) -> bool:
    if isinstance(table, Table):
        return METRICS[name].known(table)
    return not NUMBER_METRICS[name].labels or bool(table.sums[:, 1, 0].any())


def _metric(name: str, table: Table | Moments) -> Metric | NumberMetric:
    return METRICS[name] if isinstance(table, Table) else NUMBER_METRICS[name]


def _farthest(parts: Sequence[Disparity]) -> Disparity:
    """The disparity that is farthest from equality, with the limits of the farthest."""
    known = [part for part in parts if not np.isnan(part.interval.value)]
    if len(known) < len(parts) or len(parts) == 1:  # one cannot be told, so neither can the whole
        return next((part for part in parts if np.isnan(part.interval.value)), parts[0])
    pick = max if parts[0].aggregate == "difference" else min
    chosen = pick(known, key=lambda part: part.interval.value)
    limits = [(part.interval.low, part.interval.high) for part in known]
    low, high = (pick(each) for each in zip(*limits, strict=True))
    interval = Interval(chosen.interval.value, low, high)
    return replace(chosen, interval=interval, small=max(part.small for part in parts))
