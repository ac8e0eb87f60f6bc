"""The columns that may change, seen from one row, as whole-number positions.

Every value that a column may take has a position: of a category its place among the candidates, of
a number a multiple of the column's step. A search then moves whole numbers, and a bisection ends.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.bundle import ColumnReference

Values = NDArray[Any]
Positions = NDArray[np.int64]

UNCHANGED = np.iinfo(np.int64).min
_FINENESS = 100  # steps in a column's unit
_ROUNDING = 1e-12  # of the largest value: a step below it would be lost in a double
_ONCE = 1.0  # the size of another category, of a boolean, and of a value where none was


@dataclass(frozen=True)
class Axis:
    """A column that may change.

    Attributes:
        name: of the column.
        original: its value in the row; NaN and "" are missing.
        candidates: ascending positions that the search begins with; never the original.
        categories: what positions stand for; empty for numbers.
        exponent: a number is its position times 10 to this.
        unit: the size of a change of 1; of numbers only.
        lowest, highest: positions that are allowed; of numbers only.
    """

    name: str
    original: float | str
    candidates: Positions
    categories: tuple[str, ...] = ()
    exponent: int = 0
    unit: float = 1.0
    lowest: int = 0
    highest: int = 0

    def values(self, positions: Positions) -> Values:
        """(n,) float64 or object; `UNCHANGED` is the original."""
        kept = positions == UNCHANGED
        if self.categories:
            names = np.array([*self.categories, self.original], dtype=object)
            found: Values = names[np.where(kept, len(self.categories), positions)]
            return found
        moved = _scaled(np.where(kept, 0, positions), self.exponent)
        return np.where(kept, self.original, moved)

    def sizes(self, positions: Positions) -> NDArray[np.float64]:
        """(n,) how large each change is: 0 is none."""
        changed = positions != UNCHANGED
        if not self._ordered:
            return np.where(changed, _ONCE, 0.0)
        distance: Values = np.abs(self.values(positions) - self.original)
        return distance / self.unit

    def nearest(self, positions: Positions) -> Positions:
        """(n,) on the same side of the original, the allowed position that is nearest to it."""
        if not self._ordered:
            return positions
        place = float(self.original) / 10.0**self.exponent
        above = max(math.floor(place + 1e-9) + 1, self.lowest)
        below = min(math.ceil(place - 1e-9) - 1, self.highest)
        return np.where(
            positions > place, np.minimum(positions, above), np.maximum(positions, below)
        )

    def directions(self, positions: Positions) -> Positions:
        """(n,) equal where the change is to the same category, or to the same side."""
        if self.categories:
            return positions
        changed = positions != UNCHANGED
        if not self._ordered:
            return np.where(changed, 1, 0)
        above = positions > float(self.original) / 10.0**self.exponent
        return np.where(changed, np.where(above, 1, -1), 0)

    def thinned(self, count: int) -> "Axis":
        """The same with at most so many candidates, the outermost among them."""
        if len(self.candidates) <= count:
            return self
        # Categories come the most frequent first, so the first are kept.
        chosen = np.arange(count)
        if not self.categories:
            last = len(self.candidates) - 1
            chosen = np.unique(np.linspace(last, 0, count).round().astype(np.int64))
        return replace(self, candidates=self.candidates[chosen])

    @property
    def _ordered(self) -> bool:
        """Whether a value lies nearer to the original than another."""
        return not self.categories and not math.isnan(float(self.original))


def axis(name: str, original: float | str, reference: ColumnReference) -> Axis | None:
    """What the column of a row may become; None where it may become nothing.

    Numbers stay within the range of the training rows. A missing number cannot be known to
    increase or to decrease, so that it stays where only one of the two is allowed.
    """
    if reference.change == "never":
        return None
    if isinstance(original, str):
        others = tuple(each for each in reference.categories if each not in ("", original))
        return Axis(name, original, np.arange(len(others)), others) if others else None
    if not reference.quantiles or (math.isnan(original) and reference.change != "free"):
        return None
    return _number(name, original, reference)


def _number(name: str, original: float, reference: ColumnReference) -> Axis | None:
    quantiles = np.array(reference.quantiles)
    unit = _unit(reference)
    largest = max(np.abs(quantiles).max(), 0.0 if math.isnan(original) else abs(original))
    exponent = math.floor(math.log10(max(unit / _FINENESS, largest * _ROUNDING)))
    if reference.whole:
        exponent = max(0, exponent)
    low, high = _range(original, reference)
    lowest = math.ceil(_scaled(low, -exponent) - 1e-9)
    highest = math.floor(_scaled(high, -exponent) + 1e-9)
    if lowest > highest:
        return None
    near = np.round(_scaled(quantiles, -exponent)).astype(np.int64)
    candidates = np.unique(np.clip(near, lowest, highest))
    found = Axis(
        name, original, candidates, exponent=exponent, unit=unit, lowest=lowest, highest=highest
    )
    changed = found.values(candidates) != original
    return replace(found, candidates=candidates[changed]) if changed.any() else None


def _range(original: float, reference: ColumnReference) -> tuple[float, float]:
    low, high = reference.quantiles[0], reference.quantiles[-1]
    low = low if reference.low is None else max(low, reference.low)
    high = high if reference.high is None else min(high, reference.high)
    if reference.change == "increase":
        low = max(low, original)
    if reference.change == "decrease":
        high = min(high, original)
    return low, high


def _unit(reference: ColumnReference) -> float:
    """What a change is measured in; where it is 0, the next wider measure of spread."""
    quantiles = reference.quantiles
    if reference.whole and set(quantiles) <= {0.0, 1.0}:
        return _ONCE
    return reference.mad or (quantiles[-1] - quantiles[0]) or 1.0


def _scaled(values: Any, exponent: int) -> Any:
    """Values times a power of ten, rounded as the decimal number would be."""
    return values * 10.0**exponent if exponent >= 0 else values / 10.0**-exponent


def sizes(axes: Sequence[Axis], states: Positions) -> NDArray[np.float64]:
    """(n, axes) how large each change of states (n, axes) is."""
    columns = [each.sizes(states[:, i]) for i, each in enumerate(axes)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(states), 0))
