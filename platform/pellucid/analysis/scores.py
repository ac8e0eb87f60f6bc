"""Scores of predictions against the truth.

A score is a function of `Outcomes` (the rows) and of row weights of shape (..., N), and gives one
value for every weighting, shape (...). One weighting scores the rows; a matrix of them scores a
thousand bootstrap resamples at once. What several scores need (labels, sorting) is computed once
and kept in `Outcomes`.

NaN means "not defined on these rows" (a recall without positives, an R2 of a constant target);
each docstring says when. To add a score: one function, and one row of `SCORES`. Called by name,
`SCORES["roc_auc"](truth, prediction, weight)` gives a float.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Self

import numpy as np

from pellucid.analysis.calibration import Booleans, Floats, Integers, calibration_error, sums_by

Task = Literal["classification", "regression"]


class Outcomes:
    """Rows with their truth and their prediction.

    Args:
        truth: (N,) class indices, or numbers (regression), (N, steps) of a forecast.
        prediction: (N, K) probabilities, finite, rows summing to 1; or numbers, as the truth.
        positive: with two classes, the index of the positive one (default 1); precision, recall,
            F1, PR-AUC and the calibration error are the positive class's. With more classes
            they are means over classes.
        label: (N,) the classes that were decided on; None: the most probable ones.
    """

    def __init__(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        positive: int | None = None,
        label: np.ndarray | None = None,
    ) -> None:
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        forecast = truth.ndim == 2 and truth.shape == prediction.shape
        fitting = truth.ndim == 1 and prediction.ndim in (1, 2) and len(truth) == len(prediction)
        if not (fitting or forecast):
            raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} do not fit")
        self.truth = truth
        self.prediction = prediction
        binary = truth.ndim == 1 and prediction.ndim == 2 and prediction.shape[1] == 2
        self.positive = (1 if positive is None else positive) if binary else None
        self.decided = label

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: Integers) -> Self:
        """The outcomes of some rows, by index or mask."""
        decided = None if self.decided is None else self.decided[rows]
        return type(self)(self.truth[rows], self.prediction[rows], self.positive, decided)

    @property
    def classes(self) -> int:
        """K, the number of classes that have a probability."""
        return int(self.prediction.shape[1])

    @cached_property
    def label(self) -> Integers:
        """(N,) the class that was decided on: the most probable one, and the first of equals."""
        return np.asarray(self.prediction.argmax(1) if self.decided is None else self.decided)

    @cached_property
    def error(self) -> Floats:
        """(N,) or (N, steps): prediction minus truth, of a regression."""
        return np.asarray(self.prediction.astype(np.float64) - self.truth)

    @cached_property
    def rankings(self) -> "list[Ranking]":
        """One class against the rest: the positive one, or each of more than two."""
        scored = range(self.classes) if self.positive is None else (self.positive,)
        return [Ranking.of(self.truth == k, self.prediction[:, k]) for k in scored]

    def event(self) -> tuple[Booleans, Floats]:
        """What calibration is about: (N,) whether it happened, (N,) its probability.

        Two classes: the positive one. More: that the label is true.
        """
        if self.positive is not None:
            return self.truth == self.positive, self.prediction[:, self.positive]
        return self.truth == self.label, self.prediction.max(1)


class Ranking(NamedTuple):
    """A class against the rest: rows sorted by falling probability of the class.

    The "thresholds" are the probabilities of the P rows that have the class; what lies at or above
    each of them decides both the ROC and the precision-recall curve.
    """

    positive: Integers  # (P,) indices of the rows that have the class, in falling order
    negative: Integers  # (M,) of the others
    true: Integers  # (P,) how many of `positive` lie at or above each threshold
    false: Integers  # (P,) how many of `negative` do
    false_above: Integers  # (P,) how many of `negative` lie above it

    @classmethod
    def of(cls, positive: Booleans, probability: Floats) -> Self:
        """The ranking of rows, given which have the class and its probability, both (N,)."""
        order = np.argsort(-probability, kind="stable")
        mine, others = order[positive[order]], order[~positive[order]]
        threshold, rest = -probability[mine], -probability[others]
        return cls(
            mine,
            others,
            np.searchsorted(threshold, threshold, side="right"),
            np.searchsorted(rest, threshold, side="right"),
            np.searchsorted(rest, threshold, side="left"),
        )


def accuracy(rows: Outcomes, weight: Floats) -> Floats:
    """Share of rows whose most probable class is the true one. 0 to 1, higher is better."""
    return _mean(rows.label == rows.truth, weight)


def balanced_accuracy(rows: Outcomes, weight: Floats) -> Floats:
    """Mean recall of the classes that occur. 0 to 1, higher is better; 1/K is chance.

    Brodersen et al. (ICPR 2010). A class without rows is left out of the mean.
    """
    counts = _counts(rows, weight)
    return _mean_where(counts.actual > 0, _ratio(counts.hits, counts.actual))


def precision(rows: Outcomes, weight: Floats) -> Floats:
    """Of the rows given a class, the share that has it: TP / (TP + FP). 0 to 1, higher is better.

    Two classes: of the positive one; NaN where no row is given it. More: the mean over the classes
    that occur, a class that no row is given counting 0.
    """
    counts = _counts(rows, weight)
    if rows.positive is not None:
        return _ratio(counts.hits, counts.predicted)[..., rows.positive]
    value = np.where(counts.predicted > 0, _ratio(counts.hits, counts.predicted), 0.0)
    return _mean_where(counts.actual > 0, value)


def recall(rows: Outcomes, weight: Floats) -> Floats:
    """Of the rows that have a class, the share given it: TP / (TP + FN). 0 to 1, higher is better.

    Two classes: of the positive one; NaN where no row has it. More: the mean over the classes that
    occur.
    """
    if rows.positive is None:
        return balanced_accuracy(rows, weight)
    counts = _counts(rows, weight)
    return _ratio(counts.hits, counts.actual)[..., rows.positive]


def f1(rows: Outcomes, weight: Floats) -> Floats:
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN). 0 to 1, higher is better.

    Two classes: of the positive one; NaN where no row has it or is given it. More: the mean over
    the classes that occur.
    """
    counts = _counts(rows, weight)
    value = _ratio(2 * counts.hits, counts.actual + counts.predicted)
    if rows.positive is not None:
        return value[..., rows.positive]
    return _mean_where(counts.actual > 0, value)


def roc_auc(rows: Outcomes, weight: Floats) -> Floats:
    """Chance that a row of the class ranks above one without it, ties half. Higher is better.

    0 to 1; 0.5 is chance. Hanley and McNeil (Radiology 1982). More than two classes: the mean of
    one class against the rest, over the classes that have rows on both sides; NaN where none has.
    """
    values = []
    for ranking in rows.rankings:
        true = weight.take(ranking.positive, axis=-1)
        false = _cumulative(weight.take(ranking.negative, axis=-1))
        tied_half = (
            false.take(ranking.false_above, axis=-1) + false.take(ranking.false, axis=-1)
        ) / 2
        area = (true * (false[..., -1:] - tied_half)).sum(-1)
        values.append(_ratio(area, true.sum(-1) * false[..., -1]))
    return _mean_defined(values)


def pr_auc(rows: Outcomes, weight: Floats) -> Floats:
    """Average precision: sum over thresholds of precision x gain in recall. Higher is better.

    0 to 1; chance is the share of the class. No interpolation (Davis and Goadrich, ICML 2006).
    More than two classes: the mean over the classes that occur. NaN without a positive row.
    """
    values = []
    for ranking in rows.rankings:
        gain = weight.take(ranking.positive, axis=-1)
        true = _cumulative(gain).take(ranking.true, axis=-1)
        false = _cumulative(weight.take(ranking.negative, axis=-1)).take(ranking.false, axis=-1)
        area = (gain * np.where(true > 0, true / (true + false), 0.0)).sum(-1)
        values.append(_ratio(area, gain.sum(-1)))
    return _mean_defined(values)


def log_loss(rows: Outcomes, weight: Floats) -> Floats:
    """Mean of -ln(probability of the true class). 0 to infinity, lower is better; ln K is chance.

    Probabilities are kept the rounding unit of their type away from 0 and 1.
    """
    unit = np.finfo(rows.prediction.dtype).eps
    likelihood = rows.prediction[np.arange(len(rows)), rows.truth].clip(unit, 1 - unit)
    return _mean(-np.log(likelihood.astype(np.float64)), weight)


def brier(rows: Outcomes, weight: Floats) -> Floats:
    """Mean squared distance of the probabilities from the truth. Lower is better.

    Brier (1950). Two classes: mean of (p - y)^2 of the positive class, 0 to 1. More: summed over
    the classes, 0 to 2.
    """
    distance = rows.prediction.astype(np.float64)
    distance[np.arange(len(rows)), rows.truth] -= 1
    squared = (distance**2).sum(1) / (2 if rows.classes == 2 else 1)
    return _mean(squared, weight)


def ece(rows: Outcomes, weight: Floats) -> Floats:
    """Expected calibration error, ten equal-width bins. 0 to 1, lower is better.

    See `calibration.calibration_error`. Two classes: of the positive one's probability. More: of
    the most probable class's (Guo et al., ICML 2017). It grows as rows get fewer, so groups of
    different size are not comparable by it.
    """
    return calibration_error(*rows.event(), weight)


def mae(rows: Outcomes, weight: Floats) -> Floats:
    """Mean absolute error, in the target's units. 0 to infinity, lower is better."""
    return _mean(_over_steps(np.abs(rows.error)), weight)


def mse(rows: Outcomes, weight: Floats) -> Floats:
    """Mean squared error, in squared units. 0 to infinity, lower is better."""
    return _mean(_over_steps(rows.error**2), weight)


def rmse(rows: Outcomes, weight: Floats) -> Floats:
    """Root of the mean squared error, in the target's units. 0 to infinity, lower is better."""
    return np.sqrt(mse(rows, weight))


def r2(rows: Outcomes, weight: Floats) -> Floats:
    """Explained share of the variance: 1 - MSE / variance of the truth. Higher is better.

    Up to 1; 0 is as good as predicting the mean, below is worse. NaN where the truth is constant.
    """
    truth = rows.truth.astype(np.float64)
    centred = truth - truth.mean() if np.ptp(truth) > 0 else np.zeros_like(truth)
    about_centre = _mean(_over_steps(centred**2), weight)
    variance = about_centre - _mean(_over_steps(centred), weight) ** 2
    constant = variance <= 1e-12 * about_centre  # what rounding leaves of a constant
    return np.where(constant, np.nan, 1 - _ratio(mse(rows, weight), variance))


def mape(rows: Outcomes, weight: Floats) -> Floats:
    """Mean of |error| / |truth|, as a share (0.1 is 10 %). 0 to infinity, lower is better.

    Rows whose truth is 0 have no such error and are left out; NaN where that leaves none.
    """
    defined = rows.truth != 0
    relative = np.abs(rows.error) / np.where(defined, np.abs(rows.truth), 1)
    return _ratio(weight @ _over_steps(relative * defined), weight @ _over_steps(defined))


@dataclass(frozen=True)
class Score:
    """A row of `SCORES`."""

    measure: Callable[[Outcomes, Floats], Floats]
    task: Task
    direction: Literal["higher", "lower"]  # which is better
    comparable: bool = True  # between groups of rows that differ in number

    @property
    def name(self) -> str:
        """The name it is reported under."""
        return self.measure.__name__

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is: `sign * difference` is an improvement."""
        return 1 if self.direction == "higher" else -1

    def weighted(self, rows: Outcomes, weight: Floats) -> Floats:
        """The score for weights of shape (..., N), shape (...); NaN where it is not defined."""
        if not len(rows):
            return np.full(weight.shape[:-1], np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.measure(rows, weight))

    def __call__(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        weight: Floats | None = None,
        *,
        positive: int | None = None,
        label: np.ndarray | None = None,
    ) -> float:
        """The score of these rows; the arguments are those of `Outcomes`."""
        rows = Outcomes(truth, prediction, positive, label)
        weight = np.ones(len(rows)) if weight is None else np.asarray(weight, dtype=np.float64)
        return float(self.weighted(rows, weight))


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score(accuracy, "classification", "higher"),
        Score(balanced_accuracy, "classification", "higher"),
        Score(precision, "classification", "higher"),
        Score(recall, "classification", "higher"),
        Score(f1, "classification", "higher"),
        Score(roc_auc, "classification", "higher"),
        Score(pr_auc, "classification", "higher"),
        Score(log_loss, "classification", "lower"),
        Score(brier, "classification", "lower"),
        Score(ece, "classification", "lower", comparable=False),
        Score(mae, "regression", "lower"),
        Score(mse, "regression", "lower"),
        Score(rmse, "regression", "lower"),
        Score(r2, "regression", "higher"),
        Score(mape, "regression", "lower"),
    )
}


def confusion_matrix(rows: Outcomes, weight: Floats | None = None) -> np.ndarray:
    """(K, K) row counts, or sums of weights: true class by row, predicted class by column."""
    cell = rows.truth * rows.classes + rows.label
    counts = np.bincount(cell, weights=weight, minlength=rows.classes**2)
    return counts.reshape(rows.classes, rows.classes)


class _Counts(NamedTuple):
    hits: Floats  # (..., K) weight of the rows of a class that are given it
    actual: Floats  # of all rows of the class
    predicted: Floats  # of all rows given the class


def _counts(rows: Outcomes, weight: Floats) -> _Counts:
    hit = rows.truth == rows.label
    return _Counts(
        sums_by(rows.label, weight * hit, rows.classes),
        sums_by(rows.truth, weight, rows.classes),
        sums_by(rows.label, weight, rows.classes),
    )


def _cumulative(weight: Floats) -> Floats:
    """(..., M) to (..., M + 1): the sum of the first 0, 1, ..., M."""
    sums = np.zeros((*weight.shape[:-1], weight.shape[-1] + 1))
    np.cumsum(weight, axis=-1, out=sums[..., 1:])
    return sums


def _over_steps(values: Floats | Booleans) -> Floats:
    """(N,) or (N, steps) to (N,): the mean over the steps of a forecast."""
    return np.asarray(values.mean(1)) if values.ndim == 2 else values.astype(np.float64)


def _mean(values: Floats | Booleans, weight: Floats) -> Floats:
    return np.asarray(weight @ values / weight.sum(-1))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, part / whole, np.nan)


def _mean_where(chosen: Booleans, value: Floats) -> Floats:
    return _ratio(np.where(chosen, value, 0.0).sum(-1), chosen.sum(-1))


def _mean_defined(values: list[Floats]) -> Floats:
    stacked = np.stack(values, axis=-1)
    return _mean_where(~np.isnan(stacked), stacked)
