"""What levels are worth: years of windows, drawn as counts, judged by the same tests as real ones.

No row is drawn. A window's counts are multinomial in the true shares of the bins, so a window of a
million rows costs no more than one of fifty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pellucid.analysis.watching.drift.differences import familiar, of_distribution, of_share
from pellucid.analysis.watching.drift.levels import Levels
from pellucid.analysis.watching.drift.significance import benjamini_hochberg
from pellucid.analysis.watching.profiles import Bins, Counts, Floats, Tally
from pellucid.analysis.watching.signals import SignalKind


@dataclass(frozen=True, eq=False)
class Column:
    """A column's true distribution.

    A number may be normal, log-normal, anything continuous: its bins are quantiles of the reference
    and only ranks are compared, so all of them give the same counts.

    Attributes:
        shares: (categories,) of strings; empty of a number.
        missing: share of missing values.
        shift: by how many standard deviations a number's values move, were they normal.
    """

    shares: Floats
    missing: float = 0.0
    shift: float = 0.0

    @property
    def kind(self) -> str:
        """As of `Bins`."""
        return "category" if len(self.shares) else "number"


@dataclass(frozen=True, eq=False)
class Known:
    """A column's reference.

    Attributes:
        cuts: of a number, the normal scores of its edges, of low and of high; of strings, which of
            them the reference has, 0 or 1.
    """

    bins: Bins
    tally: Tally
    cuts: Floats


def mixed_columns(count: int = 50, missing: float = 0.05, seed: int = 0) -> list[Column]:
    """Half numbers, half strings of 2 to 50 categories, evenly or unevenly frequent."""
    rng = np.random.default_rng(seed)
    numbers = [Column(np.empty(0), missing) for _ in range(count - count // 2)]
    sizes = np.linspace(2, 50, count // 2).astype(int)
    strings = [
        Column(rng.dirichlet(np.full(size, 1.0 if i % 2 else 50.0)), missing)
        for i, size in enumerate(sizes)
    ]
    return numbers + strings


def learn(column: Column, rows: int, bins: int, rng: np.random.Generator) -> Known:
    """A reference of so many rows, in bins of about equal share, as a profile has them."""
    missing = int(rng.binomial(rows, column.missing))
    if column.kind == "category":
        counts = rng.multinomial(rows - missing, column.shares)
        names = tuple(str(i) for i in np.flatnonzero(counts))
        seen = np.append(counts[counts > 0], 0)
        return Known(
            Bins("category", categories=names),
            Tally(seen, missing),
            (counts > 0).astype(np.float64),
        )
    ranks = np.sort(rng.random(rows - missing))
    cuts = np.unique(ranks[np.linspace(0, len(ranks) - 1, bins + 1).astype(int)[1:-1]])
    counts = np.diff(ranks.searchsorted(cuts, side="right"), prepend=0, append=len(ranks))
    limits = ndtri(np.append(cuts, ranks[[0, -1]]))
    known = Bins("number", limits[:-2], *limits[-2:])
    return Known(known, Tally(counts, missing), limits)


def draw(
    column: Column, known: Known, rows: int, windows: int, rng: np.random.Generator
) -> tuple[Counts, Counts, Counts]:
    """So many windows of so many rows.

    Returns:
        (windows, bins) counts, (windows,) missing and (windows,) outside.
    """
    missing = rng.binomial(rows, column.missing, windows)
    if column.kind == "category":
        counts = rng.multinomial(rows - missing, column.shares)
        seen = known.cuts.astype(bool)
        unseen = counts[:, ~seen].sum(axis=1)
        return np.column_stack([counts[:, seen], unseen]), missing, unseen
    below = ndtr(known.cuts - column.shift)
    (low, high), ranks = below[-2:], below[:-2]
    parts = np.diff(np.concatenate([[0.0, low], ranks, [high, 1.0]]))
    counts = rng.multinomial(rows - missing, np.maximum(parts, 0.0) / np.maximum(parts, 0.0).sum())
    outside = counts[:, 0] + counts[:, -1]
    counts[:, 1] += counts[:, 0]
    counts[:, -2] += counts[:, -1]
    return counts[:, 1:-1], missing, outside


def simulate(
    before: Sequence[Column],
    after: Sequence[Column],
    *,
    reference_rows: int,
    window_rows: int,
    windows: int = 365,
    levels: Levels | None = None,
    bins: int = 200,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Windows against one reference: (windows, columns, 3) whether there is an alarm.

    The last axis: of the distribution, of missing values, of unseen or outside ones. With the same
    columns before and after, every alarm is false.

    Args:
        before: what the reference is drawn from.
        after: what the windows are drawn from.
        reference_rows, window_rows: in the reference, in each window.
        windows: drawn.
        levels: what an alarm takes.
        bins: of a number.
        seed: of the draws.
    """
    levels, rng = levels or Levels(), np.random.default_rng(seed)
    effects, p_values = [], []
    for old, new in zip(before, after, strict=True):
        known = learn(old, reference_rows, bins, rng)
        tests = _tests(known, *draw(new, known, window_rows, windows, rng))
        effects += [effect - levels.smallest(kind) for kind, effect, _ in tests]
        p_values += [p_value for _, _, p_value in tests]
    certain = benjamini_hochberg(np.column_stack(p_values), levels.columns)
    alarms = certain & (np.column_stack(effects) >= 0)
    return alarms.reshape(windows, len(before), 3)


def _tests(
    known: Known, counts: Counts, missing: Counts, outside: Counts
) -> list[tuple[SignalKind, Floats, Floats]]:
    bins, tally = known.bins, known.tally
    odd: SignalKind = "outside" if bins.kind == "number" else "unseen"
    values, rows = counts.sum(axis=-1), counts.sum(axis=-1) + missing
    there = int(tally.counts.sum())
    usual = min(familiar(odd, bins, tally), there)
    return [
        ("drift", *of_distribution(bins, tally.counts, counts)),
        ("missing", *of_share("missing", tally.missing, tally.rows, missing, rows)),
        (odd, *of_share(odd, usual, there, outside, values)),
    ]
