"""Permutation importance: how much worse a model scores once a column no longer belongs to its row.

Breiman (Machine Learning 2001); Fisher, Rudin and Dominici (JMLR 2019). What the shuffles leave to
chance is averaged over several of them; the interval is that of the rows, by the bootstrap.
"""

from collections.abc import Sequence

import numpy as np

from pellucid.analysis.calibration import Floats
from pellucid.analysis.intervals import Interval, bootstrap
from pellucid.analysis.scores import Outcomes, Score


def permutation_importance(
    score: Score,
    outcomes: Outcomes,
    permuted: Sequence[Sequence[np.ndarray]],
    *,
    weight: np.ndarray | None = None,
    resamples: int = 400,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Interval]:
    """For each column by how much the score gets worse, in the score's units.

    0: the column is of no use to the score; below 0: the score would be better without. A column
    that stands in for another takes importance from it.

    Args:
        score: a row of `SCORES`.
        outcomes: truth and prediction of N rows as they are.
        permuted: for each column the predictions of some shuffles, each as `outcomes.prediction`.
        weight, resamples, seed: as in `intervals.bootstrap`; all columns share the resamples.
        confidence: of the intervals.
    """
    shuffled = [
        [Outcomes(outcomes.truth, each, outcomes.positive) for each in column]
        for column in permuted
    ]

    def losses(weights: Floats) -> Floats:
        """(R, N) to (R, columns)."""
        whole = score.weighted(outcomes, weights)
        means = [np.mean([score.weighted(s, weights) for s in each], axis=0) for each in shuffled]
        return np.asarray(score.sign * (whole[:, np.newaxis] - np.stack(means, axis=1)))

    if not permuted:
        return []
    sampled = bootstrap(losses, len(outcomes), weight=weight, resamples=resamples, seed=seed)
    return [sampled.interval(confidence, column) for column in range(len(permuted))]
