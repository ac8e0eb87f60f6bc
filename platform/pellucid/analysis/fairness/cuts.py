"""Groups of a sensitive column, fixed on training rows, so that every later row finds its own.

- up to `MAX_GROUPS` distinct values: each is a group;
- more, and numbers or times: four bins of about equal size, cut at the quartiles;
- more, and anything else: the most frequent ones;
- any other value falls into "(other)", and rows without one into "(missing)".
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise, product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.groups import MAX_GROUPS, MISSING, OTHER

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """How the values of a column become groups.

    Attributes:
        column: its name.
        categories: of strings, or of numbers as `named` writes them: each is a group.
        edges: rising; of numbers that are cut into len(edges) + 1 bins, an edge in the bin below.
        numeric: whether values are numbers; booleans are 0 and 1, times seconds since 1970.
        times: whether those seconds are told as dates.
    """

    column: str
    categories: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    numeric: bool = False
    times: bool = False

    @classmethod
    def learn(
        cls, column: str, values: NDArray[Any], *, numeric: bool, times: bool = False
    ) -> Self:
        """From training rows: (N,) float64 with NaN, or strings with None or ""."""
        known = values[~np.isnan(values)] if numeric else [each for each in values.tolist() if each]
        counts = Counter(known.tolist() if isinstance(known, np.ndarray) else known)
        if len(counts) > MAX_GROUPS and numeric:
            ordered = np.sort(known)
            edges = np.unique(ordered[[len(ordered) * q // 4 - 1 for q in (1, 2, 3)]])
            return cls(column, edges=tuple(edges.tolist()), numeric=True, times=times)
        if numeric:
            return cls(column, tuple(map(named, sorted(counts))), numeric=True, times=times)
        frequent = [value for value, _ in counts.most_common()]
        return cls(
            column,
            tuple(sorted(frequent if len(counts) <= MAX_GROUPS else frequent[: MAX_GROUPS - 1])),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the groups, by code; the last two are for other and for missing values."""
        if not self.edges:
            told = map(self._told, self.categories) if self.times else self.categories
            return (*told, OTHER, MISSING)
        ends = [self._told(named(edge)) for edge in self.edges]
        between = [f"above {low}, to {high}" for low, high in pairwise(ends)]
        return (f"to {ends[0]}", *between, f"above {ends[-1]}", OTHER, MISSING)

    def codes(self, values: NDArray[Any]) -> Codes:
        """(N,) places in `names`, of values as `learn` takes them."""
        other, missing = len(self.names) - 2, len(self.names) - 1
        if not self.numeric:
            places = {name: code for code, name in enumerate(self.categories)} | {None: missing}
            places[""] = missing
            found = (places.get(value, other) for value in values.tolist())
            return np.fromiter(found, np.int64, len(values))
        numbers = np.asarray(values, np.float64)
        if self.edges:
            codes = np.searchsorted(self.edges, numbers)
        else:
            known = np.array([float(name) for name in self.categories])
            codes = np.searchsorted(known, numbers)
            same = np.append(known, np.nan)[codes] == numbers
            codes = np.where(same, codes, other)
        codes = np.where(np.isinf(numbers), other, codes)
        return np.where(np.isnan(numbers), missing, codes).astype(np.int64)

    def _told(self, number: str) -> str:
        if not self.times:
            return number
        moment = datetime.fromtimestamp(float(number), UTC)
        return (
            moment.isoformat(sep=" ", timespec="seconds")
            .removesuffix("+00:00")
            .removesuffix(" 00:00:00")
        )


def named(number: float) -> str:
    """A number as a group's name, from which `float` makes the same number again."""
    return str(int(number)) if float(number).is_integer() else repr(float(number))


@dataclass(frozen=True)
class Coded:
    """Rows by group.

    Attributes:
        column: name of the column, or "a x b" of columns that are crossed.
        names: of the groups.
        unknown: of each group, whether a value that makes it up is missing.
        codes: (N,) group of each row.
    """

    column: str
    names: tuple[str, ...]
    unknown: tuple[bool, ...]
    codes: Codes

    @classmethod
    def of(cls, cut: Cut, values: NDArray[Any]) -> Self:
        """The rows of a column."""
        return cls.coded(cut, cut.codes(values))

    @classmethod
    def coded(cls, cut: Cut, codes: Codes) -> Self:
        """As `of`, of rows whose codes are known."""
        return cls(cut.column, cut.names, tuple(name == MISSING for name in cut.names), codes)


def crossed(columns: Sequence[Coded]) -> Coded:
    """The intersections of the groups of several columns, over the same rows."""
    codes = np.zeros_like(columns[0].codes)
    for each in columns:
        codes = codes * len(each.names) + each.codes
    return Coded(
        " x ".join(each.column for each in columns),
        tuple(", ".join(names) for names in product(*(each.names for each in columns))),
        tuple(any(flags) for flags in product(*(each.unknown for each in columns))),
        codes,
    )
