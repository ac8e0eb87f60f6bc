"""Whether two samples differ by more than chance, from counts; p-values that hold far out.

A year of windows and hundreds of columns ask for p-values of a millionth and less, where the usual
approximations fail for small counts. Those here err towards larger p-values, or are off by a small
factor; `tests` compare them to exact ones. Leading axes of counts, such as windows, are kept.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtrc, chdtrc, kolmogorov, xlogy

from pellucid.analysis.watching.drift.distances import Counted
from pellucid.analysis.watching.profiles import Floats

_FEWEST = 5  # values that are expected in the smaller sample of a cell, else cells are joined
_RARE = 0.1  # a share below which a hypergeometric count is all but binomial


def effective(reference: ArrayLike, window: ArrayLike) -> Floats:
    """The size of one sample as uncertain as the difference of two: nm / (n + m)."""
    n, m = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    return n * m / np.maximum(n + m, 1.0)


def kolmogorov_p(statistic: ArrayLike, size: ArrayLike) -> Floats:
    """P-value of the two-sample Kolmogorov-Smirnov statistic, by its limiting distribution.

    Too large for few values, and for bins and ties, which make the statistic smaller.

    Args:
        statistic: (...) as by `kolmogorov_smirnov`.
        size: (...) as by `effective`.
    """
    return np.asarray(kolmogorov(np.sqrt(size) * np.asarray(statistic)))


def categories_p(reference: Counted, window: Counted) -> Floats:
    """P-value of a change of shares, be it many small ones (G) or a cell's that grew from little.

    The latter, which joined cells would hide, is the least exact p-value of any cell. Either is
    corrected for there being others (Bonferroni).

    Args:
        reference: (bins,).
        window: (..., bins).
    """
    old, new = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    rows = old.sum(axis=-1, keepdims=True), new.sum(axis=-1, keepdims=True)
    grown = more_p(old, rows[0], new, rows[1]).min(axis=-1) * old.shape[-1]
    return np.asarray(np.minimum(1.0, 2 * np.minimum(likelihood_ratio_p(old, new), grown)))


def likelihood_ratio_p(reference: Counted, window: Counted) -> Floats:
    """P-value of the G test that both samples have the same shares, by Wilks' theorem (1938).

    Unlike Pearson's chi-square, G keeps its exponential rate far out, whatever the counts; it is
    divided by Williams' correction (Biometrika 1976). Cells
    that expect fewer than 5 values in the smaller sample are joined. 1 where a single cell is left.

    Args:
        reference: (bins,).
        window: (..., bins).
    """
    pair = np.stack(np.broadcast_arrays(reference, window), axis=-2).astype(np.float64)
    pair = _joined(pair)  # (..., 2, cells)
    rows, cells = pair.sum(axis=-1, keepdims=True), pair.sum(axis=-2, keepdims=True)
    total = np.maximum(cells.sum(axis=-1, keepdims=True), 1.0)
    expected = rows * cells / total
    filled = expected > 0
    ratio = np.divide(pair, expected, out=np.ones_like(pair), where=filled)
    g = 2 * xlogy(pair, ratio).sum(axis=(-2, -1))
    freedom = np.maximum((cells[..., 0, :] > 0).sum(axis=-1) - 1, 0)
    whole = total[..., 0, 0]
    of_rows = (whole[..., None, None] / np.maximum(rows, 1.0)).sum(axis=(-2, -1)) - 1
    inverse = np.divide(1.0, cells, out=np.zeros_like(cells), where=cells > 0)
    of_cells = whole * inverse.sum(axis=(-2, -1)) - 1
    correction = 1 + of_rows * of_cells / (6 * whole * np.maximum(freedom, 1))
    p = chdtrc(np.maximum(freedom, 1), np.maximum(g, 0.0) / correction)
    return np.where(freedom > 0, p, 1.0)


def _joined(pair: Floats) -> Floats:
    """(..., 2, cells) with cells that expect too few values added up, (..., 2, 2 cells).

    What is expected goes by the larger sample alone, and neighbours are arbitrary: cells chosen for
    what the smaller one has would all deviate to the same side.
    """
    width = pair.shape[-1]
    pair = pair[..., np.random.default_rng(0).permutation(width)]
    rows = pair.sum(axis=-1, keepdims=True)
    larger = np.take_along_axis(pair, rows.argmax(axis=-2, keepdims=True), axis=-2)[..., 0, :]
    expected = larger / np.maximum(rows.max(axis=-2), 1.0) * rows.min(axis=-2)
    few = np.where(expected < _FEWEST, expected, 0.0)
    joint = width + np.floor((np.cumsum(few, axis=-1) - few) / _FEWEST + 1e-9).astype(np.int64)
    cell = np.where(expected < _FEWEST, joint, np.arange(width)).reshape(-1, width)
    samples = pair.reshape(-1, 2, width)
    joined = np.zeros((len(samples), 2, 2 * width + 1))
    windows = np.arange(len(samples))[:, None]
    for sample in range(2):
        np.add.at(joined[:, sample], (windows, cell), samples[:, sample])
    return joined.reshape(*pair.shape[:-1], 2 * width + 1)


def share_p(
    hits: ArrayLike, rows: ArrayLike, window_hits: ArrayLike, window_rows: ArrayLike
) -> Floats:
    """Two-sided p-value of a difference between two shares.

    Where hits (or misses) are rare, Fisher's exact test in its limit: of all hits, each is as
    likely to be the window's as any row is. That is a little cautious. Otherwise the G test.
    """
    a, n, b, m = (np.asarray(each, np.float64) for each in (hits, rows, window_hits, window_rows))
    a, n, b, m = np.broadcast_arrays(a, n, b, m)
    flip = a + b > (n + m) / 2
    rare, window_rare = np.where(flip, n - a, a), np.where(flip, m - b, b)
    exact = np.minimum(
        1.0, 2 * np.minimum(more_p(rare, n, window_rare, m), _fewer_p(rare, n, window_rare, m))
    )
    if np.all(rare + window_rare <= _RARE * (n + m)):
        return np.asarray(exact)
    reference = np.stack([a, n - a], axis=-1)
    window = np.stack([b, m - b], axis=-1)
    return np.where(
        rare + window_rare <= _RARE * (n + m), exact, likelihood_ratio_p(reference, window)
    )


def more_p(
    hits: ArrayLike, rows: ArrayLike, window_hits: ArrayLike, window_rows: ArrayLike
) -> Floats:
    """One-sided p-value of a share that grew, for rare hits: given all hits, the window's part."""
    a, b, part = _parts(hits, rows, window_hits, window_rows)
    return np.where(b > 0, bdtrc(np.maximum(b - 1, 0), np.int64(a + b), part), 1.0)


def _fewer_p(
    hits: ArrayLike, rows: ArrayLike, window_hits: ArrayLike, window_rows: ArrayLike
) -> Floats:
    a, b, part = _parts(hits, rows, window_hits, window_rows)
    return np.where(a > 0, bdtrc(np.maximum(a - 1, 0), np.int64(a + b), 1 - part), 1.0)


def _parts(
    hits: ArrayLike, rows: ArrayLike, window_hits: ArrayLike, window_rows: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    a, n, b, m = (np.asarray(each, np.float64) for each in (hits, rows, window_hits, window_rows))
    return a, b, m / np.maximum(n + m, 1.0)


def benjamini_hochberg(p_values: Floats, level: float) -> NDArray[np.bool_]:
    """Which of (..., tests) p-values are rejected at a false discovery rate (JRSS B, 1995).

    If nothing differs at all, some test is rejected with at most this probability.
    """
    tests = p_values.shape[-1]
    if not tests:
        return np.zeros(p_values.shape, bool)
    ordered = np.sort(p_values, axis=-1)
    passed = ordered <= level * np.arange(1, tests + 1) / tests
    last = np.where(passed, ordered, -1.0).max(axis=-1, keepdims=True)
    return np.asarray(p_values <= last)
