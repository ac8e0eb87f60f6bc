"""Size and certainty of what differs between a reference and a window, or many windows at once."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pellucid.analysis.watching.drift import distances, significance
from pellucid.analysis.watching.drift.distances import Counted
from pellucid.analysis.watching.profiles import Bins, Counts, Floats, Tally
from pellucid.analysis.watching.signals import SignalKind

_FEW_BINS = 10  # up to so many bins in use, a number is tested like a category


class Difference(NamedTuple):
    """Sizes of differences with their p-values, of one window or of many: (...) each."""

    effect: Floats
    p_value: Floats


def comparable(bins: Bins, tally: Tally) -> Counts:
    """(bins,) counts to compare; of a number that has one value, of this one and of all others."""
    if bins.kind == "number" and not len(bins.edges):
        return np.array([tally.counts.sum() - tally.outside, tally.outside])
    return tally.counts


def of_distribution(bins: Bins, reference: Counted, window: Counted) -> Difference:
    """The effect and p-value of a change of a column's distribution.

    Numbers: the Kolmogorov-Smirnov statistic and test; with few bins in use, where that test has
    little power, as strings: total variation less its noise, and the G test, or the exact test of
    one category that grew.

    Args:
        reference: (bins,) counts with at least one value.
        window: (..., bins) likewise.
    """
    if bins.kind == "category":
        observed = distances.total_variation(reference, window)
        effect = np.sqrt(np.maximum(observed**2 - noise(reference, window) ** 2, 0.0))
        return Difference(effect, significance.categories_p(reference, window))
    effect = distances.kolmogorov_smirnov(reference, window)
    if np.count_nonzero(reference) <= _FEW_BINS:
        return Difference(effect, significance.categories_p(reference, window))
    size = significance.effective(np.sum(reference), np.sum(window, axis=-1))
    return Difference(effect, significance.kolmogorov_p(effect, size))


def noise(reference: Counted, window: Counted) -> Floats:
    """(...) total variation to expect of two samples of these sizes if nothing differs."""
    size = significance.effective(np.sum(reference), np.sum(window, axis=-1))[..., None]
    pooled = distances.shares(np.asarray(reference) + np.asarray(window))
    spread = pooled * (1 - pooled)
    each = np.minimum(np.sqrt(2 / np.pi * spread / np.maximum(size, 1e-9)), 2 * spread)
    return np.asarray(each.sum(axis=-1) / 2)


def largest_variation(expected: float, chance: float) -> float:
    """The largest total variation of which no more than `expected` is to be expected in samples.

    With |d| / 2 summed over the bins, normal errors show the least of it where every bin differs by
    as many of its standard errors, t: E|t + Z| is convex. By bisection.

    Args:
        expected: of the samples, at least `chance`.
        chance: `noise` of them.
    """
    unit = chance * math.sqrt(math.pi / 2)  # half the sum of the standard errors
    if not unit:
        return expected
    low, high = 0.0, expected / unit
    for _ in range(50):
        t = (low + high) / 2
        shown = math.sqrt(2 / math.pi) * math.exp(-t * t / 2) + t * math.erf(t / math.sqrt(2))
        low, high = (t, high) if shown * unit <= expected else (low, t)
    return high * unit


def of_share(
    kind: SignalKind,
    hits: ArrayLike,
    rows: ArrayLike,
    window_hits: ArrayLike,
    window_rows: ArrayLike,
) -> Difference:
    """The effect and p-value of a change of a share; only of missing values can it be a fall."""
    share = np.divide(hits, np.maximum(rows, 1))
    difference = np.divide(window_hits, np.maximum(window_rows, 1)) - share
    if kind == "missing":
        p_value = significance.share_p(hits, rows, window_hits, window_rows)
        return Difference(np.abs(difference), p_value)
    p_value = significance.more_p(hits, rows, window_hits, window_rows)
    return Difference(np.maximum(difference, 0.0), p_value)


def familiar(kind: SignalKind, bins: Bins, reference: Tally) -> int:
    """How many reference values count as odd, where by definition none of them is.

    The least and the greatest value are the limits themselves, so new values of the same kind fall
    beyond them too: given all that do, the chance is that of a test against one value outside.
    Likewise a string that the reference has once would be new to the rest of it (Good and Turing),
    so new strings are as frequent as those.
    """
    if kind == "outside":
        return max(reference.outside, 1)
    if kind == "unseen":
        single = int(np.count_nonzero(reference.counts[:-1] == 1)) + len(bins.rare)
        return max(reference.outside, single)
    return reference.missing if kind == "missing" else reference.wrong
