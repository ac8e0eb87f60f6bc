"""Metrics by group, each with its confidence limits, from a table of counts.

YES is the outcome that is looked at: the favourable one, as a rule. NaN is "not defined in this
group", such as a true positive rate without a YES.

- Shares: Wilson's score interval (JASA 1927).
- Means of scores, errors and numbers: Student's t.
- The calibration error, a sum of absolute values over bins, has no interval that is exact and
  short. Its limits are bounds of that sum over Scheffe's ellipsoid of the bins' gaps: they hold at
  least as often as they say, also where the model is calibrated perfectly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri, stdtrit

from pellucid.analysis.fairness.counting import NO, UNKNOWN, YES, Table
from pellucid.analysis.fairness.moments import Moments

Floats = NDArray[np.float64]


class Estimates(NamedTuple):
    """A metric in every group, each (G,); `rows` are those that it was taken from."""

    value: Floats
    low: Floats
    high: Floats
    rows: Floats


@dataclass(frozen=True)
class Metric:
    """A number by group.

    Attributes:
        name: as it is called in fairness reports.
        means: in words.
        of: table and confidence -> estimates.
        labels, scores: whether it needs them.
        ratio: whether a ratio of two groups makes sense: it is never negative.
    """

    name: str
    means: str
    of: Callable[[Table, float], Estimates]
    labels: bool = True
    scores: bool = False
    ratio: bool = True

    def known(self, table: Table) -> bool:
        """Whether the table holds what the metric needs."""
        return (table.labelled or not self.labels) and (table.scored or not self.scores)


@dataclass(frozen=True)
class NumberMetric:
    """As `Metric`, of numbers instead of classes."""

    name: str
    means: str
    of: Callable[[Moments, float], Estimates]
    labels: bool
    ratio: bool = False


def shares(hits: NDArray[np.int64], trials: NDArray[np.int64], confidence: float) -> Estimates:
    """hits / trials with Wilson's limits, of arrays of any one shape."""
    z = float(ndtri((1 + confidence) / 2))
    n = np.where(trials > 0, trials, np.nan)
    share = hits / n
    centre = share + z**2 / (2 * n)
    reach = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    scale = 1 + z**2 / n
    low = np.clip((centre - reach) / scale, 0, share)
    high = np.clip((centre + reach) / scale, share, 1)
    return Estimates(share, low, high, trials.astype(np.float64))


def means(n: Floats, total: Floats, squares: Floats, confidence: float) -> Estimates:
    """total / n with Student's limits, which a single row has not; arrays of any one shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / np.where(n > 0, n, np.nan)
        variance = np.maximum(squares - total * mean, 0) / np.where(n > 1, n - 1, np.nan)
        reach = stdtrit(np.maximum(n - 1, 1), (1 + confidence) / 2) * np.sqrt(variance / n)
    return Estimates(mean, mean - reach, mean + reach, np.asarray(n, np.float64))


def _share(
    hits: tuple[slice | int, ...], trials: tuple[slice | int, ...]
) -> Callable[[Table, float], Estimates]:
    """A share of cells [truth, prediction] of other cells."""

    def of(table: Table, confidence: float) -> Estimates:
        groups = (len(table), -1)
        chosen = table.cells[:, *hits].reshape(groups).sum(1)
        return shares(chosen, table.cells[:, *trials].reshape(groups).sum(1), confidence)

    return of


def _accuracy(table: Table, confidence: float) -> Estimates:
    right = table.cells[:, NO, 0] + table.cells[:, YES, 1]
    return shares(right, table.cells[:, :UNKNOWN].sum((1, 2)), confidence)


def _mean_score(table: Table, confidence: float) -> Estimates:
    axes = (1, 2, 3)
    return means(
        table.rows.astype(float), table.scores.sum(axes), table.squares.sum(axes), confidence
    )


def _calibration_gap(table: Table, confidence: float) -> Estimates:
    n = table.cells.sum(2).astype(float)  # (G, truth)
    score, square = table.scores.sum((2, 3)), table.squares.sum((2, 3))
    known = slice(0, UNKNOWN)
    total = score[:, known].sum(1) - n[:, YES]
    squares = square[:, known].sum(1) - 2 * score[:, YES] + n[:, YES]  # of (score - truth)^2
    return means(n[:, known].sum(1), total, squares, confidence)


def _calibration_error(table: Table, confidence: float) -> Estimates:
    known = slice(0, UNKNOWN)
    n = table.counts[:, known].sum((1, 2)).astype(float)  # (G, bins)
    yes = table.counts[:, YES].sum(1)
    total = table.scores[:, known].sum((1, 2)) - yes
    yes_score = table.scores[:, YES].sum(1)
    squares = table.squares[:, known].sum((1, 2)) - 2 * yes_score + yes
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = np.where(n.sum(1) > 0, n.sum(1), np.nan)
        value = np.abs(total).sum(1) / rows
        observed = (yes + 0.5) / (n + 1)  # a bin whose rows all turned out alike may vary yet
        spread = np.where(
            n > 0, np.maximum(squares - total**2 / n, n * observed * (1 - observed)), 0
        )
    bins = np.maximum((n > 0).sum(1), 1)
    reach = np.sqrt(chdtri(bins, 1 - confidence) * spread.sum(1)) / rows
    return Estimates(value, np.maximum(0, value - reach), np.minimum(1, value + reach), n.sum(1))


_ALL, _KNOWN = slice(None), slice(0, UNKNOWN)
METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "selection_rate",
            "share predicted YES",
            _share((_ALL, 1), (_ALL, _ALL)),
            labels=False,
        ),
        Metric("mean_score", "mean score of YES", _mean_score, labels=False, scores=True),
        Metric("base_rate", "share that is YES", _share((YES, _ALL), (_KNOWN, _ALL))),
        Metric("accuracy", "share predicted rightly", _accuracy),
        Metric(
            "true_positive_rate",
            "of those that are YES, the share predicted so",
            _share((YES, 1), (YES, _ALL)),
        ),
        Metric(
            "false_positive_rate",
            "of those that are NO, the share predicted YES",
            _share((NO, 1), (NO, _ALL)),
        ),
        Metric(
            "true_negative_rate",
            "of those that are NO, the share predicted so",
            _share((NO, 0), (NO, _ALL)),
        ),
        Metric(
            "false_negative_rate",
            "of those that are YES, the share predicted NO",
            _share((YES, 0), (YES, _ALL)),
        ),
        Metric(
            "precision",
            "of those predicted YES, the share that is",
            _share((YES, 1), (_KNOWN, 1)),
        ),
        Metric(
            "negative_predictive_value",
            "of those predicted NO, the share that is",
            _share((NO, 0), (_KNOWN, 0)),
        ),
        Metric(
            "calibration_gap",
            "mean score minus share that is YES",
            _calibration_gap,
            scores=True,
            ratio=False,
        ),
        Metric(
            "calibration_error",
            "mean distance of score and share, over bins of the score",
            _calibration_error,
            scores=True,
        ),
    )
}


def _moment(number: int, scaled: bool = True) -> Callable[[Moments, float], Estimates]:
    def of(sums: Moments, confidence: float) -> Estimates:
        rows, total, squares = sums.sums[:, number].T
        found = means(rows, total, squares, confidence)
        origin = sums.origin if scaled else 0.0
        value, low, high = (origin + sums.unit * each for each in found[:3])
        return Estimates(value, low, high, found.rows)

    return of


NUMBER_METRICS = {
    metric.name: metric
    for metric in (
        NumberMetric("mean_prediction", "mean of the predictions", _moment(0), labels=False),
        NumberMetric(
            "mean_error", "mean of prediction minus truth", _moment(1, False), labels=True
        ),
        NumberMetric(
            "mean_absolute_error", "mean size of the error", _moment(2, False), True, ratio=True
        ),
    )
}
