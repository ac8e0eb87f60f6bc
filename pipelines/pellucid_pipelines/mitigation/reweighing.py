"""Weights under which group and class are independent (Kamiran and Calders, KAIS 2012)."""

import numpy as np
import numpy.typing as npt

from pellucid_pipelines.mitigation.groups import Groups

Floats = npt.NDArray[np.float64]


def factors(
    groups: Groups,
    truth: npt.NDArray[np.int64],
    train: npt.NDArray[np.int64],
    weight: Floats | None,
) -> Floats:
    """(N,) P(group) P(class) / P(group, class) of every row, as the training rows have it.

    Rows without a group, and combinations that no training row has, keep a factor of 1. Under the
    factors, times the weights, each group and each class has as much weight as before.

    Args:
        groups: of N rows.
        truth: (N,) class indices.
        train: indices of the training rows.
        weight: (N,) that rows have anyway, or None.
    """
    classes = int(truth.max()) + 1
    shape = (len(groups) + 1, classes)
    cell = groups.codes * classes + truth
    weights = None if weight is None else weight[train]
    joint = np.bincount(cell[train], weights, minlength=shape[0] * classes).reshape(shape)
    joint[-1] = 0
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0) / max(joint.sum(), 1e-300)
    found = np.divide(apart, joint, out=np.ones(shape), where=joint > 0)
    return np.asarray(found.ravel()[cell])
