"""Calibration: of the rows given a probability of 0.7, do 70 % turn out so?

Probabilities fall into equal-width bins, `BINS` of them: [0, 0.1), [0.1, 0.2), ..., [0.9, 1]. The
expected calibration error and the reliability curve use the same bins.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 10
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class Bin(NamedTuple):
    """The rows of one bin: how many, what was predicted of them and what was observed."""

    rows: float  # weighted rows count as their effective number, (sum w)^2 / sum w^2
    predicted: float  # mean probability
    observed: float  # share of rows where the event happened


def calibration_error(
    event: Booleans, probability: Floats, weight: Floats, bins: int = BINS
) -> Floats:
    """The expected calibration error, for every weighting.

    ECE = sum over bins of (weight of the bin / weight of all) x |observed - predicted|, from 0 to
    1; 0 is perfect. Equal-width bins as in Naeini, Cooper and Hauskrecht (AAAI 2015). On few rows
    it is above 0 even for a perfectly calibrated model.

    Args:
        event: (N,) bool, whether the event happened.
        probability: (N,) of the event, in [0, 1].
        weight: (..., N).
        bins: how many.

    Returns:
        (...).
    """
    gap = sums_by(_bin_of(probability, bins), weight * (event - probability), bins)
    return np.asarray(np.abs(gap).sum(-1) / weight.sum(-1))


def reliability(
    event: Booleans, probability: Floats, weight: Floats | None = None, bins: int = BINS
) -> list[Bin]:
    """The reliability curve: the bins that hold rows, from low to high probability.

    Args: those of `calibration_error`; `weight` is (N,), or None for equal weights.
    """
    weight = np.ones(len(event)) if weight is None else weight
    number = _bin_of(probability, bins)
    totals = np.bincount(number, weights=weight, minlength=bins)
    squares = np.bincount(number, weights=weight**2, minlength=bins)
    predicted = np.bincount(number, weights=weight * probability, minlength=bins)
    observed = np.bincount(number, weights=weight * event, minlength=bins)
    return [
        Bin(
            float(totals[b] ** 2 / squares[b]),
            float(predicted[b] / totals[b]),
            float(observed[b] / totals[b]),
        )
        for b in range(bins)
        if totals[b] > 0
    ]


def sums_by(index: Integers, values: Floats, size: int) -> Floats:
    """Sums of the values (..., N) that share an index (N,) below `size`: (..., size)."""
    rows = values.reshape(-1, len(index))
    sums = [np.bincount(index, weights=row, minlength=size) for row in rows]
    stacked = np.asarray(sums, dtype=np.float64)
    return stacked.reshape(*values.shape[:-1], size)


def _bin_of(probability: Floats, bins: int) -> Integers:
    return np.minimum((probability * bins).astype(np.int64), bins - 1)
