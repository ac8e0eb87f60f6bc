"""How far two distributions lie apart, from binned counts.

Counts are (..., bins): leading axes, such as one of many windows, are kept. Every distance is 0
where both are equal, and NaN where one of them counts nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from pellucid.analysis.watching.profiles import Floats

Counted = NDArray[np.integer[Any]] | Floats

PSI_GROUPS = 10
_PSI_FLOOR = 1e-4  # share of an empty group, so that its logarithm is finite
_TAILS = 0.005  # share at either end that positions leave out
_NORMAL_IQR = 1.3489795  # interquartile range of the standard normal distribution
_EQUAL = 1e-9  # quartiles that differ by less than this part of the range are the same value


def shares(counts: Counted) -> Floats:
    """(..., bins) of counts as parts of their sum; NaN of none."""
    counts = np.asarray(counts, np.float64)
    totals = counts.sum(axis=-1, keepdims=True)
    found: Floats = np.full_like(counts, np.nan)
    np.divide(counts, totals, out=found, where=totals > 0)
    return found


def gaps(reference: Counted, window: Counted) -> Floats:
    """(..., bins - 1) share of window values up to each edge minus that of the reference.

    Negative where the window's values are higher.
    """
    return np.cumsum(shares(window) - shares(reference), axis=-1)[..., :-1]


def kolmogorov_smirnov(reference: Counted, window: Counted) -> Floats:
    """Largest difference of the two cumulative shares, 0 to 1, taken at the edges.

    At most the statistic of the values themselves, and the same where edges fall on the values.
    """
    found = np.abs(gaps(reference, window))
    if not found.shape[-1]:
        return np.zeros(found.shape[:-1])
    return np.asarray(found.max(axis=-1))


def wasserstein(reference: Counted, window: Counted, edges: Floats) -> Floats:
    """How far values moved on average, in the reference's standard deviations.

    The first Wasserstein distance: the area between both cumulative shares. It is taken between the
    edges that enclose the middle 99% of the reference, and divided by its interquartile range over
    1.349, which is one deviation if it is normal. So no single value changes it by much. A
    reference whose quartiles are equal is divided by the whole range of these edges.

    Args:
        reference: (bins,).
        window: (..., bins).
        edges: (bins - 1,) between them.
    """
    gap = np.abs(gaps(reference, window))
    if len(edges) < 2:
        return np.zeros(gap.shape[:-1])
    edges = edges / (np.abs(edges).max() or 1.0)  # their unit is no matter, their size may be
    below = np.cumsum(shares(reference))[:-1]
    first = max(0, int(np.searchsorted(below, _TAILS, side="right")) - 1)
    last = min(len(edges), int(np.searchsorted(below, 1 - _TAILS)) + 1)
    first, last = min(first, len(edges) - 2), max(last, first + 2)
    inner = edges[first:last]
    area = np.asarray(np.trapezoid(gap[..., first:last], inner, axis=-1))
    scale = (quantile(reference, edges, 0.75) - quantile(reference, edges, 0.25)) / _NORMAL_IQR
    wide = float(inner[-1] - inner[0])
    # A value that many rows share has a bin as narrow as numbers allow: its quartiles are equal.
    scale = scale if scale > _EQUAL * wide else wide
    return area / (scale or 1.0)


def population_stability(reference: Counted, window: Counted) -> Floats:
    """Population stability index: the sum of (q - p) ln(q / p) over the bins, 0 to infinity.

    Jeffreys' divergence (1946). Empty bins count as a share of 0.0001. Usually read as: below 0.1
    little, above 0.25 much.
    """
    p = np.maximum(shares(reference), _PSI_FLOOR)
    q = np.maximum(shares(window), _PSI_FLOOR)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def jensen_shannon(reference: Counted, window: Counted) -> Floats:
    """Jensen-Shannon distance to base 2, 0 to 1: the root of the divergence (Lin, 1991)."""
    p, q = shares(reference), shares(window)
    middle = (p + q) / 2
    divergence = (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=-1) / 2
    return np.asarray(np.sqrt(np.maximum(divergence / np.log(2), 0.0)))


def total_variation(reference: Counted, window: Counted) -> Floats:
    """Half the sum of all differences of shares, 0 to 1: the share that changed its bin."""
    return np.asarray(np.abs(shares(window) - shares(reference)).sum(axis=-1) / 2)


def grouped(reference: Counted, *others: Counted, groups: int = PSI_GROUPS) -> list[Counted]:
    """Neighbouring bins added up, to at most so many groups of like share of the reference."""
    counts = np.asarray(reference, np.float64)
    group = (np.cumsum(counts) - counts) * groups // max(counts.sum(), 1.0)
    starts = np.flatnonzero(np.diff(np.minimum(group, groups - 1), prepend=-1))
    return [np.add.reduceat(each, starts, axis=-1) for each in (reference, *others)]


def quantile(counts: Counted, edges: Floats, level: float) -> float:
    """A value that so many are below, taken evenly within its bin; the outermost edge beyond.

    NaN of no values, or without edges.
    """
    total = float(np.sum(counts))
    if not len(edges) or not total:
        return np.nan
    below = np.cumsum(counts) / total
    index = min(int(np.searchsorted(below, level)), len(edges))
    if index in (0, len(edges)):
        return float(edges[0] if index == 0 else edges[-1])
    start = below[index - 1]
    part = (level - start) / (below[index] - start)
    part = min(1.0, part)
    return float((1 - part) * edges[index - 1] + part * edges[index])
