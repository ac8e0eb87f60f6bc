"""Columns whose distribution is known: rows of them, and what profiles of such rows would count."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from pellucid.analysis.watching.profiles import Bins, Profile, Tally

Floats = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class Cells:
    """A partition of a column's values that is at least as fine as its bins.

    Attributes:
        shares: (C + 1,) probabilities of the cells, then of a missing value.
        bins: (C,) the bin that each cell lies in.
        outside: (C,) whether its values are `outside` of the reference.
    """

    shares: Floats
    bins: NDArray[np.intp]
    outside: NDArray[np.bool_]


class Column(Protocol):
    """A column of independent values, some of them missing."""

    @property
    def missing(self) -> float: ...

    def draw(self, rng: Rng, rows: int) -> pa.Array: ...

    def cells(self, bins: Bins) -> Cells: ...


@dataclass(frozen=True)
class Numbers:
    """`location` + values of a continuous distribution (of scipy.stats, frozen)."""

    distribution: Any
    missing: float = 0.05
    location: float = 0.0

    def draw(self, rng: Rng, rows: int) -> pa.Array:
        values = self.location + self.distribution.rvs(size=rows, random_state=rng)
        return pa.array(values, mask=rng.random(rows) < self.missing)

    def cells(self, bins: Bins) -> Cells:
        cuts = np.unique([*bins.edges, bins.low, bins.high])
        cuts = cuts[np.isfinite(cuts)]
        lower, upper = np.array([-np.inf, *cuts]), np.array([*cuts, np.inf])
        shares = np.diff(self.distribution.cdf(np.array([*lower, np.inf]) - self.location))
        return Cells(
            np.array([*(1 - self.missing) * shares, self.missing]),
            np.searchsorted(bins.edges, upper, side="left"),
            (upper <= bins.low) | (lower >= bins.high),
        )

    def shifted(self, by: float) -> "Numbers":
        """Moved by some standard deviations of its values."""
        return replace(self, location=self.location + by * self.distribution.std())


@dataclass(frozen=True)
class Categories:
    """Strings v0, v1 ... with shares (K,)."""

    shares: Floats
    missing: float = 0.05

    def draw(self, rng: Rng, rows: int) -> pa.Array:
        found = rng.choice(len(self.shares), rows, p=self.shares).astype(np.int32)
        indices = pa.array(found, mask=rng.random(rows) < self.missing)
        names = pa.array([f"v{i}" for i in range(len(self.shares))])
        return pa.DictionaryArray.from_arrays(indices, names).cast(pa.string())

    def cells(self, bins: Bins) -> Cells:
        names = [f"v{i}" for i in range(len(self.shares))]
        known = {name: i for i, name in enumerate(bins.categories)}
        last, new = len(bins.categories), bins.closed
        return Cells(
            np.array([*(1 - self.missing) * self.shares, self.missing]),
            np.array([known.get(name, last) for name in names]),
            np.array([new and name not in known and name not in bins.rare for name in names]),
        )


Population = dict[str, Column]


def mixed(columns: int = 50) -> Population:
    """A third each of normal, log-normal and categories (2 to 50 of them), 5% of all missing."""
    thirds = [columns // 3 + (i < columns % 3) for i in range(3)]
    found: Population = {
        f"normal_{i}": Numbers(stats.norm(10 * i, 1 + i)) for i in range(thirds[0])
    }
    for i in range(thirds[1]):
        found[f"lognormal_{i}"] = Numbers(stats.lognorm(0.25 + 0.1 * (i % 12), scale=100))
    for i, count in enumerate(np.linspace(2, 50, thirds[2]).round().astype(int)):
        found[f"categories_{i}"] = Categories(_zipf(int(count)))
    return found


def _zipf(count: int) -> Floats:
    weights = 1 / np.arange(1.0, count + 1)
    return weights / weights.sum()


def table(population: Population, rng: Rng, rows: int) -> pa.Table:
    """Independent rows."""
    return pa.table({name: column.draw(rng, rows) for name, column in population.items()})


def windows(
    population: Population, bins: dict[str, Bins], rng: Rng, rows: int, count: int
) -> Iterator[Profile]:
    """Profiles of `count` windows of `rows` rows, without making any row.

    Rows are independent, and a row falls into exactly one cell of a column (a missing value is a
    cell too). So the numbers of rows by cell are multinomial, with the column's probabilities of
    the cells; sums over a bin's cells, the missing and the outside ones are functions of them. The
    columns are independent of each other. This is therefore the very distribution of the counts
    that drawing rows and counting them has, not an approximation for many rows. Sums and squares
    of the values are not functions of the counts: they are NaN here, so that a verdict that looked
    at them would show.
    """
    drawn = {}
    for name, column in population.items():
        cells = column.cells(bins[name])
        drawn[name] = cells, rng.multinomial(rows, cells.shares, size=count)
    for window in range(count):
        tallies = {n: _tally(bins[n], cells, found[window]) for n, (cells, found) in drawn.items()}
        yield Profile(bins, tallies, rows)


def _tally(bins: Bins, cells: Cells, found: NDArray[np.int64]) -> Tally:
    inside = found[:-1]
    counts = np.bincount(cells.bins, weights=inside, minlength=len(bins)).astype(np.int64)
    outside = int(inside[cells.outside].sum())
    return Tally(counts, int(found[-1]), outside, total=float("nan"), squares=float("nan"))
