"""Numbers summed by group, for regressions: mean outcome and errors."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the rows of each group, that add up.

    Attributes:
        sums: (G, 3, 3) of predictions, errors (prediction - truth) and absolute errors, by group:
            how many, sum, and sum of squares. All are measured from `origin` and in `unit`, so that
            large numbers lose no digits.
        origin: what predictions are measured from.
        unit: what one is in the target's units.
    """

    sums: Floats
    origin: float = 0.0
    unit: float = 1.0

    def __add__(self, other: Self) -> Self:
        return type(self)(self.sums + other.sums, self.origin, self.unit)

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.sums)

    @property
    def rows(self) -> Floats:
        """(G,) rows of each group."""
        return self.sums[:, 0, 0]

    @property
    def spread(self) -> float:
        """Standard deviation of all predictions, in the target's units; 0 of fewer than two."""
        n, total, squares = self.sums[:, 0].sum(axis=0)
        return float(np.sqrt(max(0.0, squares - total**2 / n) / n)) * self.unit if n > 1 else 0.0

    def taken(self, groups: NDArray[np.int64]) -> Self:
        """As `Table.taken`."""
        return type(self)(self.sums[groups], self.origin, self.unit)

    def merged(self, groups: NDArray[np.int64], size: int) -> Self:
        """As `Table.merged`."""
        found = np.zeros((size, 3, 3))
        np.add.at(found, groups, self.sums)
        return type(self)(found, self.origin, self.unit)


def add_up(
    codes: NDArray[np.integer[Any]],
    groups: int,
    predicted: NDArray[Any],
    truth: NDArray[Any] | None = None,
    *,
    origin: float = 0.0,
    unit: float = 1.0,
) -> Moments:
    """Sum up rows of numbers.

    Args:
        codes: (N,) group of each row.
        groups: G.
        predicted: (N,) finite numbers.
        truth: (N,) numbers, NaN where it is not known; None: of all rows.
        origin, unit: as `Moments` says; the same for all that are to be added.
    """
    values = (np.asarray(predicted, np.float64) - origin) / unit
    sums = np.zeros((groups, 3, 3))
    sums[:, 0] = _sums(codes, values, groups)
    if truth is not None:
        known = ~np.isnan(truth)
        error = values[known] - (np.asarray(truth, np.float64)[known] - origin) / unit
        sums[:, 1] = _sums(codes[known], error, groups)
        sums[:, 2] = _sums(codes[known], np.abs(error), groups)
    return Moments(sums, origin, unit)


def _sums(codes: NDArray[Any], values: Floats, groups: int) -> Floats:
    parts = (None, values, values**2)
    return np.stack([np.bincount(codes, part, groups) for part in parts], axis=1)
