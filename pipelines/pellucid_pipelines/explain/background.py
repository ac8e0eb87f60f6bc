"""Which training rows an explanation compares to."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pellucid import plan
from pellucid_pipelines.data import Data, drawn

Choice = Literal["stratified", "kmeans", "random"]
Indices = npt.NDArray[np.int64]

_BINS = 10  # of a target that is a number
_SEEN = 10_000  # training rows that are looked at


def compared(
    examples: Data, spec: plan.Explanation, seed: int
) -> tuple[pa.Table, npt.NDArray[np.float64]]:
    """The raw training rows that a run's explanations compare to, and their weights (B,)."""
    train = drawn(examples.parts.train, _SEEN, seed)
    inputs = np.empty((len(train), 0))
    if spec.background_choice == "kmeans":
        inputs = examples.rows(train).inputs.numpy()
    rows, weights = choose(
        inputs, examples.truth(train), spec.background, spec.background_choice, seed
    )
    return examples.take(train[rows]), weights


def choose(
    inputs: npt.NDArray[np.generic],
    truth: npt.NDArray[np.generic],
    count: int,
    choice: Choice,
    seed: int,
) -> tuple[Indices, npt.NDArray[np.float64]]:
    """Rows, ascending, and what each counts for; the weights add up to 1.

    stratified: as many of each class, or of each tenth of a target's range of values, as there are
    among all rows. kmeans: for each of `count` clusters (Lloyd, 1982) the row next to its centre,
    with the cluster's share of rows as its weight: fewer rows say as much. random: any.

    Args:
        inputs: (N, ...) what the network takes.
        truth: (N, ...) class indices, or values.
        count: of rows wanted; all of them where there are fewer.
        choice: see above.
        seed: of the draw.
    """
    every = np.arange(len(inputs))
    if len(every) <= count:
        return every, np.full(len(every), 1 / len(every))
    if choice == "kmeans":
        return _central(inputs, count, seed)
    drawn = _drawn(truth if choice == "stratified" else np.zeros(len(every)), count, seed)
    return drawn, np.full(count, 1 / count)


def _drawn(truth: npt.NDArray[np.generic], count: int, seed: int) -> Indices:
    """Equally spaced places in a shuffled order by stratum: each stratum gets its share."""
    shuffled = np.random.default_rng(seed).permutation(len(truth))
    order = shuffled[np.argsort(_strata(truth)[shuffled], kind="stable")]
    places = (np.arange(count) + 0.5) * len(order) / count
    found: Indices = np.sort(order[places.astype(np.int64)])
    return found


def _strata(truth: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    if truth.dtype.kind != "f":
        return truth
    values = truth.reshape(len(truth), -1).mean(axis=1)
    edges = np.quantile(values, np.arange(1, _BINS) / _BINS)
    return np.asarray(np.searchsorted(edges, values))


def _central(
    inputs: npt.NDArray[np.generic], count: int, seed: int
) -> tuple[Indices, npt.NDArray[np.float64]]:
    from sklearn.cluster import KMeans  # a second

    points = inputs.reshape(len(inputs), -1).astype(np.float64)
    found = KMeans(count, n_init=1, random_state=seed).fit(points)
    nearest = np.argmin(found.transform(points), axis=0)  # of each centre
    shares = np.bincount(found.labels_, minlength=count) / len(points)
    rows, cluster = np.unique(nearest, return_inverse=True)
    return rows.astype(np.int64), np.bincount(cluster, shares).astype(np.float64)
