"""The search for few columns: all changes of one, then the best of two, three and more.

Changes are combined as if their effects on the margin added up, which tells which combinations are
worth running; each set of columns gets its share. What is run tells the truth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.counterfactuals.axes import UNCHANGED, Positions
from pellucid.analysis.counterfactuals.trials import Trials

_OPTIONS = 512  # single changes that are combined
_BEAM = 192  # combinations that are widened
_PER_SET = 3  # of one set of columns among them
_SCATTER = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))

_Names = NDArray[np.uint64]


@dataclass(frozen=True)
class Singles:
    """Every change of one column.

    Attributes:
        axis: (n,) which column.
        position: (n,) what it becomes.
        gain: (n,) by how much the margin grows.
    """

    axis: NDArray[np.intp]
    position: Positions
    gain: NDArray[np.float64]

    def best(self) -> "Singles":
        """The most promising: the best of each column first, then the second of each."""
        order = np.lexsort((-self.gain, _rank(self.axis, self.gain)))[:_OPTIONS]
        return Singles(self.axis[order], self.position[order], self.gain[order])


@dataclass(frozen=True)
class Level:
    """States (n, axes) with as many changed columns as each other, and their margins (n,)."""

    states: Positions
    margins: NDArray[np.float64]

    def where(self, chosen: NDArray[np.bool_]) -> "Level":
        """Some of them."""
        return Level(self.states[chosen], self.margins[chosen])

    @property
    def met(self) -> "Level":
        """Those that meet the goal."""
        return self.where(self.margins >= 0)

    @property
    def unmet(self) -> "Level":
        """The others."""
        return self.where(self.margins < 0)

    def best_of_both(self, other: "Level") -> "Level":
        """The one state of both that comes nearest to the goal."""
        states = np.concatenate([self.states, other.states])
        margins = np.concatenate([self.margins, other.margins])
        best = np.argmax(margins, keepdims=True)
        return Level(states[best], margins[best])


def singles(trials: Trials, allowance: int, margin: float) -> tuple[Level, Singles]:
    """Run the changes of one column each, at most `allowance`; `margin` is the row's own."""
    each = max(1, allowance // max(1, len(trials.axes)))
    candidates = [axis.thinned(each).candidates for axis in trials.axes][:allowance]
    axis = np.repeat(np.arange(len(candidates)), [len(found) for found in candidates])
    position = np.concatenate([np.empty(0, np.int64), *candidates])
    states = np.full((len(axis), len(trials.axes)), UNCHANGED)
    states[np.arange(len(axis)), axis] = position
    margins = trials.margins(states)
    return Level(states, margins), Singles(axis, position, margins - margin)


def widened(
    trials: Trials, level: Level, options: Singles, met: NDArray[np.bool_], allowance: int
) -> Level:
    """Run combinations with one more column, at most `allowance`.

    Args:
        trials: runs them.
        level: of one column fewer.
        options: what is added to them.
        met: (m, axes) sets of columns that suffice; no combination contains one.
        allowance: rows.
    """
    beam = _beam(level)
    allowed = _allowed(beam.states != UNCHANGED, met)[:, options.axis]
    which, option = np.nonzero(
        allowed & np.isfinite(options.gain) & np.isfinite(beam.margins)[:, None]
    )
    expected = beam.margins[which] + options.gain[option]
    codes = _Codes(trials, options)
    states = codes.of_states(beam.states)[which] + codes.option[option]
    sets = codes.of_sets(beam.states)[which] + codes.axis[options.axis[option]]
    _, first = np.unique(states, return_index=True)
    order = first[np.lexsort((-expected[first], _rank(sets[first], expected[first])))][:allowance]
    found = beam.states[which[order]].copy()
    found[np.arange(len(order)), options.axis[option[order]]] = options.position[option[order]]
    return Level(found, trials.margins(found))


def _beam(level: Level) -> Level:
    """The most promising states, not too many of one set of columns."""
    if not len(level.states):
        return level
    _, sets = np.unique(level.states != UNCHANGED, axis=0, return_inverse=True)
    rank = _rank(sets.reshape(-1), level.margins)
    order = np.lexsort((-level.margins, rank // _PER_SET))[:_BEAM]
    return Level(level.states[order], level.margins[order])


def _allowed(changed: NDArray[np.bool_], met: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, axes) whether a column may be added to a set (n, axes)."""
    allowed = ~changed
    for enough in met:
        missing = (enough & ~changed).sum(axis=1)
        allowed[missing == 1] &= ~enough
        allowed[missing == 0] = False
    return allowed


def _rank(groups: NDArray[np.generic], scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """(n,) the place of each within its group, by falling score, from 0."""
    order = np.lexsort((-scores, groups))
    ordered = groups[order]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]
    starts = np.maximum.accumulate(np.where(begins, np.arange(len(ordered)), 0))
    rank = np.empty(len(ordered), dtype=np.intp)
    rank[order] = np.arange(len(ordered)) - starts
    return rank


class _Codes:
    """Random numbers that add up to names of states and sets (Zobrist, 1970)."""

    def __init__(self, trials: Trials, options: Singles) -> None:
        random = np.random.default_rng(0)
        self.axis = random.integers(0, 2**63, len(trials.axes), dtype=np.uint64)
        self._factor = random.integers(0, 2**63, len(trials.axes), dtype=np.uint64)
        self.option = self._named(options.axis, options.position)

    def of_sets(self, states: Positions) -> _Names:
        """(n,) of states (n, axes): equal where the same columns are changed."""
        return self._summed(np.broadcast_to(self.axis, states.shape), states)

    def of_states(self, states: Positions) -> _Names:
        """(n,) of states (n, axes): equal where they are."""
        axes = np.broadcast_to(np.arange(states.shape[1]), states.shape)
        return self._summed(self._named(axes, states), states)

    @staticmethod
    def _summed(names: _Names, states: Positions) -> _Names:
        changed = np.where(states == UNCHANGED, np.uint64(0), names)
        total: _Names = changed.sum(axis=1, dtype=np.uint64)
        return total

    def _named(self, axis: NDArray[np.intp], position: Positions) -> _Names:
        """A name for each position, scattered so that sums do not meet (splitmix64)."""
        names: _Names = position.astype(np.uint64) * self._factor[axis] + self.axis[axis]
        for shift, factor in _SCATTER:
            names = (names ^ (names >> np.uint64(shift))) * np.uint64(factor)
        return names ^ (names >> np.uint64(31))
