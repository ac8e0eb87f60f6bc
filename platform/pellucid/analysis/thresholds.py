"""Each group's threshold: the best combination whose groups have (nearly) the same rates.

A threshold puts a group at a point of its ROC curve. Equalised odds asks that all groups be at the
same point (Hardt, Price and Srebro, NeurIPS 2016). Without randomised decisions a group is only
ever on its own curve, so the points may differ by a tolerance; among the combinations that do, the
best is taken. In the comparisons of Cruz and Hardt (ICLR 2024) no other mitigation attains a
trade-off that thresholds of groups on a good model do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

Rate = Literal["true_positive", "false_positive", "selection"]
RATES: dict[str, tuple[Rate, ...]] = {
    "equalized_odds": ("true_positive", "false_positive"),
    "equal_opportunity": ("true_positive",),
    "demographic_parity": ("selection",),
}
"""Criterion -> the rates that groups have in common; its gap is the largest difference of one.

Equal opportunity is about those who deserve the better outcome: where that is not the class of the
scores, its rate is `false_positive`.
"""

_CORNERS = 512  # most places of the box along each axis
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Curve:
    """Where each threshold puts a group; thresholds fall, rates rise.

    Attributes:
        thresholds: (P,) float32: a row is given the positive class from it on.
        rates: rate -> (P,), of rows, each counted once, whatever it weighs.
        true, false: (P,) weight of the rows rightly and wrongly given the positive class.
    """

    thresholds: NDArray[np.float32]
    rates: dict[Rate, Floats]
    true: Floats
    false: Floats

    @classmethod
    def of(cls, score: NDArray[np.float32], positive: Booleans, weight: Floats) -> Self:
        """The curve of rows: (N,) probabilities, whether they have the class, what they weigh."""
        order = np.argsort(-score, kind="stable")
        ranked, yes, weight = score[order], positive[order], weight[order]
        last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of equal scores

        def above(values: Floats | Booleans) -> Floats:
            return np.concatenate([[0.0], np.cumsum(values)[last]])

        rates: dict[Rate, Floats] = {
            "true_positive": above(yes) / max(1, yes.sum()),
            "false_positive": above(~yes) / max(1, (~yes).sum()),
            "selection": above(np.ones(len(yes))) / len(yes),
        }
        return cls(_between(ranked[last]), rates, above(weight * yes), above(weight * ~yes))


def equalized(
    curves: Sequence[Curve],
    rates: Sequence[Rate],
    tolerance: float,
    balanced: bool = False,
) -> tuple[int, ...]:
    """For each curve the place of its threshold: the best whose rates lie within `tolerance`.

    All places of a box of that size are tried, up to 512 along each rate; within a box each
    group takes its own best. All or nothing positive is always among the combinations.

    Args:
        curves: of groups that have rows of both classes.
        rates: that groups are to have in common.
        tolerance: largest difference of a rate between groups.
        balanced: best is the mean of both classes' shares that are right, not that of all rows.
    """
    gains = [_gain(curve, curves, balanced) for curve in curves]
    corners = [_corners([curve.rates[name] for curve in curves]) for name in rates]
    places = [
        _best(gain, *_inside([curve.rates[name] for name in rates], corners, tolerance))
        for curve, gain in zip(curves, gains, strict=True)
    ]
    total = np.sum(
        [np.where(at < 0, -np.inf, gain[at]) for gain, at in zip(gains, places, strict=True)],
        axis=0,
    )
    chosen = np.unravel_index(total.argmax(), total.shape)
    return tuple(int(each[chosen]) for each in places)


def at_rate(curve: Curve, rate: float) -> float:
    """The threshold at which the share of positive decisions is nearest to `rate`."""
    return float(curve.thresholds[np.abs(curve.rates["selection"] - rate).argmin()])


def _gain(curve: Curve, curves: Sequence[Curve], balanced: bool) -> Floats:
    """(P,) what the group adds to the objective, up to a constant."""
    if not balanced:
        return curve.true - curve.false
    positives = float(sum(each.true[-1] for each in curves))
    negatives = float(sum(each.false[-1] for each in curves))
    return np.asarray(curve.true / positives - curve.false / negatives)


def _corners(rates: Sequence[Floats]) -> Floats:
    """Lower ends of the box along a rate: where a group is, or some of these evenly spread."""
    found = np.unique(np.concatenate(rates))
    if len(found) > _CORNERS:
        found = found[np.linspace(0, len(found) - 1, _CORNERS).round().astype(np.int64)]
    return found


def _inside(
    rates: Sequence[Floats], corners: Sequence[Floats], tolerance: float
) -> tuple[Integers, Integers]:
    """For every box the first and the last place of a curve within it; none where first > last.

    Rates rise along a curve, so what is within lies together.
    """
    grids = np.meshgrid(*corners, indexing="ij", sparse=True)
    first: Integers = np.zeros((1,) * len(grids), np.int64)
    last: Integers = np.full((1,) * len(grids), len(rates[0]) - 1)
    for rate, grid in zip(rates, grids, strict=True):
        first = np.maximum(first, np.searchsorted(rate, grid - _ROUNDING, side="left"))
        end = np.searchsorted(rate, grid + tolerance + _ROUNDING, side="right") - 1
        last = np.minimum(last, end)
    return first, last


def _best(gain: Floats, first: Integers, last: Integers) -> Integers:
    """The place of the largest gain from `first` to `last`; -1 where there is none.

    Looked up in the best places of all stretches of 1, 2, 4, ... (a sparse table).
    """
    table = [np.arange(len(gain))]
    while 2 ** len(table) <= len(gain):
        half = 2 ** (len(table) - 1)
        one, two = table[-1][:-half], table[-1][half:]
        table.append(np.where(gain[one] >= gain[two], one, two))
    size = last - first + 1
    found = np.full(size.shape, -1)
    for level, best in enumerate(table):
        here = (size >= 2**level) & (size < 2 ** (level + 1))
        one = best[np.broadcast_to(first, size.shape)[here]]
        two = best[np.broadcast_to(last, size.shape)[here] - 2**level + 1]
        found[here] = np.where(gain[one] >= gain[two], one, two)
    return found


def _between(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thresholds around falling scores: above all, between each two, below all."""
    middle = (scores[:-1].astype(np.float64) + scores[1:]) / 2
    inner = middle.astype(np.float32)
    inner = np.where(inner > scores[1:], inner, scores[:-1])  # neighbours among the floats
    never = np.nextafter(np.float32(1), np.float32(2))
    return np.concatenate([[never], inner, [np.float32(0)]]).astype(np.float32)
