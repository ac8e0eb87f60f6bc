"""All sensitive columns of a model at once: counted part by part, and told as one report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.fairness.counting import UNKNOWN, Table, count
from pellucid.analysis.fairness.criteria import Judged, judge
from pellucid.analysis.fairness.cuts import Coded, crossed
from pellucid.analysis.fairness.disparities import MIN_GROUP
from pellucid.analysis.fairness.impact import Impact, above_median, impact_ratios
from pellucid.analysis.fairness.metrics import METRICS, NUMBER_METRICS
from pellucid.analysis.fairness.moments import Moments, add_up

Record = dict[str, Any]
_MOST_GROUPS = 4096  # of an intersection
_MOST_OUTCOMES = 12  # that are looked at in turn
VALUE = ""  # the outcome of a regression


def outcomes_of(
    classes: Sequence[str], favourable: str | None, positive: str | None
) -> dict[str, int]:
    """Class -> its index, of those that are looked at.

    That is the favourable class, else the positive one, else each in turn: of more than 12, none.
    """
    named = positive if favourable is None else favourable
    if named is not None and named in classes:
        return {named: classes.index(named)}
    each = {name: index for index, name in enumerate(classes)}
    return each if len(each) <= _MOST_OUTCOMES else {}


@dataclass(frozen=True)
class Grouped:
    """The groups of a column or an intersection, and what was counted of them by outcome."""

    names: tuple[str, ...]
    unknown: tuple[bool, ...]
    tables: dict[str, Table | Moments] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A verdict on a column or an intersection, for one outcome."""

    column: str
    outcome: str
    judged: Judged


class Audit:
    """Rows counted by the groups of every column and of every two of them crossed.

    Args:
        outcomes: class -> its index, of those that are looked at: the favourable one, or each in
            turn against the rest; none for a regression.
        origin, unit: of a regression's numbers, as `Moments` says.
    """

    def __init__(
        self, outcomes: Mapping[str, int] | None = None, origin: float = 0.0, unit: float = 1.0
    ) -> None:
        self.outcomes = dict(outcomes or {})
        self._origin, self._unit = origin, unit
        self.columns: dict[str, Grouped] = {}

    def add(
        self,
        columns: Sequence[Coded],
        label: NDArray[np.integer[Any]],
        truth: NDArray[np.integer[Any]] | None = None,
        probabilities: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        """Count rows of a classification.

        Args:
            columns: each with N rows; the same ones at every call.
            label: (N,) index of the predicted class.
            truth: (N,) index of the true class; negative where it is not known.
            probabilities: (N, K) of the classes.
        """
        for outcome, index in self.outcomes.items():
            true = None if truth is None else np.where(truth < 0, UNKNOWN, truth == index)
            score = None if probabilities is None else probabilities[:, index]
            for each in _counted(columns):
                self._keep(
                    each, outcome, count(each.codes, len(each.names), label == index, true, score)
                )

    def add_numbers(
        self,
        columns: Sequence[Coded],
        value: NDArray[np.floating[Any]],
        truth: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        """Count rows of a regression: (N,) finite predictions, and truths, NaN if not known."""
        for each in _counted(columns):
            size = len(each.names)
            found = add_up(each.codes, size, value, truth, origin=self._origin, unit=self._unit)
            self._keep(each, VALUE, found)

    def above_median(
        self, columns: Sequence[Coded], value: NDArray[np.floating[Any]]
    ) -> list[Record]:
        """The impact table of a regression, over all its rows at once."""
        median = np.asarray(value, np.float64)
        tables = [
            impact_ratios(
                above_median(each.codes, len(each.names), median),
                each.column,
                each.names,
                each.unknown,
            )
            for each in _counted(columns)
        ]
        return [record for table in tables for record in _impact_records(VALUE, table)]

    def judge(self, *, min_group: int = MIN_GROUP, confidence: float = 0.95) -> list[Found]:
        """The verdicts on every column and intersection; unknown groups take no part."""
        found = []
        for column, outcome, table, groups in self._tables():
            known = np.flatnonzero(~np.array(groups.unknown))
            names = [groups.names[g] for g in known]
            verdicts = judge(table.taken(known), names, min_group=min_group, confidence=confidence)
            found += [Found(column, outcome, each) for each in verdicts]
        return found

    def metrics(self, confidence: float = 0.95) -> list[Record]:
        """Rows of a table: column, outcome, group, metric, rows, value, low, high."""
        found = []
        for column, outcome, table, groups in self._tables():
            metrics: Iterable[Any] = (
                [each for each in METRICS.values() if each.known(table)]
                if isinstance(table, Table)
                else NUMBER_METRICS.values()
            )
            for metric in metrics:
                estimates = metric.of(table, confidence)
                for g in np.flatnonzero(estimates.rows).tolist():
                    value, low, high, rows = (float(each[g]) for each in estimates)
                    place = {"column": column, "outcome": outcome, "group": groups.names[g]}
                    limits = {"value": value, "low": low, "high": high}
                    found.append(place | {"metric": metric.name, "rows": int(rows)} | limits)
        return found

    def impact(self, *, min_group: int = MIN_GROUP, confidence: float = 0.95) -> list[Record]:
        """Rows of the impact-ratio tables; none of a regression, see `above_median`."""
        options: Any = {"min_group": min_group, "confidence": confidence}
        return [
            record
            for column, outcome, table, groups in self._tables()
            if isinstance(table, Table)
            for record in _impact_records(
                outcome, impact_ratios(table, column, groups.names, groups.unknown, **options)
            )
        ]

    def _keep(self, each: Coded, outcome: str, table: Any) -> None:
        groups = self.columns.setdefault(each.column, Grouped(each.names, each.unknown))
        before: Any = groups.tables.get(outcome)
        groups.tables[outcome] = table if before is None else before + table

    def _tables(self) -> Iterator[tuple[str, str, Table | Moments, Grouped]]:
        for column, groups in self.columns.items():
            for outcome, table in groups.tables.items():
                yield column, outcome, table, groups


def criteria_records(found: Sequence[Found]) -> list[Record]:
    """Rows of a table: column, outcome, criterion, metric, aggregate, value, low, high, threshold,
    lowest, highest, judged, small, status."""
    return [
        {
            "column": each.column,
            "outcome": each.outcome,
            "criterion": each.judged.criterion.name,
            "metric": each.judged.disparity.metric,
            "aggregate": each.judged.disparity.aggregate,
            "value": each.judged.disparity.interval.value,
            "low": each.judged.disparity.interval.low,
            "high": each.judged.disparity.interval.high,
            "threshold": each.judged.threshold,
            "lowest": each.judged.disparity.lowest,
            "highest": each.judged.disparity.highest,
            "judged": each.judged.disparity.judged,
            "small": each.judged.disparity.small,
            "status": each.judged.status.value,
        }
        for each in found
    ]


def _counted(columns: Sequence[Coded]) -> Iterator[Coded]:
    """The columns, and every two of them crossed."""
    yield from columns
    for pair in combinations(columns, 2):
        if np.prod([len(each.names) for each in pair]) <= _MOST_GROUPS:
            yield crossed(pair)


def _impact_records(outcome: str, table: Impact) -> list[Record]:
    return [
        {
            "column": table.column,
            "outcome": outcome,
            "category": each.name,
            "rows": each.rows,
            "selected": each.selected,
            "rate": each.rate.value,
            "rate_low": each.rate.low,
            "rate_high": each.rate.high,
            "impact": each.impact.value,
            "impact_low": each.impact.low,
            "impact_high": each.impact.high,
            "highest": table.highest,
            "unknown": table.unknown,
            "status": each.status.value,
        }
        for each in table.categories
    ]
