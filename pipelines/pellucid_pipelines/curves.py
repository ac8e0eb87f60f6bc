"""Piecewise linear curves: the one form in which every number is scaled.

Standardising, min-max scaling and the map to a normal distribution are each a line or a polyline
through a few knots, flat outside them. That flatness is what clips outliers and infinities.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

from pellucid.plan import MinMax, Quantile, Scaling

Floats = npt.NDArray[np.float64]

REACH = 10.0  # standardised values are clipped to plus and minus this many deviations
_LARGEST = 1e100  # a training value beyond it counts as it: squares and sums stay finite


class Curve(NamedTuple):
    """A polyline through (knots, levels), both (n,), or (columns, n) once stacked; n >= 2."""

    knots: Floats
    levels: Floats

    @classmethod
    def flat(cls) -> Self:
        """Zero everywhere."""
        return cls(np.zeros(2), np.zeros(2))

    @classmethod
    def unit(cls) -> Self:
        """What lies between 0 and 1, as it is."""
        return cls(np.array([0.0, 1.0]), np.array([0.0, 1.0]))

    @classmethod
    def fit(cls, values: Floats, scaling: Scaling) -> Self:
        """The curve that scales `values` (n,), free of NaN, as the plan says.

        A column that holds a single value becomes zero.
        """
        values = bounded(values)
        if isinstance(scaling, Quantile):
            curve = cls(*_normal_scores(values, scaling.quantiles))
        elif isinstance(scaling, MinMax):
            curve = cls(np.array([values.min(), values.max()]), np.array([0.0, 1.0]))
        else:
            levels = np.array([-REACH, REACH])
            curve = cls(values.mean() + values.std() * levels, levels)
        constant = values.min() == values.max() or not curve.knots[0] < curve.knots[-1]
        return cls.flat() if constant else curve

    @classmethod
    def stacked(cls, curves: Sequence["Curve"]) -> Self:
        """Many curves as one of (columns, n); shorter ones repeat their last knot."""
        count = max((len(curve.knots) for curve in curves), default=2)

        def padded(rows: list[Floats]) -> Floats:
            return np.array([np.pad(r, (0, count - len(r)), "edge") for r in rows])

        return cls(padded([c.knots for c in curves]), padded([c.levels for c in curves]))


def bounded(values: Floats) -> Floats:
    """Values with the infinite ones moved to the nearest finite one, and all within 1e100."""
    finite = values[np.isfinite(values)]
    return np.clip(values, max(finite.min(), -_LARGEST), min(finite.max(), _LARGEST))


def _normal_scores(values: Floats, quantiles: int) -> tuple[Floats, Floats]:
    """Knots at the quantiles, levels at the normal quantiles of the same shares.

    Equal knots become one, at the mean of their shares. The outermost shares are half a row from
    0 and 1, where the normal distribution would be infinite.
    """
    shares = np.linspace(0.0, 1.0, min(quantiles, max(len(values), 2)))
    knots, group = np.unique(np.quantile(values, shares), return_inverse=True)
    half = 0.5 / len(values)
    mean_shares = np.bincount(group, shares.clip(half, 1.0 - half)) / np.bincount(group)
    return knots, ndtri(mean_shares)


def interpolate(x: Tensor, knots: Tensor, levels: Tensor) -> Tensor:
    """Each column's curve at x: (N, columns) with (columns, n) twice to (N, columns), no NaN in x.

    The segment is found by bisection, in gathers and comparisons that every exporter knows.
    """
    columns, count = knots.shape
    x = torch.minimum(torch.maximum(x, knots[:, 0]), knots[:, -1])
    start = torch.arange(columns, device=knots.device) * count
    flat_knots, flat_levels = knots.flatten(), levels.flatten()
    place = start
    for power in reversed(range((count - 2).bit_length())):
        ahead = torch.minimum(place + 2**power, start + (count - 2))
        place = torch.where(torch.take(flat_knots, ahead) <= x, ahead, place)
    left, right = torch.take(flat_knots, place), torch.take(flat_knots, place + 1)
    low, high = torch.take(flat_levels, place), torch.take(flat_levels, place + 1)
    share = (x - left) / torch.where(right > left, right - left, 1.0)
    return low + share * (high - low)
