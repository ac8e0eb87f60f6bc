"""How far apart groups are: the largest difference and the smallest ratio, with limits.

Limits of a difference or ratio of two groups come from the limits of each ("square and add",
MOVER): of shares with Wilson's limits that is Newcombe's interval for the difference (Statistics
in Medicine 17, 1998, method 10), and Donner and Zou's for the ratio (Statistical Methods in Medical
Research 21, 2012), which needs no logarithm and so no positive count.

The largest of all pairs is looked for, so each pair's limits are taken at a confidence raised for
the number of pairs (Bonferroni). All pairs then hold together, and with them the limits of the
largest difference: the largest lower and the largest upper limit of any pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.fairness.counting import Table
from pellucid.analysis.fairness.metrics import Estimates, Metric, NumberMetric
from pellucid.analysis.fairness.moments import Moments
from pellucid.analysis.intervals import Interval

Floats = NDArray[np.float64]
Aggregate = Literal["difference", "ratio"]
MIN_GROUP = 20


@dataclass(frozen=True)
class Disparity:
    """A metric over the groups of a column.

    Attributes:
        metric, aggregate: difference: largest minus smallest, 0 is equality; ratio: smallest by
            largest, 1 is equality.
        interval: at the confidence asked for, over all pairs together; NaN where there are no two
            groups to compare.
        lowest, highest: the groups' names; empty where there are no two.
        values: of the metric in these two.
        judged: groups that were compared.
        small: groups that hold rows, and too few that the metric is taken from.
    """

    metric: str
    aggregate: Aggregate
    interval: Interval
    lowest: str
    highest: str
    values: tuple[float, float]
    judged: int
    small: int


def compare(
    metric: Metric | NumberMetric,
    table: Table | Moments,
    names: Sequence[str],
    *,
    aggregate: Aggregate = "difference",
    min_group: int = MIN_GROUP,
    confidence: float = 0.95,
) -> Disparity:
    """A metric's disparity.

    Args:
        metric: `NumberMetric` for moments.
        table: of G groups.
        names: of the groups.
        aggregate: which.
        min_group: fewer rows that the metric is taken from (of a true positive rate: those that are
            YES) are too few to be compared.
        confidence: of the interval.
    """
    first = metric.of(table, confidence)  # type: ignore[arg-type]  # a metric fits its table
    judged = np.flatnonzero((first.rows >= min_group) & np.isfinite(first.low))
    small = int((np.asarray(table.rows) > 0).sum()) - len(judged)
    if len(judged) < 2:
        nothing = Interval(np.nan, np.nan, np.nan)
        values = (np.nan, np.nan)
        return Disparity(metric.name, aggregate, nothing, "", "", values, len(judged), small)
    pairs = len(judged) * (len(judged) - 1) / 2
    level = max((1 - confidence) / pairs, 1e-15)  # less, and 1 minus it is 1
    raised = metric.of(table, 1 - level)  # type: ignore[arg-type]
    found = Estimates(*(each[judged] for each in raised))
    interval = _difference(found) if aggregate == "difference" else _ratio(found)
    lowest, highest = found.value.argmin(), found.value.argmax()
    return Disparity(
        metric.name,
        aggregate,
        interval,
        names[judged[lowest]],
        names[judged[highest]],
        (float(found.value[lowest]), float(found.value[highest])),
        len(judged),
        small,
    )


def difference(a: Estimates, b: Estimates) -> tuple[Floats, Floats, Floats]:
    """a - b and its limits at the confidence of theirs, elementwise."""
    value = a.value - b.value
    low = value - np.hypot(a.value - a.low, b.high - b.value)
    return value, low, value + np.hypot(a.high - a.value, b.value - b.low)


def ratio(a: Estimates, b: Estimates) -> tuple[Floats, Floats, Floats]:
    """a / b and its limits, elementwise; of values that are not negative.

    Fieller's quadratic with each group's own limits for its variance; written so that nothing
    cancels. The upper limit is infinite where b may be 0.
    """
    product = a.value * b.value
    near = np.maximum(a.low, 0) * (2 * a.value - np.maximum(a.low, 0))
    far = b.high * (2 * b.value - b.high)
    upper, lower = a.high * (2 * a.value - a.high), b.low * (2 * b.value - b.low)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = a.value / b.value
        low = near / (product + np.sqrt(np.maximum(product**2 - near * far, 0)))
        high = (product + np.sqrt(np.maximum(product**2 - upper * lower, 0))) / lower
    low = np.where(a.low <= 0, 0.0, low)
    return value, low, np.where(lower > 0, high, np.inf)


def _difference(found: Estimates) -> Interval:
    first, second = _paired(found)
    value, low, high = difference(first, second)
    return Interval(float(value.max()), max(0.0, float(low.max())), float(high.max()))


def _ratio(found: Estimates) -> Interval:
    if not found.value.max() > 0:  # nobody is selected anywhere
        return Interval(np.nan, np.nan, np.nan)
    first, second = _paired(found)
    value, low, high = ratio(first, second)
    return Interval(
        float(np.nanmin(value)), float(np.nanmin(low)), min(1.0, float(np.nanmin(high)))
    )


def _paired(found: Estimates) -> tuple[Estimates, Estimates]:
    """All ordered pairs of groups."""
    groups = len(found.value)
    first, second = np.nonzero(~np.eye(groups, dtype=bool))
    return Estimates(*(e[first] for e in found)), Estimates(*(e[second] for e in found))
