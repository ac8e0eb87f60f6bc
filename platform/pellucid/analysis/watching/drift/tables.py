"""Rows of raw columns as matrices, for what looks at all columns together."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.watching.profiles import Floats

Rows = Mapping[str, NDArray[Any]]
"""Column -> (rows,) numbers, booleans, times, or strings as objects; NaN or None is missing."""

_LEVELS = 30  # strings told apart, the reference's most frequent
_CLIP = 5.0  # deviations beyond which a number goes no further
_NORMAL_IQR = 1.3489795


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of numbers and of strings, read as the reference suggests.

    Attributes:
        names: of the columns.
        text: (columns,) whether strings.
        reference: (rows, columns) numbers, and places of strings among the most frequent; NaN is
            missing.
        window: (window rows, columns) likewise.
    """

    names: list[str]
    text: NDArray[np.bool_]
    reference: Floats
    window: Floats

    def dense(self) -> tuple[Floats, Floats]:
        """Both as (rows, features), without NaN.

        Numbers in robust deviations from the reference's median, at most 5; strings and missing
        values as indicators.
        """
        parts = [
            _indicators(old, new) if text else _scaled(old, new)
            for text, old, new in zip(self.text, self.reference.T, self.window.T, strict=True)
        ]
        return np.hstack([old for old, _ in parts]), np.hstack([new for _, new in parts])


def tabulate(reference: Rows, window: Rows) -> Table:
    """The columns that both have. Lists, images and columns without any value are left out."""
    names, text, columns = [], [], []
    for name in reference:
        if name not in window:
            continue
        old, new = np.asarray(reference[name]), np.asarray(window[name])
        pair = _numbers(old), _numbers(new)
        if strings := np.isnan(pair[0]).all():
            pair = _places(old, new)
        if np.isnan(pair[0]).all():
            continue
        names.append(name)
        text.append(bool(strings))
        columns.append(pair)
    sizes = (len(next(iter(rows.values()), ())) for rows in (reference, window))
    n, m = sizes
    matrices = [
        np.column_stack([pair[i] for pair in columns]) if columns else np.empty((size, 0))
        for i, size in enumerate((n, m))
    ]
    return Table(names, np.array(text, bool), *matrices)


def _numbers(values: NDArray[Any]) -> Floats:
    """(rows,) NaN where there is no number; infinite ones become the largest there are."""
    if values.dtype.kind == "M":
        seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(values), np.nan, seconds)
    if values.dtype.kind in "biuf":
        found = values.astype(np.float64)
    else:
        found = np.array([_number(each) for each in values.tolist()], np.float64)
    return np.nan_to_num(found, nan=np.nan, posinf=1e300, neginf=-1e300)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float | np.number) else np.nan


def _places(old: NDArray[Any], new: NDArray[Any]) -> tuple[Floats, Floats]:
    known = [each for each in old.tolist() if isinstance(each, str)]
    frequent = [name for name, _ in Counter(known).most_common(_LEVELS)]
    place = {name: float(i) for i, name in enumerate(frequent)}

    def of(value: object) -> float:
        return place.get(value, float(_LEVELS)) if isinstance(value, str) else np.nan

    first, second = (np.array([of(each) for each in v.tolist()], np.float64) for v in (old, new))
    return first, second


def _scaled(old: Floats, new: Floats) -> tuple[Floats, Floats]:
    low, middle, high = np.nanquantile(old, (0.25, 0.5, 0.75))
    scale = (high - low) / _NORMAL_IQR or float(np.nanstd(np.clip(old, -1e100, 1e100))) or 1.0
    found = []
    for values in (old, new):
        with np.errstate(over="ignore"):
            score = np.clip((values - middle) / scale, -_CLIP, _CLIP)
        found.append(np.column_stack([np.nan_to_num(score), np.isnan(values)]))
    return found[0], found[1]


def _indicators(old: Floats, new: Floats) -> tuple[Floats, Floats]:
    levels = np.arange(_LEVELS + 1)
    used = levels[np.isin(levels, old) | np.isin(levels, new)]
    first, second = (
        np.column_stack([values[:, None] == used, np.isnan(values)]).astype(np.float64)
        for values in (old, new)
    )
    return first, second
