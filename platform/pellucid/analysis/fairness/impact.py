"""Selection rates and impact ratios by category: the table that audits ask for.

New York City Local Law 144 (6 RCNY 5-300 and 5-301) wants the number of people, the selection rate
and the impact ratio (the rate by that of the most selected category) for each category and each
intersection; a category of less than 2 % of the data may be left out of the ratios, its number and
rate stated all the same; and the number of people whose category is not known. Where a model gives
a number, selected means above the sample's median. The four-fifths rule (29 CFR 1607.4 D) takes a
ratio below 0.8 as evidence of adverse impact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.fairness.counting import Table, count
from pellucid.analysis.fairness.disparities import MIN_GROUP, ratio
from pellucid.analysis.fairness.metrics import Estimates, shares
from pellucid.analysis.intervals import Interval
from pellucid.analysis.watching.signals import Status

FOUR_FIFTHS = 0.8
SMALLEST_SHARE = 0.02


@dataclass(frozen=True)
class Category:
    """A line of the table.

    Attributes:
        name: of the group, or of an intersection.
        rows: people.
        selected: of them.
        rate: the selection rate, with Wilson's limits.
        impact: the impact ratio; its limits hold for all pairs of categories together (Bonferroni),
            since the highest is chosen among them. NaN of a category that is left out, or where
            nobody is selected.
        status: alarm: below four fifths beyond chance; absent: left out, or the highest itself.
    """

    name: str
    rows: int
    selected: int
    rate: Interval
    impact: Interval
    status: Status


@dataclass(frozen=True)
class Impact:
    """The table of a column or of an intersection of columns, in the order of the groups.

    Attributes:
        column: what the categories are of.
        categories: those that hold rows.
        highest: the most selected category, which the ratios compare to; empty if there is none.
        unknown: rows whose category is not known; they are in no line.
    """

    column: str
    categories: tuple[Category, ...]
    highest: str
    unknown: int


def impact_ratios(
    table: Table,
    column: str,
    names: Sequence[str],
    unknown: Sequence[bool],
    *,
    min_group: int = MIN_GROUP,
    confidence: float = 0.95,
) -> Impact:
    """The table.

    Args:
        table: YES is the favourable outcome.
        column: its name, or "a x b".
        names: of the groups.
        unknown: of each group, whether it is of people whose category is not known.
        min_group: smaller categories, and those of less than 2 % of the rows, are left out of the
            ratios.
        confidence: of the intervals.
    """
    rows, selected = table.rows, table.cells[:, :, 1].sum(1)
    told = (rows > 0) & ~np.asarray(unknown)
    compared = told & (rows >= min_group) & (rows >= SMALLEST_SHARE * rows[told].sum())
    rate = shares(selected, rows, confidence)
    highest = int(np.where(compared, rate.value, -1).argmax()) if compared.any() else None
    if highest is not None and not rate.value[highest] > 0:
        highest = None
    pairs = max(1.0, compared.sum() * (compared.sum() - 1) / 2)
    raised = shares(selected, rows, 1 - (1 - confidence) / pairs)
    categories = []
    for g in np.flatnonzero(told).tolist():
        against = highest if compared[g] else None
        impact = _impact(raised, g, against)
        categories.append(
            Category(
                names[g],
                int(rows[g]),
                int(selected[g]),
                Interval(*(float(each[g]) for each in rate[:3])),
                impact,
                _status(impact, g == highest),
            )
        )
    name = "" if highest is None else names[highest]
    return Impact(column, tuple(categories), name, int(rows[np.asarray(unknown)].sum()))


def above_median(codes: NDArray[np.integer[Any]], groups: int, value: NDArray[np.float64]) -> Table:
    """The table of a model that gives numbers: YES is a number above the median of all."""
    return count(codes, groups, value > (np.median(value) if len(value) else 0.0))


def _impact(rates: Estimates, group: int, highest: int | None) -> Interval:
    if highest is None:
        return Interval(np.nan, np.nan, np.nan)
    if group == highest:
        return Interval(1.0, np.nan, np.nan)
    mine, best = (Estimates(*(each[[g]] for each in rates)) for g in (group, highest))
    value, low, high = (float(each[0]) for each in ratio(mine, best))
    return Interval(value, low, min(high, 1.0))  # it compares to the highest


def _status(impact: Interval, highest: bool) -> Status:
    if np.isnan(impact.value) or highest:
        return Status.ABSENT
    if impact.high < FOUR_FIFTHS:
        return Status.ALARM
    return Status.OK if impact.low >= FOUR_FIFTHS else Status.UNCLEAR
