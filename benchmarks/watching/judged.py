"""Rows as the monitor sees them: a reference profile, windows counted in its bins, and verdicts."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa

from pellucid.analysis.watching.binning import bins_of_numbers, bins_of_strings
from pellucid.analysis.watching.counting import as_numbers, count
from pellucid.analysis.watching.drift import Levels, judge
from pellucid.analysis.watching.drift.differences import familiar, of_distribution, of_share
from pellucid.analysis.watching.profiles import Bins, Profile, Tally
from pellucid.analysis.watching.signals import Signal, SignalKind, Status

LEVELS = Levels()
"""The product's own: one false alarm in at most 5% of years of daily windows."""


def bins_of(column: pa.ChunkedArray) -> Bins:
    """As training learns them from its rows."""
    if pa.types.is_floating(column.type):
        return bins_of_numbers(as_numbers(column)[0])
    found = column.drop_null().value_counts()
    return bins_of_strings({each["values"]: each["counts"] for each in found.to_pylist()})


def reference_of(rows: pa.Table) -> Profile:
    """The profile of training rows, in bins of their own."""
    bins = {name: bins_of(rows[name]) for name in rows.column_names}
    return count({name: rows[name] for name in bins}, bins)


def counted(rows: pa.Table, reference: Profile) -> Profile:
    """A window's rows in the reference's bins."""
    return count({name: rows[name] for name in reference.bins}, reference.bins)


def alarms(
    reference: Profile, window: Profile, since: Mapping[str, datetime] | None = None
) -> list[Signal]:
    """What the product alarms of."""
    found = judge(reference, window, importance={}, levels=LEVELS, since=since or {})
    return [each for each in found if each.status is Status.ALARM]


def suspects(reference: Profile, windows: Sequence[Profile]) -> list[int]:
    """Places of all windows that may alarm.

    Benjamini and Hochberg's procedure rejects nothing above its level, so a window without a
    p-value that small cannot alarm. The p-values are those of `judge`, by the functions that it
    calls, for all windows at once: that is a hundred times faster than to judge each.
    """
    smallest = np.ones(len(windows))
    for name, bins in reference.bins.items():
        known, found = reference.tallies[name], [each.tallies[name] for each in windows]
        smallest = np.minimum(smallest, _smallest(bins, known, found))
    return np.flatnonzero(smallest <= LEVELS.columns).tolist()


def _smallest(bins: Bins, known: Tally, found: Sequence[Tally]) -> np.ndarray:
    """(windows,) smallest p-value of a column's tests."""
    odd: SignalKind = "outside" if bins.kind == "number" else "unseen"
    counts = np.stack([each.counts for each in found])
    missing, outside = (np.array([getattr(t, n) for t in found]) for n in ("missing", "outside"))
    values, there = counts.sum(axis=1), int(known.counts.sum())
    usual = min(familiar(odd, bins, known), there)
    tests = (
        of_distribution(bins, known.counts, counts),
        of_share("missing", known.missing, known.rows, missing, values + missing),
        of_share(odd, usual, there, outside, values),
    )
    return np.min([each.p_value for each in tests], axis=0)
