"""Counterfactual explanations: the smallest change of a row that changes the decision.

Wachter, Mittelstadt and Russell (2017, Harvard Journal of Law & Technology 31) ask for the nearest
row with another decision, near in the L1 distance with each column in units of its deviation. Here
the number of changed columns comes first and that distance second; columns keep what actions are
possible (Ustun, Spangher and Liu 2019, FAT*), and several answers differ in what they change
(Mothilal, Sharma and Tan 2020, FAT*: DiCE). Like MACE (Karimi et al. 2020, AISTATS) the search
knows no gradient and takes any model and kind of column; unlike it, it is a search: all changes of
one column on a grid are run, of more columns the promising ones, within a budget.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.counterfactuals.axes import UNCHANGED, Axis, Positions, axis
from pellucid.analysis.counterfactuals.goals import Goal
from pellucid.analysis.counterfactuals.narrowing import narrowed
from pellucid.analysis.counterfactuals.trials import Predict, Trials
from pellucid.analysis.counterfactuals.widening import Level, singles, widened
from pellucid.bundle import ColumnReference

BUDGET = 10_000
MOST_COLUMNS = 6
_RESERVE = 4  # one of so many parts of the budget is kept for what follows the climb
_SETS = 5  # of columns that are narrowed, and one for each that is asked for


@dataclass(frozen=True)
class Counterfactual:
    """Changes that suffice.

    Attributes:
        changes: column -> what it becomes; its order is the row's.
        size: the sum of the changes, a number's in units of its mean absolute deviation, of any
            other column 1.
    """

    changes: dict[str, float | str]
    size: float


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        counterfactuals: few columns first, then small sizes; empty where none was found.
        met: whether the row meets the goal as it is.
        rows: that the model ran.
        exhausted: whether the budget or the time ended the search.
        binding: where none was found: columns that the constraints keep from changing, and whose
            change, with the best of the others, would have sufficed.
    """

    counterfactuals: tuple[Counterfactual, ...] = ()
    met: bool = False
    rows: int = 0
    exhausted: bool = False
    binding: tuple[str, ...] = ()


def search(
    predict: Predict,
    row: Mapping[str, NDArray[Any]],
    columns: Mapping[str, ColumnReference],
    goal: Goal,
    *,
    count: int = 1,
    most_columns: int = MOST_COLUMNS,
    budget: int = BUDGET,
    expired: Callable[[], bool] = lambda: False,
) -> Found:
    """The smallest changes of a row's columns that meet a goal. Deterministic.

    Args:
        predict: columns (n, *shape) to outputs (n, ...), by name.
        row: every column of one row, (1, *shape); NaN and "" are missing, booleans 0 and 1.
        columns: those that may change, and how; the others stay.
        goal: the decision that is asked for.
        count: most counterfactuals; where one set of columns does not give them, others do.
        most_columns: that one of them changes.
        budget: most rows that the model runs.
        expired: whether the time is over.
    """
    trials = Trials(predict, row, _axes(row, columns), goal, budget, expired)
    margin = float(trials.margins(trials.nothing)[0])
    if margin >= 0:
        return Found(met=True, rows=trials.rows)
    met, nearest = _climb(trials, margin, count, most_columns)
    ended = trials.left <= budget // _RESERVE
    if not len(met):
        lifted = {name: _lifted(each) for name, each in columns.items()}
        relaxed = Trials(predict, row, _axes(row, lifted), goal, max(0, trials.left), expired)
        binding = _binding(relaxed, _placed(nearest, trials, relaxed), columns)
        return Found(rows=trials.rows + relaxed.rows, exhausted=ended, binding=binding)
    states = _differing(trials, narrowed(trials, met, _SETS + count), count)
    found = tuple(_counterfactual(trials, state) for state in states)
    return Found(found, rows=trials.rows, exhausted=ended)


def _axes(row: Mapping[str, NDArray[Any]], columns: Mapping[str, ColumnReference]) -> list[Axis]:
    """What may change, in the row's order."""
    found = [axis(name, row[name].tolist()[0], columns[name]) for name in row if name in columns]
    return [each for each in found if each is not None]


def _climb(
    trials: Trials, margin: float, count: int, most_columns: int
) -> tuple[Positions, NDArray[np.int64]]:
    """Changes of as few columns as suffice; of one more, where that is too few sets of columns.

    Returns:
        States (n, axes) that suffice, and the one (axes,) that comes nearest where none does.
    """
    best = Level(trials.nothing, np.array([margin]))
    level, options = singles(trials, trials.left // 4, margin)
    met = level.met.states
    options, reserve, last = options.best(), trials.left // _RESERVE, most_columns
    for columns in range(2, most_columns + 1):
        best = best.best_of_both(level)
        sets = np.unique(met != UNCHANGED, axis=0)
        allowance = (trials.left - reserve) // 2
        if len(sets):
            last = min(last, columns)
        if len(sets) >= count or columns > last or allowance <= 0:
            break
        level = widened(trials, level.unmet, options, sets, allowance)
        met = np.concatenate([met, level.met.states])
    return met, best.best_of_both(level).states[0]


def _differing(trials: Trials, states: Positions, count: int) -> list[NDArray[np.int64]]:
    """Some states, each of few columns, of others than those before it, and small.

    Mothilal et al. weigh nearness against diversity; here they have an order.
    """
    sizes = trials.sizes(states)
    changed = states != UNCHANGED
    chosen: list[int] = []
    open_ = np.ones(len(states), dtype=bool)
    while open_.any() and len(chosen) < count:
        shared = (changed[:, None] & changed[None, chosen]).sum(axis=2).max(axis=1, initial=0)
        again = shared == changed.sum(axis=1)
        order = np.lexsort((sizes, shared, changed.sum(axis=1), again))
        best = order[open_[order]][0]
        chosen.append(best)
        open_ &= ~trials.alike(states, states[best])
    chosen.sort(key=lambda i: (changed[i].sum(), sizes[i]))
    return [states[i] for i in chosen]


def _binding(
    relaxed: Trials, state: NDArray[np.int64], columns: Mapping[str, ColumnReference]
) -> tuple[str, ...]:
    """The constrained columns any one of which, were it free, would make a state suffice."""
    found = []
    for i, each in enumerate(relaxed.axes):
        if columns[each.name] != _lifted(columns[each.name]):
            states = np.repeat(state[None], len(each.candidates), axis=0)
            states[:, i] = each.candidates
            if (relaxed.margins(states) >= 0).any():
                found.append(each.name)
    return tuple(found)


def _lifted(reference: ColumnReference) -> ColumnReference:
    return reference.model_copy(update={"change": "free", "low": None, "high": None})


def _placed(state: NDArray[np.int64], old: Trials, new: Trials) -> NDArray[np.int64]:
    """A state among more axes; positions mean the same, whatever is allowed."""
    places = {each.name: i for i, each in enumerate(new.axes)}
    placed: NDArray[np.int64] = new.nothing[0]
    for each, position in zip(old.axes, state, strict=True):
        placed[places[each.name]] = position
    return placed


def _counterfactual(trials: Trials, state: NDArray[np.int64]) -> Counterfactual:
    columns = trials.columns(state[None])
    changes = {
        each.name: columns[each.name].tolist()[0]
        for each, position in zip(trials.axes, state, strict=True)
        if position != UNCHANGED
    }
    return Counterfactual(changes, float(trials.sizes(state[None])[0]))
