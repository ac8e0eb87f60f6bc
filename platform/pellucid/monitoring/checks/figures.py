"""From profiles to the figures of a report: few numbers, whatever the rows and the columns."""

from collections.abc import Mapping, Sequence

import numpy as np

from pellucid.analysis.watching.profiles import Bins, Floats, Profile, Tally
from pellucid.analysis.watching.signals import Signal, Status
from pellucid.monitoring.watch.resources import ColumnFigures, Distribution, Quality

_CELLS = 32  # of a drawn density
_CATEGORIES = 10  # that are drawn, the others together
_TAIL = 0.005  # of the rows, beyond each end of a density
_COLUMNS = 12  # that are drawn
_QUALITY = 100  # columns in the table of what is missing, unseen, wrong
_VISIBLE = 0.0005  # share of rows
OTHERS = "(others)"


def columns(
    reference: Profile,
    window: Profile,
    signals: Sequence[Signal],
    importance: Mapping[str, float],
) -> list[ColumnFigures]:
    """The distributions of the columns that differ most, those that alarm first."""
    found = []
    for name in _worst(signals)[:_COLUMNS]:
        drawn = _distribution(name, reference, window)
        if drawn is not None:
            found.append(
                ColumnFigures(column=name, importance=importance.get(name), distribution=drawn)
            )
    return found


def quality(reference: Profile, window: Profile) -> list[Quality]:
    """Columns with values missing, outside or of another type, the most changed first."""
    found = []
    for name, tally in window.tallies.items():
        before = reference.tallies.get(name)
        if before is None or not tally.rows:
            continue
        made = _quality(name, before, tally)
        if max(made.missing, made.was_missing, made.outside, made.wrong) >= _VISIBLE:
            found.append(made)
    return sorted(found, key=lambda each: -_change(each))[:_QUALITY]


def density(bins: Bins, counts: Sequence[int] | Floats, at: Floats) -> list[float]:
    """Shares of the cells between `at`, (cells,), from the straight lines between the edges.

    What lies beyond the first and the last of `at` is in the outer cells. Sums to 1.
    """
    shares = np.diff(np.interp(at, *_cumulative(bins, np.asarray(counts, float))))
    below, above = _beyond(bins, np.asarray(counts, float), at)
    shares[0] += below
    shares[-1] += above
    return [round(float(each), 6) for each in shares]


def _worst(signals: Sequence[Signal]) -> list[str]:
    def size(signal: Signal) -> float:
        return (signal.effect or 0.0) / (signal.threshold or 1.0)

    kinds = ("drift", "output", "unseen", "outside")
    found = [each for each in signals if each.kind in kinds]
    found.sort(key=lambda each: (each.status is not Status.ALARM, -size(each)))
    return list(dict.fromkeys(each.subject for each in found))


def _distribution(name: str, reference: Profile, window: Profile) -> Distribution | None:
    bins, before = reference.bins.get(name), reference.tallies.get(name)
    now = window.tallies.get(name)
    if bins is None or before is None or now is None:
        return None
    if not before.counts.sum() or not now.counts.sum() or len(now.counts) != len(bins):
        return None
    if bins.kind == "category":
        return _categories(bins, before, now)
    if not len(bins.edges) or not np.isfinite([bins.low, bins.high]).all():
        return None
    if _whole(bins) and len(bins) <= _CATEGORIES:
        return _numbered(bins, before, now)
    with np.errstate(over="ignore", invalid="ignore"):
        at = _grid(bins, before.counts.astype(float), now.counts.astype(float))
        shares = [density(bins, each.counts.astype(float), at) for each in (before, now)]
    if not np.isfinite([*at, *shares[0], *shares[1]]).all():
        return None  # numbers so large, or so small, that no axis has them
    return Distribution(
        kind="number",
        at=[float(each) for each in at],
        reference=shares[0],
        window=shares[1],
    )


def _categories(bins: Bins, before: Tally, now: Tally) -> Distribution:
    was, share = before.counts / before.counts.sum(), now.counts / now.counts.sum()
    named = len(bins.categories)
    order = np.argsort(-np.maximum(was, share)[:named], kind="stable")
    shown, rest = order[:_CATEGORIES], order[_CATEGORIES:]
    labels = [bins.categories[each] for each in shown]
    values = [[*each[shown], each[rest].sum() + each[named]] for each in (was, share)]
    if values[0][-1] or values[1][-1]:
        labels.append(OTHERS)
    return Distribution(
        kind="category",
        labels=labels,
        reference=[round(float(each), 6) for each in values[0][: len(labels)]],
        window=[round(float(each), 6) for each in values[1][: len(labels)]],
    )


def _numbered(bins: Bins, before: Tally, now: Tally) -> Distribution:
    """Few whole numbers: a bar for each, as booleans have."""
    values = [*bins.edges, bins.high]
    return Distribution(
        kind="category",
        labels=[f"{value:g}" for value in values],
        reference=[round(float(each), 6) for each in before.counts / before.counts.sum()],
        window=[round(float(each), 6) for each in now.counts / now.counts.sum()],
    )


def _whole(bins: Bins) -> bool:
    """Whether each bin is one whole number."""
    values = np.array([*bins.edges, bins.high])
    return not (values % 1).any() and bins.low == bins.edges[0] and len(values) <= 128


def _cumulative(bins: Bins, counts: Floats) -> tuple[Floats, Floats]:
    """Where the cumulative share is known, (E + 2,), and what it is."""
    edges, half = bins.edges, 0.5 if _whole(bins) else 0.0
    # A value that many rows share is a bin alone, as narrow as can be drawn.
    little = 1e-3 * ((bins.high - bins.low) or abs(bins.high) or 1.0)
    low = min(bins.low, edges[0] - (little if not half else 0.0)) - half
    high = max(bins.high, edges[-1] + little) + half
    return (
        np.concatenate([[low], edges + half, [high]]),
        np.concatenate([[0.0], np.cumsum(counts) / counts.sum()]),
    )


def _grid(bins: Bins, *counts: Floats) -> Floats:
    """Edges of equal cells that hold nearly all rows of both, (cells + 1,)."""
    ends = []
    for each in counts:
        places, shares = _cumulative(bins, each)
        ends.append(np.interp([_TAIL, 1 - _TAIL], shares, places))
    low, high = min(each[0] for each in ends), max(each[1] for each in ends)
    return np.linspace(low, high if high > low else low + 1.0, _CELLS + 1)


def _beyond(bins: Bins, counts: Floats, at: Floats) -> tuple[float, float]:
    places, shares = _cumulative(bins, counts)
    first, last = np.interp(at[[0, -1]], places, shares)
    return float(first), float(1 - last)


def _quality(name: str, before: Tally, now: Tally) -> Quality:
    rows, was = max(now.rows, 1), max(before.rows, 1)
    return Quality(
        column=name,
        missing=now.missing / rows,
        was_missing=before.missing / was,
        outside=now.outside / rows,
        was_outside=before.outside / was,
        wrong=now.wrong / rows,
    )


def _change(each: Quality) -> float:
    return abs(each.missing - each.was_missing) + abs(each.outside - each.was_outside) + each.wrong
