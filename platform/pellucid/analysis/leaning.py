"""SHAP values by group: through which columns a model treats groups differently.

SHAP values add up to the prediction, so the gap between a group's mean prediction and that of all
others is the sum of the columns' gaps: a column with a large one carries the group into the
prediction, though the group itself may not be an input.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from pellucid.analysis.calibration import Floats
from pellucid.analysis.groups import Group


@dataclass(frozen=True)
class Leaning:
    """Means over a group's rows, each of the shape (...) of one row's values.

    Attributes:
        mean: of the values, with the limits `low` and `high` of Student's interval.
        size: of |values|.
        gap: mean minus the mean of all other rows, with Welch's limits (Biometrika 1947). NaN
            where either side has fewer than two rows, for `gap` itself where one is empty.
    """

    group: Group
    mean: Floats
    low: Floats
    high: Floats
    size: Floats
    gap: Floats
    gap_low: Floats
    gap_high: Floats


def leaning(values: Floats, group: Group, confidence: float = 0.95) -> Leaning:
    """How the values (N, ...) of a group's rows differ from those of the others."""
    inside = np.zeros(len(values), dtype=bool)
    inside[group.rows] = True
    own, others = values[inside], values[~inside]
    mean, error = _mean(own)
    reach = error * student.ppf((1 + confidence) / 2, max(1, len(own) - 1))
    if not len(others):
        nothing = np.full(mean.shape, np.nan)
        gap = gap_reach = nothing
    else:
        elsewhere, its_error = _mean(others)
        gap = mean - elsewhere
        freedom = _welch(error, len(own), its_error, len(others))
        gap_reach = np.hypot(error, its_error) * student.ppf((1 + confidence) / 2, freedom)
    return Leaning(
        group=group,
        mean=mean,
        low=mean - reach,
        high=mean + reach,
        size=np.abs(own).mean(axis=0),
        gap=gap,
        gap_low=gap - gap_reach,
        gap_high=gap + gap_reach,
    )


def _mean(values: Floats) -> tuple[Floats, Floats]:
    """The mean of rows and its standard error, NaN of a single row."""
    few = len(values) < 2
    error = np.full(values.shape[1:], np.nan) if few else values.std(axis=0, ddof=1)
    return values.mean(axis=0), error / np.sqrt(len(values))


def _welch(a: Floats, n: int, b: Floats, m: int) -> Floats:
    """The degrees of freedom of a difference of two means with these standard errors."""
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (a**2 + b**2) ** 2 / (a**4 / max(1, n - 1) + b**4 / max(1, m - 1))
    return np.where(np.isfinite(freedom), freedom, 1.0)
