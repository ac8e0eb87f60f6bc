"""Whether one model is better than another: significance tests on what both have done.

Paired tests are for the same rows answered by both (a shadow); unpaired ones for rows that were
divided between them (a canary). Differences are b minus a; every p-value is two-sided.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtr, ndtri, stdtr, stdtrit

from pellucid.analysis.intervals import bootstrap, wilson


@dataclass(frozen=True)
class Verdict:
    """A test's result; NaN where the data do not allow any."""

    test: str
    difference: float  # b minus a
    low: float  # confidence limits of the difference
    high: float
    p_value: float  # of a difference at least as large if there is none in truth
    a: int  # observations
    b: int

    def significant(self, level: float = 0.05) -> bool:
        """Whether the difference is shown at this level; never where it cannot be tested."""
        return self.p_value < level


def mcnemar(both: int, only_a: int, only_b: int, neither: int, confidence: float = 0.95) -> Verdict:
    """Shares of correct answers to the same rows: McNemar's exact test (Psychometrika 1947).

    Under no difference, rows that only one gets right are as likely to be b's as a's: binomial.
    The limits are Wald's with 0.5 added to both discordant counts (Agresti and Min, 2005).

    Args:
        both, only_a, only_b, neither: rows that so many of the two get right.
        confidence: of the limits.
    """
    rows, discordant = both + only_a + only_b + neither, only_a + only_b
    if not rows:
        return Verdict("McNemar, exact", np.nan, np.nan, np.nan, np.nan, 0, 0)
    fewer = min(only_a, only_b)
    p_value = min(1.0, 2 * float(bdtr(fewer, discordant, 0.5))) if discordant else 1.0
    smooth_a, smooth_b, total = only_a + 0.5, only_b + 0.5, rows + 2
    centre = (smooth_b - smooth_a) / total
    spread = np.sqrt(smooth_a + smooth_b - (smooth_b - smooth_a) ** 2 / total) / total
    reach = float(ndtri((1 + confidence) / 2) * spread)
    difference = (only_b - only_a) / rows
    low, high = max(-1.0, centre - reach), min(1.0, centre + reach)
    return Verdict("McNemar, exact", difference, low, high, p_value, rows, rows)


def two_proportions(
    hits_a: int, trials_a: int, hits_b: int, trials_b: int, confidence: float = 0.95
) -> Verdict:
    """Shares among different rows: the pooled z test, with Newcombe's limits.

    The limits join both shares' Wilson intervals (Newcombe, Statistics in Medicine 1998, method
    10), which hold for few trials and for shares of 0 and 1.
    """
    name = "two proportions, z"
    if not trials_a or not trials_b:
        return Verdict(name, np.nan, np.nan, np.nan, np.nan, trials_a, trials_b)
    a, b = hits_a / trials_a, hits_b / trials_b
    pooled = (hits_a + hits_b) / (trials_a + trials_b)
    error = np.sqrt(pooled * (1 - pooled) * (1 / trials_a + 1 / trials_b))
    p_value = float(2 * ndtr(-abs(b - a) / error)) if error else 1.0
    of_a, of_b = wilson(a, trials_a, confidence), wilson(b, trials_b, confidence)
    low = b - a - float(np.hypot(b - of_b.low, of_a.high - a))
    high = b - a + float(np.hypot(of_b.high - b, a - of_a.low))
    return Verdict(name, b - a, max(-1.0, low), min(1.0, high), p_value, trials_a, trials_b)


def welch(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Verdict:
    """Means over different rows, of unequal variances: Welch's t test (Biometrika 1947).

    Args:
        a, b: losses, (n,) and (m,).
        confidence: of the limits of the difference of the means.
    """
    first, second = _numbers(a), _numbers(b)
    n, m = len(first), len(second)
    if n < 2 or m < 2:
        return Verdict("Welch's t", np.nan, np.nan, np.nan, np.nan, n, m)
    difference = float(second.mean() - first.mean())
    of_a, of_b = first.var(ddof=1) / n, second.var(ddof=1) / m
    error = float(np.sqrt(of_a + of_b))
    if not error:
        p_value = 1.0 if difference == 0 else 0.0
        return Verdict("Welch's t", difference, difference, difference, p_value, n, m)
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (n - 1) + of_b**2 / (m - 1))
    p_value = float(2 * stdtr(freedom, -abs(difference) / error))
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Verdict("Welch's t", difference, difference - reach, difference + reach, p_value, n, m)


def wilcoxon(a: ArrayLike, b: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Verdict:
    """Losses on the same rows: Wilcoxon's signed-rank test (Biometrics Bulletin 1945).

    The limits are those of the mean difference, by BCa bootstrap of the rows.

    Args:
        a, b: losses, (n,) each.
        confidence: of the limits.
        seed: of the bootstrap.
    """
    from scipy import stats  # takes a third of a second

    first, second = _numbers(a), _numbers(b)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} losses are no pairs")
    differences = second - first
    n = len(differences)
    if not n:
        return Verdict("Wilcoxon, signed rank", np.nan, np.nan, np.nan, np.nan, 0, 0)
    p_value = float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0

    def mean(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(weights @ differences / weights.sum(axis=1))

    interval = bootstrap(mean, n, seed=seed).interval(confidence)
    return Verdict(
        "Wilcoxon, signed rank", interval.value, interval.low, interval.high, p_value, n, n
    )


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
