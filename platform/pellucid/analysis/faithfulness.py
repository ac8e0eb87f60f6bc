"""How faithful attributions are to the model that they explain.

A row has players (columns, superpixels, steps or tokens), each with a value; what the model gives
when some of them are hidden is their `games.Worth`. Values are compared with worths, with what
exact Shapley values would be, and with themselves under noise and of another model; how they were
made plays no part.

    gap             |base + sum of values - output|           0 and up, 0 is exact
    spearman        with exact Shapley values                 -1 to 1, more is better
    curves          deletion and insertion                    below 1, 0 is chance, more is better
    infidelity      of the values to random deletions         0 and up, 0 is exact
    max_sensitivity to noise in the row                       0 and up, less is better
    likeness        of rankings, the model's weights redrawn  up to 1, 0 is chance, less is better
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pellucid.analysis.calibration import Booleans, Floats
from pellucid.analysis.games import Worth

FEWEST_RANKED = 4  # players: of fewer, any two rankings look alike


def gap(values: Floats, base: Floats, output: Floats) -> tuple[float, float]:
    """Local accuracy: the largest |base + sum of values - output|, and relative to its scale.

    The scale is the mean |output - base| of the rows, for each output; where a model is all but
    constant, a thousandth of the largest output. Range 0 and up, lower is better, 0 is exact.

    Args:
        values: (N, players, outputs).
        base: (outputs,).
        output: (N, outputs), what the model gave.
    """
    missed: Floats = np.abs(base + values.sum(axis=1) - output).max(axis=0)
    scale = np.maximum(np.abs(output - base).mean(axis=0), 1e-3 * np.abs(output).max(axis=0))
    relative = np.divide(missed, scale, out=missed.copy(), where=scale > 0)
    return float(missed.max()), float(relative.max())


class Curves(NamedTuple):
    """Areas under a row's curves, each the mean output along the curve.

    Attributes:
        deletion: players hidden, those of the largest values first.
        insertion: shown, the largest first.
        chance: in random order; the same for both.
        low: the lowest output on any of them.
        high: the highest.
    """

    deletion: float
    insertion: float
    chance: float
    low: float
    high: float


def curves(
    worth: Worth, values: Floats, generator: np.random.Generator, orders: int = 4, points: int = 16
) -> Curves:
    """Deletion and insertion (Petsiuk, Das and Saenko, BMVC 2018), of one row's values (players,).

    The area under each curve over the share of players, by the trapezoidal rule.

    Args:
        worth: of sets of the players.
        values: (players,); of the same sign as what a player adds to the output.
        generator: of the random orders.
        orders: how many of them.
        points: of a curve, at most, without its start.
    """
    count = len(values)
    steps = np.unique(np.linspace(0, count, min(points, count) + 1).round().astype(np.int64))
    falling = np.argsort(np.argsort(-values, kind="stable"))
    random = [generator.permutation(count) for _ in range(orders)]
    ranks = np.stack([count - 1 - falling, falling, *random])  # the last to be hidden is shown
    shown = ranks[:, np.newaxis] < steps[:, np.newaxis]
    found = worth(shown.reshape(-1, count)).reshape(len(ranks), -1)
    areas: Floats = np.asarray(np.trapezoid(found, steps / count, axis=1))
    # Hiding the largest first is showing the smallest first, read from the other end.
    chance = float(areas[2:].mean())
    return Curves(float(areas[0]), float(areas[1]), chance, float(found.min()), float(found.max()))


def against_chance(rows: Sequence[Curves]) -> tuple[float, float]:
    """Deletion and insertion of several rows: the part of what was possible that was gained.

    Deletion is (chance - area) / (chance - lowest output), insertion is (area - chance) / (highest
    output - chance), sums over the rows in both parts. Higher is better, 0 is no better than a
    random order, below 0 is worse. 1 would be a curve that is at its end at once, which no order
    reaches where more than one player matters; NaN where the outputs never change.
    """
    deletion, insertion, chance, low, high = np.array(rows).T
    lost, won = float((chance - low).sum()), float((high - chance).sum())
    return (
        float((chance - deletion).sum()) / lost if lost > 0 else math.nan,
        float((insertion - chance).sum()) / won if won > 0 else math.nan,
    )


def infidelity(worth: Worth, values: Floats, hidden: Booleans) -> tuple[float, float]:
    """How far values miss what hiding players does (Yeh et al., NeurIPS 2019), of one row.

    For each set the values claim that the output falls by their sum. Returns the mean square of
    what that misses, in the output's unit squared, and the mean square of the falls themselves.
    Their quotient is 0 where the values are right, 1 where they say no more than all zeros.

    Args:
        worth: of sets of the players.
        values: (players,).
        hidden: (M, players), the sets.
    """
    found = worth(~np.concatenate([np.zeros((1, len(values)), np.bool_), hidden]))
    falls = found[0] - found[1:]
    return float(((hidden @ values - falls) ** 2).mean()), float((falls**2).mean())


def max_sensitivity(values: Floats, noisy: Floats) -> Floats:
    """(N,) how far values move when the rows do (Yeh et al., NeurIPS 2019).

    max over the draws of ||noisy - values|| / ||values||; 0 and up, lower is better. NaN where all
    values are 0.

    Args:
        values: (N, players).
        noisy: (draws, N, players), of the same rows with a little noise.
    """
    moved = np.linalg.norm(noisy - values, axis=2).max(axis=0)
    size = np.linalg.norm(values, axis=1)
    return _quotient(moved, size)


def spearman(values: Floats, others: Floats) -> Floats:
    """(...) rank correlation of (..., players), -1 to 1; NaN where one is constant.

    Equal values share the mean of their ranks.
    """
    from scipy.stats import rankdata  # takes a third of a second

    ranks = [rankdata(each, axis=-1) for each in (values, others)]
    first, second = (each - each.mean(axis=-1, keepdims=True) for each in ranks)
    size = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    both = (first * second).sum(axis=-1)
    return _quotient(both, size)


def likeness(values: Floats, redrawn: Floats) -> Floats:
    """(draws,) how much a ranking stays when the model's weights are drawn again, of one row.

    The sanity check of Adebayo et al. (NeurIPS 2018): values that stay the same do not explain
    what the model has learnt. |Spearman| less what two unrelated rankings of so many players have
    on average, sqrt(2 / (pi (players - 1))), over 1 less that. Up to 1, which is the same or the
    reverse ranking; 0 is no more alike than by chance; lower is better. NaN of fewer than
    `FEWEST_RANKED` players, and where all values are equal.

    Args:
        values: (players,) of the model.
        redrawn: (draws, players) of the same row, of models with other weights.
    """
    if len(values) < FEWEST_RANKED:
        return np.full(len(redrawn), np.nan)
    chance = math.sqrt(2 / (math.pi * (len(values) - 1)))
    return np.asarray((np.abs(spearman(values, redrawn)) - chance) / (1 - chance))


def _quotient(part: Floats, whole: Floats) -> Floats:
    """NaN where the whole is 0."""
    undefined = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(part, whole, out=undefined, where=whole > 0))
