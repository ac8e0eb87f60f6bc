"""Raw columns as a figure takes them: numbers on a scale, or a few categories."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pellucid.analysis.interactions import Integers, bins_of
from pellucid.bundle import Input
from pellucid.schema import Kind
from pellucid_pipelines.preprocessing.tabular import Floats, numbers_of, texts_of

MISSING, OTHER = "missing", "other"
_YEAR = 31_556_952.0  # seconds


@dataclass(frozen=True)
class Reading:
    """A column of N rows.

    Attributes:
        numbers: (N,) NaN where missing; of dates seconds since 1970; codes of categories.
        levels: the categories, by code; empty for numbers.
        dated: the numbers are dates.
    """

    name: str
    numbers: Floats
    levels: tuple[str, ...] = ()
    dated: bool = False

    def written(self, value: float) -> str:
        """One of the numbers in words."""
        if self.levels:
            return self.levels[int(value)]
        return date(value) if self.dated else f"{value:.6g}"

    def groups(self, most: int) -> Integers:
        """(N,) codes of bins, or of the most frequent categories and of all others."""
        if not self.levels:
            return bins_of(self.numbers, most)
        kept = [code for code, _ in Counter(self.numbers.tolist()).most_common(most)]
        return np.array([kept.index(c) if c in kept else most for c in self.numbers.tolist()])

    def merged(self, most: int) -> "Reading":
        """With at most so many categories; the rarest ones become one."""
        if len(self.levels) <= most:
            return self
        common = Counter(self.numbers.astype(int).tolist()).most_common(most - 1)
        kept = sorted(code for code, _ in common)
        codes = [kept.index(c) if c in kept else len(kept) for c in self.numbers.astype(int)]
        levels = (*(self.levels[code] for code in kept), OTHER)
        return Reading(self.name, np.array(codes, dtype=np.float64), levels)


def date(seconds: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """A time since 1970, UTC; just the year where Python has no date for it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(form).removesuffix(" 00:00")
    except (OverflowError, OSError, ValueError):
        return f"year {1970 + seconds / _YEAR:.0f}"


def read(column: pa.ChunkedArray, given: Input) -> Reading:
    """A raw column."""
    if given.kind not in (Kind.CATEGORICAL, Kind.BOOLEAN):
        numbers = numbers_of(column)
        numbers[np.isinf(numbers)] = np.nan
        return Reading(given.name, numbers, dated=given.kind is Kind.DATETIME)
    if given.kind is Kind.BOOLEAN:
        column = pc.if_else(pc.cast(column, pa.bool_()), "true", "false")
    texts = [text or MISSING for text in texts_of(column).to_pylist()]
    levels = sorted(set(texts), key=lambda text: (text == MISSING, text))
    place = {text: i for i, text in enumerate(levels)}
    codes = np.array([place[text] for text in texts], dtype=np.float64)
    return Reading(given.name, codes, tuple(levels))
