"""Maximum mean discrepancy of two samples of vectors, on random Fourier features."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from pellucid.analysis.watching.profiles import Floats

_FEATURES = 256
_PAIRED = 500  # rows whose distances set the kernel's width


class Discrepancy(NamedTuple):
    """How far two samples' mean features lie apart.

    Attributes:
        value: root of the unbiased estimate, 0 (equal distributions) to 1.4.
        upper: its confidence limit.
        p_value: of equal distributions.
    """

    value: float
    upper: float
    p_value: float


def discrepancy(
    reference: Floats, window: Floats, *, confidence: float = 0.95, seed: int = 0
) -> Discrepancy:
    """Maximum mean discrepancy (Gretton et al., JMLR 2012) with a Gaussian kernel.

    The kernel's width is the median distance of reference rows. It is taken on 256 random Fourier
    features (Rahimi and Recht, NeurIPS 2007), so that a thousand rows cost no million pairs.

    If rows are exchanged at random between both samples, the squared distance of the means is in
    the limit a sum of squared normal deviates, weighted by the eigenvalues of the features'
    covariance. The p-value is that sum's: unlike counted permutations it is not bounded below.

    Args:
        reference: (n, d) finite; n at least 2.
        window: (m, d) likewise.
        confidence: of the upper limit.
        seed: of the features.
    """
    old, new = _features(reference, window, np.random.default_rng(seed))
    n, m = len(old), len(new)
    gap = new.mean(axis=0) - old.mean(axis=0)
    both = np.vstack([old, new])
    pooled = np.cov(both.T) * (1 / n + 1 / m)
    weights = np.maximum(np.linalg.eigvalsh(pooled), 0.0)
    squared = float(gap @ gap)
    noise = float(np.var(old, axis=0, ddof=1).sum() / n + np.var(new, axis=0, ddof=1).sum() / m)
    unbiased = squared - noise
    return Discrepancy(
        max(0.0, unbiased) ** 0.5,
        _upper(unbiased, weights, float(ndtri(confidence))),
        weighted_chi_square_p(squared, weights),
    )


def _features(old: Floats, new: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    centre = old.mean(axis=0)
    few = rng.permutation(old)[:_PAIRED] - centre
    squares = (few**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * few @ few.T
    width = np.sqrt(np.median(distances[np.triu_indices(len(few), 1)]).clip(0)) or 1.0
    directions = rng.normal(size=(old.shape[1], _FEATURES)) / width
    phases = rng.uniform(0, 2 * np.pi, _FEATURES)
    scale = np.sqrt(2 / _FEATURES)
    return (
        scale * np.cos((old - centre) @ directions + phases),
        scale * np.cos((new - centre) @ directions + phases),
    )


def _upper(unbiased: float, weights: Floats, z: float) -> float:
    """The largest discrepancy that would still give so small an estimate, by bisection.

    The estimate's variance is at most 4 w D^2 + 2 sum w^2 for a discrepancy D, w being the largest
    of the weights.
    """
    largest, spread = float(weights.max()), 2 * float((weights**2).sum())
    low, high = 0.0, 2.0
    for _ in range(50):
        middle = (low + high) / 2
        reach = z * np.sqrt(4 * largest * middle**2 + spread)
        low, high = (middle, high) if middle**2 - reach <= unbiased else (low, middle)
    return high


def weighted_chi_square_p(value: float, weights: Floats) -> float:
    """Chance that a sum of squared normal deviates with these weights exceeds a value.

    By saddlepoint approximation, which holds far out in the tail (Kuonen, Biometrika 1999).
    """
    weights = weights[weights > 1e-12 * weights.max(initial=0.0)]
    if not len(weights) or value <= 0:
        return 1.0
    limit = 1 / (2 * weights.max())
    low, high = -2 * len(weights) / value, limit
    for _ in range(200):  # the slope of the cumulant generating function rises to infinity
        s = (low + high) / 2
        slope = float((weights / (1 - 2 * s * weights)).sum())
        low, high = (s, high) if slope < value else (low, s)
    curve = float(2 * (weights**2 / (1 - 2 * s * weights) ** 2).sum())
    cumulant = -0.5 * float(np.log1p(-2 * s * weights).sum())
    w = np.sign(s) * np.sqrt(max(0.0, 2 * (s * value - cumulant)))
    v = s * np.sqrt(curve)
    if abs(w) < 1e-4:  # at the mean, where both vanish
        skew = 8 * float((weights**3).sum()) / (2 * float((weights**2).sum())) ** 1.5
        return float(0.5 - skew / (6 * np.sqrt(2 * np.pi)))
    return float(np.clip(ndtr(-(w + np.log(v / w) / w)), 0.0, 1.0))
