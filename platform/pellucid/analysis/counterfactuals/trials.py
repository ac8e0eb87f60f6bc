"""Rows that are tried: a model, a row, a goal, and how many more rows may be run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.counterfactuals.axes import UNCHANGED, Axis, Positions, sizes
from pellucid.analysis.counterfactuals.goals import Goal

Predict = Callable[[dict[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]

_TOGETHER = 1024  # rows of one call
_UNKNOWN = -np.inf


class Trials:
    """Runs changed copies of one row.

    Args:
        predict: columns (n, *shape) to outputs (n, ...), by name.
        row: every column of the row, (1, *shape).
        axes: the columns that change.
        goal: what is to be met.
        budget: most rows that are run.
        expired: whether the time is over; then nothing is run any more.
    """

    def __init__(
        self,
        predict: Predict,
        row: Mapping[str, NDArray[Any]],
        axes: Sequence[Axis],
        goal: Goal,
        budget: int,
        expired: Callable[[], bool],
    ) -> None:
        self.axes = tuple(axes)
        self.rows = 0  # that were run
        self._predict, self._row, self._goal = predict, row, goal
        self._budget, self._expired = budget, expired

    @property
    def nothing(self) -> Positions:
        """(1, axes) the row as it is."""
        return np.full((1, len(self.axes)), UNCHANGED)

    @property
    def left(self) -> int:
        """Rows that may still be run."""
        return 0 if self._expired() else self._budget - self.rows

    def margins(self, states: Positions) -> NDArray[np.float64]:
        """(n,) of states (n, axes): 0 and more meets the goal; -inf where it is not known."""
        found = np.full(len(states), _UNKNOWN)
        start = 0
        while start < len(states) and (few := min(_TOGETHER, self.left)) > 0:
            piece = states[start : start + few]
            margins = self._goal.margin(self._predict(self.columns(piece)))
            found[start : start + few] = np.where(np.isnan(margins), _UNKNOWN, margins)
            self.rows += len(piece)
            start += few
        return found

    def sizes(self, states: Positions) -> NDArray[np.float64]:
        """(n,) of states (n, axes): the sum of all changes, each in its column's unit."""
        total: NDArray[np.float64] = sizes(self.axes, states).sum(axis=1)
        return total

    def alike(self, states: Positions, state: Positions) -> NDArray[np.bool_]:
        """(n,) whether states (n, axes) change the same as a state (axes,), if not as far."""
        same = np.ones(len(states), dtype=bool)
        for i, each in enumerate(self.axes):
            same &= each.directions(states[:, i]) == each.directions(state[i : i + 1])
        return same

    def columns(self, states: Positions) -> dict[str, NDArray[Any]]:
        """Every column (n, *shape) of the row as states (n, axes) change it."""
        columns = {name: np.repeat(value, len(states), axis=0) for name, value in self._row.items()}
        for i, each in enumerate(self.axes):
            columns[each.name] = each.values(states[:, i])
        return columns
