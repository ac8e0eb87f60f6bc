"""Changes that must be found: how often they are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from inference.acceptance import Promise
from inference.processes import Absent
from scipy import stats

from pellucid.analysis.intervals import wilson
from watching.judged import alarms, counted, reference_of
from watching.peers import evidently
from watching.populations import Numbers, Population, mixed, table
from watching.scale import Scale

TITLE = "Changes that must be found"
REPEATS, WINDOW_ROWS, REFERENCE_ROWS = 500, 5_000, 20_000
SHIFT, OUTLIER = 0.2, 1e5
_PEER_WINDOWS = 10


@dataclass(frozen=True)
class Case:
    """A change of one column.

    Args:
        before, after: populations of the reference's rows and of the window's.
        column: that changes.
        rows: of the reference.
        spoil: what becomes of the reference's rows.
    """

    before: Population
    after: Population
    column: str
    rows: int = REFERENCE_ROWS
    spoil: Callable[[pa.Table], pa.Table] | None = None

    def reference(self, rng: np.random.Generator) -> pa.Table:
        rows = table(self.before, rng, self.rows)
        return self.spoil(rows) if self.spoil else rows


def cases() -> dict[str, Case]:
    """By what a table calls them."""
    population = mixed()
    column = population["normal_3"]
    assert isinstance(column, Numbers)
    few = {**population, "normal_3": replace(column, missing=0.01)}
    more = {**population, "normal_3": replace(column, missing=0.03)}
    alone: Population = {"value": Numbers(stats.norm(), missing=0)}
    away: Population = {"value": Numbers(stats.norm(), missing=0).shifted(1)}
    return {
        "shift of 0.2 SD in one of 50 columns": Case(
            population, population | {"normal_3": column.shifted(SHIFT)}, "normal_3"
        ),
        "missing 1% to 3% in one of 50 columns": Case(few, more, "normal_3"),
        "shift of 1 SD, one 1e5 in 10,000 reference rows": Case(
            alone, away, "value", 10_000, _with_outlier
        ),
    }


def measure(scale: Scale) -> dict[str, Any]:
    """Case -> how often found, what else alarmed, and Evidently's answers."""
    found: dict[str, Any] = {}
    repeats = scale.rows(REPEATS, least=20)
    for title, case in cases().items():
        raised = list(scale.map(partial(simulate, title), range(repeats)))
        hits = sum(case.column in each for each in raised)
        others = sum(bool(set(each) - {case.column}) for each in raised)
        share = wilson(hits / repeats, repeats)
        found[title] = {
            "repeats": repeats,
            "found": share.value,
            "low": share.low,
            "high": share.high,
            "others": others / repeats,
            "evidently": _peer(case, scale),
        }
    return found


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    for title, each in found.items():
        yield Promise(f"found: {title}", each["found"], 0.95)


def page(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"Windows of {WINDOW_ROWS:,} rows, levels of a year of daily windows. Others: windows in "
        f"which a column that did not change alarms. Evidently: of {_PEER_WINDOWS} windows."
    )
    yield from ("", "| | windows | found | 95% interval | others | Evidently |")
    yield "|---|---:|---:|---:|---:|---:|"
    for title, each in found.items():
        theirs = each["evidently"]
        told = theirs if isinstance(theirs, str) else f"{theirs:.0%}"
        yield (
            f"| {title} | {each['repeats']} | {each['found']:.1%} | {each['low']:.1%} to "
            f"{each['high']:.1%} | {each['others']:.1%} | {told} |"
        )


def simulate(title: str, number: int) -> list[str]:
    """Columns that alarm in one window."""
    case = cases()[title]
    rng = np.random.default_rng([len(title), number])
    reference = reference_of(case.reference(rng))
    window = counted(table(case.after, rng, WINDOW_ROWS), reference)
    return [each.subject for each in alarms(reference, window)]


def _peer(case: Case, scale: Scale) -> float | str:
    """Share of windows in which Evidently's preset finds the column, or why it was not asked."""
    rng = np.random.default_rng(0)
    names = [case.column]  # it looks at each column alone
    reference = case.reference(rng).select(names)
    windows = table(case.after, rng, WINDOW_ROWS * _PEER_WINDOWS).select(names)
    try:
        told = evidently(reference, windows, WINDOW_ROWS, scale.environments)
    except Absent as error:
        return str(error)
    return sum(window[case.column] for window in told.windows) / len(told.windows)


def _with_outlier(rows: pa.Table) -> pa.Table:
    values = rows["value"].to_numpy().copy()
    values[0] = OUTLIER
    return pa.table({"value": values})
