"""LIME: a linear model that imitates a model near a row (Ribeiro, Singh and Guestrin, KDD 2016).

A row's neighbours have some of its columns and, for the others, values of other rows. A ridge
regression on which columns were kept, in which near neighbours count more, gives each column a
coefficient: what having the row's own value adds to the prediction. The package `lime` is no
longer maintained; kernel, width and penalty are its defaults for tables.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pellucid.analysis.calibration import Floats

Booleans = npt.NDArray[np.bool_]

_WIDTH = 0.75  # of the kernel, times the root of the number of columns
_RIDGE = 1.0


@dataclass(frozen=True)
class Surrogate:
    """Linear models of R rows.

    Attributes:
        effects: (R, columns) in the unit of the outcome.
        fidelity: (R,) weighted R2 on the neighbours: 1 where the model is linear there, 0 where
            the surrogate tells nothing; NaN where the outcome does not vary.
    """

    effects: Floats
    fidelity: Floats


def neighbours(rows: int, samples: int, columns: int, generator: np.random.Generator) -> Booleans:
    """(rows, samples, columns): which columns each neighbour keeps; the first one keeps all.

    How many are replaced is uniform in 1 to `columns`, which ones is uniform.
    """
    replaced = generator.integers(1, columns + 1, size=(rows, samples, 1))
    order = generator.random((rows, samples, columns)).argsort(axis=2).argsort(axis=2)
    kept: Booleans = order >= replaced
    kept[:, 0] = True
    return kept


def local_linear(kept: Booleans, outcome: Floats) -> Surrogate:
    """Fit the surrogates.

    Args:
        kept: (R, S, columns) as `neighbours`.
        outcome: (R, S) the model's prediction of each neighbour.
    """
    columns = kept.shape[2]
    replaced = columns - kept.sum(axis=2)
    weight = np.exp(-replaced / (2 * _WIDTH**2 * columns))
    share = weight / weight.sum(axis=1, keepdims=True)
    design = kept - (share[..., np.newaxis] * kept).sum(axis=1, keepdims=True)  # no intercept left
    centred = outcome - (share * outcome).sum(axis=1, keepdims=True)
    weighted = design * weight[..., np.newaxis]
    gram = weighted.transpose(0, 2, 1) @ design + _RIDGE * np.eye(columns)
    moments = weighted.transpose(0, 2, 1) @ centred[..., np.newaxis]
    effects = np.linalg.solve(gram, moments)[..., 0]
    missed = centred - (design @ effects[..., np.newaxis])[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        fidelity = 1 - (share * missed**2).sum(axis=1) / (share * centred**2).sum(axis=1)
    return Surrogate(effects, fidelity)


def rank_correlations(a: Floats, b: Floats) -> Floats:
    """(R,) Spearman's correlation of each row of two (R, n); NaN where one of them is constant."""
    first, second = (rankdata(each, axis=1) - (each.shape[1] + 1) / 2 for each in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        return np.asarray((first * second).sum(axis=1) / scale)
