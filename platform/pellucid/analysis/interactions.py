"""Which other column changes what a column does: read off its SHAP values."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pellucid.analysis.calibration import Floats

Integers = npt.NDArray[np.int64]


def bins_of(numbers: Floats, most: int) -> Integers:
    """(N,) codes of at most `most` bins of about equal size; missing values are one more."""
    known = np.sort(numbers[~np.isnan(numbers)])
    if not len(known):
        return np.zeros(len(numbers), dtype=np.int64)
    places = [len(known) * b // most for b in range(1, most)]
    edges = np.unique(known[places])
    codes = np.searchsorted(edges, numbers, side="right")
    return np.where(np.isnan(numbers), len(edges) + 1, codes).astype(np.int64)


def interaction(values: Floats, own: Integers, other: Integers) -> float:
    """How much of what a column's own value leaves open is told by another column.

    Without interactions a column's SHAP value follows from its own value. So the values' spread
    within bins of the column is what others do to it; this is the share of it that goes when the
    bins are split by the other column: epsilon squared (Kelley, PNAS 1935), which corrects for
    the number of cells. 0: no more than by chance; 1: all of it.

    Args:
        values: (N,) SHAP values of the column.
        own: (N,) bins of the column.
        other: (N,) groups of the other column.
    """
    cells = np.unique(np.stack([own, other]), axis=1, return_inverse=True)[1].ravel()
    left, within = _within(values, own), _within(values, cells)
    free = len(values) - len(np.unique(cells))
    more = len(np.unique(cells)) - len(np.unique(own))
    if free <= 0 or left <= 1e-12 * float((values**2).sum()):
        return 0.0
    return float(max(0.0, (left - within - more * within / free) / left))


def strongest_partner(
    values: Floats, own: Integers, others: Sequence[Integers]
) -> tuple[int, float]:
    """The place of the other column that interacts most, and how much; -1 where none does."""
    found = [interaction(values, own, other) for other in others]
    best = int(np.argmax(found)) if found else -1
    return (best, found[best]) if best >= 0 and found[best] > 0 else (-1, 0.0)


def _within(values: Floats, codes: Integers) -> float:
    """The sum of squares about the means of the codes."""
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=values) / np.maximum(counts, 1)
    return float(((values - means[codes]) ** 2).sum())
