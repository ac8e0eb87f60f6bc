"""Confidence intervals: the bootstrap for any statistic, Wilson's for a share.

A statistic here is a function of row weights. A resample of N rows with replacement is the same
as weighting every row by how often it was drawn, so a thousand resamples are a matrix of weights,
taken in pieces of bounded memory, and no row is ever copied.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import ndtr, ndtri

from pellucid.analysis.calibration import Floats, Integers
from pellucid.analysis.scores import Outcomes, Score

_PIECE = 2**18  # weights held at once: 2 MB, which stays in the processor's cache ...
_FEWEST = 4  # ... but this many rows of weights, so that work that is done once per piece is rare
_BLOCKS = 200  # of the jackknife


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence limits; NaN limits where the data do not allow any."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not defined"
        if np.isnan(self.low):
            return _short(self.value)
        return f"{_short(self.value)} ({_short(self.low)} to {_short(self.high)})"


@dataclass(frozen=True)
class Sampled:
    """A statistic, of any shape (...), with how it varies from sample to sample."""

    value: Floats  # (...) on the rows themselves
    resampled: Floats  # (R, ...) on bootstrap resamples
    jackknife: Floats  # (B, ...) with one block of rows left out

    def map(self, function: Callable[[Floats], Floats]) -> Self:
        """What follows from the statistic, such as a difference of two of its entries.

        `function` works on the last axes: (..., S) to (..., T).
        """
        return type(self)(function(self.value), function(self.resampled), function(self.jackknife))

    def interval(self, confidence: float, *entry: int) -> Interval:
        """The bias-corrected and accelerated interval of one entry.

        Efron (JASA 1987); the acceleration comes from the block jackknife. The limits always
        enclose the value. Resamples on which the statistic is NaN are left out; the limits are
        NaN where the value is, where more than half of the resamples are, or of a single row.
        """
        value = float(self.value[entry])
        column: tuple[Any, ...] = (slice(None), *entry)
        resampled = self.resampled[column]
        resampled = resampled[np.isfinite(resampled)]
        jackknife = self.jackknife[column]
        jackknife = jackknife[np.isfinite(jackknife)]
        few = 2 * len(resampled) < len(self.resampled) or len(jackknife) < 2
        if few or not np.isfinite(value):
            return Interval(value, np.nan, np.nan)
        levels = _levels(value, resampled, jackknife, confidence)
        low, high = np.quantile(resampled, levels)
        return Interval(value, min(float(low), value), max(float(high), value))


def bootstrap(
    statistic: Callable[[Floats], Floats],
    rows: int,
    *,
    weight: Floats | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Sampled:
    """A statistic on `rows` rows, on resamples of them, and with blocks of them left out.

    Args:
        statistic: weights (R, N) to values (R, ...).
        rows: N.
        weight: (N,) that the rows carry anyway, or None for 1.
        resamples: how many.
        seed: the same seed draws the same resamples.
    """
    weight = np.ones(rows) if weight is None else np.asarray(weight, dtype=np.float64)

    def over(counts: Iterator[Any]) -> Floats:
        return np.concatenate([statistic(piece * weight) for piece in counts])

    return Sampled(
        statistic(weight[None])[0],
        over(_draws(rows, resamples, np.random.default_rng(seed))),
        over(_blocks_left_out(rows)),
    )


def paired_difference(
    score: Score,
    truth: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    weight: Floats | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    *,
    positive: int | None = None,
    labels: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> Interval:
    """Score of model `a` minus score of model `b`, on the same rows in every resample.

    The difference is in the score's own units: multiply by `score.sign` for "how much better".

    Args:
        score: a row of `SCORES`.
        truth, a, b, positive: the truth and both predictions, as `Outcomes` takes them.
        weight, resamples, seed: as in `bootstrap`.
        confidence: of the interval.
        labels: that each of them decided on; None: the most probable classes.
    """
    first, second = (
        Outcomes(truth, prediction, positive, label)
        for prediction, label in zip((a, b), labels, strict=True)
    )

    def difference(weights: Floats) -> Floats:
        return score.weighted(first, weights) - score.weighted(second, weights)

    sampled = bootstrap(difference, len(first), weight=weight, resamples=resamples, seed=seed)
    return sampled.interval(confidence)


def wilson(share: float, trials: float, confidence: float = 0.95) -> Interval:
    """The score interval of a share of independent trials (Wilson, JASA 1927).

    Unlike the bootstrap it stays honest for few trials and for shares of 0 and 1.
    """
    if not trials > 0:
        return Interval(share, np.nan, np.nan)
    z = float(ndtri((1 + confidence) / 2))
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = np.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    reach *= z / (1 + z**2 / trials)
    return Interval(share, max(0.0, float(centre - reach)), min(1.0, float(centre + reach)))


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def _draws(rows: int, resamples: int, generator: np.random.Generator) -> Iterator[Integers]:
    """Multinomial counts (r, N) of all resamples, in pieces."""
    piece = max(_FEWEST, _PIECE // rows)
    for start in range(0, resamples, piece):
        size = min(piece, resamples - start)
        drawn = generator.integers(0, rows, size=(size, rows))
        drawn += np.arange(size)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)


def _blocks_left_out(rows: int) -> Iterator[Floats]:
    """Weights (b, N) that leave out every B-th row, from each start; B = N up to `_BLOCKS` rows."""
    blocks = min(rows, _BLOCKS)
    block = np.arange(rows) % blocks
    piece = max(_FEWEST, _PIECE // rows)
    for start in range(0, blocks, piece):
        yield (block != np.arange(start, min(start + piece, blocks))[:, None]).astype(np.float64)


def _levels(value: float, resampled: Floats, jackknife: Floats, confidence: float) -> Floats:
    """Which quantiles of the resamples are the BCa limits."""
    below = (np.mean(resampled < value) + np.mean(resampled <= value)) / 2
    smallest = 1 / (len(resampled) + 1)  # no more correction than the resamples can show
    bias = ndtri(np.clip(below, smallest, 1 - smallest))
    spread = jackknife.mean() - jackknife
    scale = (spread**2).sum() ** 1.5
    acceleration = (spread**3).sum() / (6 * scale) if scale > 0 else 0.0
    shifted = bias + ndtri(np.array([1 - confidence, 1 + confidence]) / 2)
    return np.asarray(ndtr(bias + shifted / (1 - acceleration * shifted)))
