"""From changes that suffice to smaller ones of the same columns, or of fewer."""

import itertools

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.counterfactuals.axes import UNCHANGED, Positions, sizes
from pellucid.analysis.counterfactuals.trials import Trials

_GRID = 1024  # rows of a set of columns' grid, at most
_STARTS = 2  # states of each set of columns that are narrowed further
_PARTS = 6  # a bisection into so many
_ROUNDS = 12  # of it
_FIRST = 3  # columns of a state that are each narrowed first in turn


def narrowed(trials: Trials, states: Positions, sets: int) -> Positions:
    """Smaller changes that suffice, smallest first.

    Args:
        trials: runs them.
        states: (n, axes) that suffice.
        sets: how many sets of columns are looked into: those with the smallest changes.

    Returns:
        (m, axes) that suffice, each a different one; every change in them is needed.
    """
    starts = []
    for of_set in _by_set(trials, states)[:sets]:
        found = np.concatenate([of_set, _grid(trials, of_set[0])])
        starts.append(_smallest(trials, found)[:_STARTS])
    return _smallest(trials, _without_needless(trials, _shrunk(trials, np.concatenate(starts))))


def _without_needless(trials: Trials, states: Positions) -> Positions:
    """The same without changes that they do not need, the largest undone first."""
    states = states.copy()
    while True:
        which, axis = np.nonzero(states != UNCHANGED)
        undone = states[which]
        undone[np.arange(len(which)), axis] = UNCHANGED
        changes = (undone != UNCHANGED).sum(axis=1)
        saved = sizes(trials.axes, states)[which, axis]
        met = (trials.margins(np.where(changes[:, None] > 0, undone, UNCHANGED)) >= 0) & (
            changes > 0
        )
        if not met.any():
            return np.unique(states, axis=0)
        for i in np.flatnonzero(met)[np.argsort(saved[met], kind="stable")]:
            states[which[i]] = undone[i]  # of several the last, which saves most


def _by_set(trials: Trials, states: Positions) -> list[Positions]:
    """States by their sets of columns: few columns first, then small changes."""
    ordered = _smallest(trials, states)
    groups: dict[bytes, list[int]] = {}
    for i, changed in enumerate(ordered != UNCHANGED):
        groups.setdefault(changed.tobytes(), []).append(i)
    return [ordered[rows] for rows in groups.values()]


def _smallest(trials: Trials, states: Positions) -> Positions:
    """Each state once: few columns first, then small changes."""
    states = np.unique(states, axis=0)
    return states[np.lexsort((trials.sizes(states), (states != UNCHANGED).sum(axis=1)))]


def _grid(trials: Trials, state: Positions) -> Positions:
    """Those that suffice among the combinations of candidates of a state's columns."""
    axes = np.flatnonzero(state != UNCHANGED)
    if len(axes) < 2:  # all of them have been run
        return state[None]
    each = int(min(_GRID, trials.left // 4) ** (1 / len(axes)))
    if each < 2:
        return state[None]
    candidates = [trials.axes[i].thinned(each).candidates for i in axes]
    combinations = np.array(list(itertools.product(*candidates)), dtype=np.int64)
    states = np.full((len(combinations), len(state)), UNCHANGED)
    states[:, axes] = combinations
    return np.concatenate([state[None], states[trials.margins(states) >= 0]])


def _shrunk(trials: Trials, states: Positions) -> Positions:
    """Every number moved towards the original, as far as the goal stays met.

    What one column gives up another cannot, so each of the largest changes comes first in turn.
    """
    parts = sizes(trials.axes, states)
    order = np.argsort(-parts, axis=1, kind="stable")
    turns = min(_FIRST, int((states != UNCHANGED).sum(axis=1).max()))
    starts = np.concatenate([states] * turns)
    orders = np.concatenate([_first(order, turn) for turn in range(turns)])
    for place in range(int((states != UNCHANGED).sum(axis=1).max())):
        starts = _bisected(trials, starts, orders[:, place])
    return starts


def _first(order: NDArray[np.intp], turn: int) -> NDArray[np.intp]:
    """An order (n, axes) with the one in this turn moved to the front."""
    return np.concatenate([order[:, turn : turn + 1], np.delete(order, turn, axis=1)], axis=1)


def _bisected(trials: Trials, states: Positions, axis: NDArray[np.intp]) -> Positions:
    """Each state (n, axes) with one column, axis (n,), as near to the original as suffices.

    It looks at several places between the two, and goes on beside the nearest that suffices.
    """
    rows = np.arange(len(states))
    far = states[rows, axis]
    near = far.copy()
    for i in np.unique(axis):
        mine = (axis == i) & (far != UNCHANGED)
        near[mine] = trials.axes[i].nearest(far[mine])
    for _ in range(_ROUNDS):
        going = np.flatnonzero(near != far)
        if not len(going) or not trials.left:
            break
        here, there = near[going], far[going]
        fractions = np.arange(_PARTS) / _PARTS
        places = here[:, None] + ((there - here)[:, None] * fractions).astype(np.int64)
        tried = np.repeat(states[going], _PARTS, axis=0)
        tried[np.arange(len(tried)), np.repeat(axis[going], _PARTS)] = places.reshape(-1)
        met = (trials.margins(tried) >= 0).reshape(-1, _PARTS)
        first = np.where(met.any(axis=1), met.argmax(axis=1), _PARTS)
        bounds = np.concatenate([places, there[:, None]], axis=1)
        chosen = np.arange(len(going))
        far[going] = bounds[chosen, first]
        beside = bounds[chosen, np.maximum(first - 1, 0)] + np.sign(there - here)
        near[going] = np.where(first == 0, far[going], beside)
        states = states.copy()
        states[rows, axis] = far
    return states
