"""How well a model does before anyone knows the truth: an estimate from its own probabilities.

Classification: confidence-based performance estimation (CBPE; Bialek et al., arXiv:2407.08649). If
a probability of 0.7 comes true in 70 of 100 rows, the model's probabilities tell how often its
labels are right, whatever the rows are. Every score is the one of `scores.SCORES`, taken over rows
that have each class in proportion to its probability. Probabilities are calibrated on reference
rows first; where the inputs moved, these are weighted so as to look like the window's (importance
weighting; Sugiyama et al., JMLR 2007).

Regression: direct loss estimation (DLE). Gradient boosting learns on reference rows how large the
error is, given inputs and prediction, and says it of the window's rows.

Both assume that inputs still mean what they meant. When that changes (concept drift), probabilities
and errors are as before and **the estimate does not move, however wrong the model has become**.
Only labels show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, softmax

from pellucid.analysis.calibration import Floats, Integers
from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import Outcomes, Score

_RESAMPLES = 200
_PIECE = 2**22  # weights held at once
_EDGE = 1e-6  # probabilities are kept so far from 0 and 1 before they are calibrated
# Precision (1 / variance) of the belief that nothing needs calibration, or that rows like the
# window's need none of their own: the data have to insist. On simulated shifts the error of the
# estimated accuracy is a fifth to a tenth smaller than with weak beliefs.
_PLAIN = _WEIGHTED = 100.0
_SHIFTED = 10  # classes, at most, that have a shift each
_FOLDS = 5
MOST_WEIGHT = 20.0  # a reference row stands for at most so many


@dataclass(frozen=True)
class Answers:
    """What a classifier said of N rows.

    Attributes:
        probability: (N, K).
        label: (N,) index of the class that it gave, which need not be the most probable.
    """

    probability: Floats
    label: Integers

    def __len__(self) -> int:
        return len(self.label)


class Calibration:
    """Probabilities as they should have been: one or several fits, R of them.

    probability -> softmax(shift + slope * ln probability): of two classes Platt's map (1999), of
    more vector scaling with one temperature (Guo et al., ICML 2017); of more than ten the
    temperature alone.

    Args:
        said: (M, K) probabilities.
        truth: (M,) class indices.
        counts: (R, M) how often each row counts, a fit for each.
        weight: (M,) of any mean. Where they differ, a second fit is made by them: it is held near
            the first one, which counts all rows alike and is held near the identity.
    """

    def __init__(self, said: Floats, truth: Integers, counts: Floats, weight: Floats) -> None:
        self._shifts = said.shape[1] <= _SHIFTED
        identity = np.zeros((len(counts), said.shape[1] * self._shifts + 1))
        identity[:, -1] = 1
        design = self._design(said)
        self._fits = _fitted(design, truth, counts, identity, _PLAIN)
        if np.ptp(weight):
            weighted = counts * weight * (effective_rows(weight) / weight.sum())
            self._fits = _fitted(design, truth, weighted, self._fits, _WEIGHTED)

    def apply(self, said: Floats, fits: slice) -> Floats:
        """(N, K) probabilities to (R, N, K), by some of the fits."""
        return _softmax(self._design(said), self._fits[fits])

    def _design(self, said: Floats) -> Floats:
        """(N, K, P): what shift and slope are multiplied by."""
        rows, classes = said.shape
        z: Floats = np.log(said.astype(np.float64).clip(_EDGE, 1))[..., None]
        if not self._shifts:
            return z
        return np.concatenate((np.broadcast_to(np.eye(classes), (rows, classes, classes)), z), -1)


def classification(
    scores: Sequence[Score],
    window: Answers,
    reference: Answers,
    truth: Integers,
    *,
    positive: int | None = None,
    weight: Floats | None = None,
    resamples: int = _RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """What the scores would be of a window whose truth is not known.

    The limits hold what the window's own scores would vary by if its truth were drawn again (its
    sampling error), and what other reference rows would have made of the calibration.

    Args:
        scores: of classifications.
        window: N rows.
        reference: M rows whose truth is known, that the model did not learn from.
        truth: (M,) class indices of the reference rows.
        positive: with two classes, the index of the positive one.
        weight: (M,) of the reference rows, to make them like the window's: `density_ratio`.
        resamples: for the limits.
        confidence: of the limits.
        seed: the same seed gives the same limits.

    Returns:
        Score's name -> estimate; NaN where the score is not defined.
    """
    weight = np.ones(len(truth)) if weight is None else weight
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), resamples)
    counts = np.concatenate((np.ones((1, len(truth))), draws.astype(np.float64)))
    calibration = Calibration(reference.probability, truth, counts, weight)
    rows, classes = window.probability.shape
    outcomes = Outcomes(
        np.tile(np.arange(classes), rows),
        np.repeat(window.probability, classes, axis=0),
        positive,
        np.repeat(window.label, classes),
    )
    found: list[list[Floats]] = [[] for _ in scores]
    step = max(1, _PIECE // (rows * classes))
    for start in range(0, len(counts), step):
        part = slice(start, start + step)
        chance = calibration.apply(window.probability, part)
        happened = _drawn(chance, generator)
        if not start:
            happened[0] = chance[0]  # the estimate itself: in proportion, not drawn
        for each, score in zip(found, scores, strict=True):
            each.append(score.weighted(outcomes, happened.reshape(len(happened), -1)))
    return {
        score.name: _interval(np.concatenate(each), confidence)
        for score, each in zip(scores, found, strict=True)
    }


def density_ratio(reference: Floats, window: Floats, *, seed: int = 0) -> Floats:
    """How much more frequent each reference row's like is in the window.

    A classifier (gradient boosting) tells reference rows from the window's; its odds, for rows that
    it was not fitted on, are the ratio of the densities (Bickel et al., JMLR 2009). They are
    clipped to 1/20 and 20, so that no single row decides. Their mean is 1 where every row of the
    window could be one of the reference: see `overlap`.

    Args:
        reference: (M, columns), NaN is missing.
        window: (N, columns).
        seed: of the classifier's folds.

    Returns:
        (M,).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    of_window = np.repeat((0, 1), (len(reference), len(window)))
    model = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=40, random_state=seed
    )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    rows = np.concatenate((reference, window))
    chance = cross_val_predict(model, rows, of_window, cv=folds, method="predict_proba")
    odds = chance[: len(reference), 1] / chance[: len(reference), 0].clip(1e-12)
    return np.asarray((odds * len(reference) / len(window)).clip(1 / MOST_WEIGHT, MOST_WEIGHT))


def overlap(ratio: Floats) -> float:
    """The share of the window's rows that are like reference rows, from `density_ratio`.

    The mean over reference rows of window density / reference density is the window's mass where
    the reference has any. Where that is little, no weights make one look like the other.
    """
    return float(min(ratio.mean(), 1.0))


def effective_rows(weight: Floats) -> float:
    """How many rows of equal weight would tell as much: (sum w)^2 / sum w^2 (Kish, 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum())


def regression(
    reference: Floats,
    error: Floats,
    window: Floats,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """How large the error is in a window whose truth is not known.

    The limits come of the reference rows (a jackknife over the folds that the fits leave out) and
    of the window's (what its rows' errors vary by around what is expected of them).

    Args:
        reference: (M, columns) inputs and prediction; NaN is missing.
        error: (M,) or (M, steps) prediction minus truth of the reference rows.
        window: (N, columns).
        confidence: of the limits.
        seed: of the folds.

    Returns:
        mae, mse and rmse -> estimate.
    """
    size = np.abs(error).reshape(len(error), -1)
    mae = _loss(reference, size.mean(1), window, confidence, seed)
    mse = _loss(reference, (size**2).mean(1), window, confidence, seed)
    root = Interval(*(float(np.sqrt(each)) for each in (mse.value, mse.low, mse.high)))
    return {"mae": mae, "mse": mse, "rmse": root}


def _loss(
    reference: Floats, loss: Floats, window: Floats, confidence: float, seed: int
) -> Interval:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold

    left_out, means = np.empty(len(loss)), []
    for fitted, rest in KFold(2 * _FOLDS, shuffle=True, random_state=seed).split(reference):
        model = HistGradientBoostingRegressor(
            max_iter=80,
            learning_rate=0.08,
            max_leaf_nodes=8,
            min_samples_leaf=20,
            random_state=seed,
        ).fit(reference[fitted], loss[fitted])
        left_out[rest] = model.predict(reference[rest]).clip(0)
        means.append(model.predict(window).clip(0).mean())
    folds = len(means)
    level = loss.mean() / max(float(left_out.mean()), 1e-300)  # what the fits miss on average
    value = float(np.mean(means) * level)
    of_reference = (folds - 1) / folds * np.square(np.array(means) * level - value).sum()
    of_window = np.square(loss - left_out * level).mean() / len(window)
    of_window *= (value / max(float(loss.mean()), 1e-300)) ** 2  # larger errors vary more
    reach = float(ndtri((1 + confidence) / 2) * np.sqrt(of_reference + of_window))
    return Interval(value, max(0.0, value - reach), value + reach)


def _fitted(
    design: Floats, truth: Integers, weight: Floats, belief: Floats, precision: float
) -> Floats:
    """Parameters (R, P) of R multinomial regressions, by Newton's method, some at once.

    Args:
        design: (M, K, P).
        truth: (M,).
        weight: (R, M).
        belief: (R, P) where the parameters are expected.
        precision: of that expectation.
    """
    rows, classes, _ = design.shape
    step = max(1, _PIECE // (rows * classes))
    starts = range(0, len(weight), step)
    return np.concatenate(
        [
            _newton(design, truth, weight[n : n + step], belief[n : n + step], precision)
            for n in starts
        ]
    )


def _newton(
    design: Floats, truth: Integers, weight: Floats, belief: Floats, precision: float
) -> Floats:
    rows, classes, size = design.shape
    flat = design.reshape(rows * classes, size)
    products = (flat[:, :, None] * flat[:, None, :]).reshape(rows * classes, size * size)
    happened = design[np.arange(rows), truth]
    parameters = belief
    for _ in range(25):
        chance = _softmax(design, parameters)
        mean = np.einsum("rmk,mkp->rmp", chance, design)
        weighted = (weight[..., None] * chance).reshape(len(weight), -1)
        gradient = weight @ happened - weighted @ flat - precision * (parameters - belief)
        hessian = (weighted @ products).reshape(-1, size, size) + precision * np.eye(size)
        hessian -= (mean * weight[..., None]).transpose(0, 2, 1) @ mean
        move = np.linalg.solve(hessian, gradient[..., None])[..., 0].clip(-2, 2)
        parameters = parameters + move
        if np.abs(move).max() < 1e-6:
            break
    return parameters


def _softmax(design: Floats, parameters: Floats) -> Floats:
    """(N, K, P) and (R, P) to probabilities (R, N, K)."""
    scores = np.moveaxis(design @ parameters.T, -1, 0)
    return np.asarray(softmax(scores, axis=-1))


def _drawn(chance: Floats, generator: np.random.Generator) -> Floats:
    """(R, N, K): each row of (R, N, K) chances counts for one class, drawn by them, or not at all.

    How often a row counts is Poisson with mean 1, as in a bootstrap of the rows.
    """
    rising = np.cumsum(chance[..., :-1], axis=-1)
    drawn = (generator.random((*chance.shape[:-1], 1)) > rising).sum(-1)
    times = generator.poisson(1.0, drawn.shape).astype(np.float64)
    return np.asarray((np.arange(chance.shape[-1]) == drawn[..., None]) * times[..., None])


def _interval(values: Floats, confidence: float) -> Interval:
    """The first value, between quantiles of the others."""
    value, resampled = float(values[0]), values[1:]
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or 2 * len(resampled) < len(values):
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(resampled, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(value, min(float(low), value), max(float(high), value))
