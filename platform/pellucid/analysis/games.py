"""Games of a row's players: what a model gives when only some of them are shown.

Players are columns, superpixels, steps or tokens. Those that are hidden take what background rows
have in their place, whatever the others are: the interventional game that SHAP values divide
(Janzing et al., AISTATS 2020).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.calibration import Booleans, Floats, Integers

Array = NDArray[Any]
Worth = Callable[[Booleans], Floats]
"""(M, players), True where one is shown, to (M,): the mean output over the background rows."""

_HELD = 2**22  # numbers in one batch of mixed rows


def masked(
    predict: Callable[[Array], Floats],
    row: Array,
    background: Array,
    weights: Floats,
    players: Integers,
) -> Worth:
    """The worth of sets of players of one row.

    Args:
        predict: (M, *shape) -> (M,), of the output that is explained.
        row: (*shape).
        background: (B, *shape).
        weights: (B,), adding up to 1.
        players: (*shape), the player that each element belongs to, from 0; -1 is never hidden.
    """
    most = max(1, _HELD // background.size)

    def some(shown: Booleans) -> Floats:
        always = np.ones((len(shown), 1), dtype=np.bool_)
        kept = np.concatenate([shown, always], axis=1)[:, players]  # -1 is the last column
        mixed = np.where(kept[:, np.newaxis], row, background)
        outputs = predict(mixed.reshape(-1, *row.shape))
        return np.asarray(outputs.reshape(len(shown), -1) @ weights, dtype=np.float64)

    def worth(shown: Booleans) -> Floats:
        parts = [some(shown[start : start + most]) for start in range(0, len(shown), most)]
        return np.concatenate(parts)

    return worth


def shapley_values(worth: Worth, count: int) -> Floats:
    """(count,) exact Shapley values (Shapley, 1953), from the worth of all 2^count sets."""
    sets = np.arange(2**count)
    shown = (sets[:, np.newaxis] >> np.arange(count) & 1).astype(np.bool_)
    worths, size = worth(shown), shown.sum(axis=1)
    share = np.array([1 / (count * math.comb(count - 1, s)) for s in range(count)])
    values = np.empty(count)
    for i in range(count):
        without = sets[~shown[:, i]]
        values[i] = share[size[without]] @ (worths[without | 1 << i] - worths[without])
    return values


def joined(worth: Worth, values: Floats, most: int) -> tuple[Worth, Floats]:
    """The same game with at most so many players: those of the smallest values play as one."""
    if len(values) <= most:
        return worth, values
    order = np.argsort(-np.abs(values), kind="stable")
    group = np.minimum(np.argsort(order), most - 1)
    summed = np.bincount(group, values, most).astype(np.float64)
    return lambda shown: worth(shown[:, group]), summed


def random_sets(count: int, sets: int, generator: np.random.Generator) -> Booleans:
    """(sets, count) of players to hide: every size from 1 to count - 1 is as likely."""
    size = generator.integers(1, max(2, count), size=(sets, 1))
    return generator.random((sets, count)).argsort(axis=1) < size
