"""How the importance of columns differs between two models."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pellucid.analysis.surrogates import rank_correlations


@dataclass(frozen=True)
class Shift:
    """A column's part of all importance in two models; 0 where a model has no such column."""

    column: str
    old: float
    new: float

    @property
    def change(self) -> float:
        """By how much the part grew, -1 to 1."""
        return self.new - self.old


@dataclass(frozen=True)
class Shifts:
    """What moved, the largest change first.

    Attributes:
        moved: the importance that changed columns, 0 to 1: half the sum of |change|, which is the
            total variation distance of the two.
        agreement: Spearman's correlation over the columns of either; NaN of fewer than two.

    Both are NaN where nothing is important to one of the models, or is not known.
    """

    columns: list[Shift]
    moved: float
    agreement: float


def compare_importance(old: Mapping[str, float], new: Mapping[str, float]) -> Shifts:
    """Two models' importance by column, each of any unit: only its parts of the whole count."""
    names = list(dict.fromkeys([*new, *old]))
    totals = sum(old.values()), sum(new.values())
    parts = np.array(
        [
            [each.get(name, 0.0) / (total or 1.0) for name in names]
            for each, total in zip((old, new), totals, strict=True)
        ]
    )
    shifts = [Shift(*each) for each in zip(names, *parts.tolist(), strict=True)]
    known = all(totals)
    agreement = rank_correlations(parts[:1], parts[1:])[0] if known and len(names) > 1 else np.nan
    moved = np.abs(parts[1] - parts[0]).sum() / 2 if known else np.nan
    return Shifts(
        sorted(shifts, key=lambda shift: -abs(shift.change)), float(moved), float(agreement)
    )
