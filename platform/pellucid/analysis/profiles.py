"""What a column holds, from its distinct values and their counts.

A profile is made in one pass over the column's distinct values in ascending order, so that it is
exact and needs memory for one batch only.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.resources.datasets import ColumnProfile, Extent, ImageProfile, TopValue
from pellucid.schema import Kind, Role, StorageType

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TOP = 10
_SHOWN = 200  # characters of a frequent value
_MANY_CATEGORIES = 256
_LONGEST_CODE = 64  # characters: a SHA-256 in hexadecimal digits
_FEW_ROWS = 20  # too few to tell an id from a column of different values

Counted = tuple[NDArray[np.generic], NDArray[np.int64]]


def profile_numbers(
    name: str, storage: StorageType, batches: Iterable[Counted], *, rows: int, present: int
) -> ColumnProfile:
    """The profile of a numeric, boolean or datetime column.

    Args:
        name: the column.
        storage: its type; datetimes come as seconds since 1970-01-01 UTC.
        batches: (values, counts), each of shape (n,); all distinct, ascending over all batches.
        rows: rows of the data set.
        present: the sum of all counts.

    Returns:
        Mean and sample standard deviation (None below two values) by pairwise updates (Chan,
        Golub and LeVeque, 1983); quantiles by linear interpolation between order statistics.
    """
    moments, order, top = _Moments(), _OrderStatistics(present), _Top()
    distinct, minimum, maximum = 0, None, None
    for values, counts in batches:
        if not len(values):
            continue
        numbers = values.astype(np.float64)
        distinct += len(values)
        minimum = float(numbers[0]) if minimum is None else minimum
        maximum = float(numbers[-1])
        moments.update(numbers, counts)
        order.update(numbers, counts)
        if storage in (StorageType.INT64, StorageType.BOOL):
            top.update(values, counts)
    return ColumnProfile(
        name=name,
        type=storage,
        kind=storage.kind,
        role=Role.FEATURE,
        rows=rows,
        missing=rows - present,
        distinct=distinct,
        minimum=minimum,
        maximum=maximum,
        mean=moments.mean,
        deviation=moments.deviation,
        quantiles=order.quantiles(),
        top=top.values,
    )


def profile_strings(
    name: str, batches: Iterable[Counted], *, rows: int, present: int
) -> ColumnProfile:
    """The profile of a string column; arguments as for `profile_numbers`."""
    distinct, top, lengths = 0, _Top(), Spread()
    for values, counts in batches:
        distinct += len(values)
        top.update(values, counts)
        lengths.update(np.fromiter(map(len, values), np.int64, len(values)), counts)
    return ColumnProfile(
        name=name,
        type=StorageType.STRING,
        kind=Kind.CATEGORICAL,
        role=Role.FEATURE,
        rows=rows,
        missing=rows - present,
        distinct=distinct,
        top=top.values,
        lengths=lengths.extent(),
    )


def profile_images(name: str, seen: Iterable[tuple[str, int, int, int]]) -> ColumnProfile:
    """The profile of an image column, without the counts of its rows.

    `seen` is the format, height, width and bytes of each image that is there.
    """
    formats: Counter[str] = Counter()
    sides: tuple[Counter[int], ...] = (Counter(), Counter(), Counter())
    for kind, *numbers in seen:
        formats[kind] += 1
        for counts, number in zip(sides, numbers, strict=True):
            counts[number] += 1
    height, width, size = (Spread(counts).extent() for counts in sides)
    images = None
    if height and width and size:
        images = ImageProfile(formats=formats, height=height, width=width, bytes=size)
    return _of_objects(name, StorageType.BINARY, images=images)


def profile_lists(
    name: str, batches: Iterable[tuple[NDArray[np.int64], NDArray[np.float64]]]
) -> ColumnProfile:
    """The profile of a list column, without the counts of its rows.

    `batches` are (lengths (n,), elements (m,)) of the lists that are there; NaN is missing.
    """
    moments, lengths = _Moments(), Spread()
    minimum, maximum = np.inf, -np.inf
    for counts, elements in batches:
        lengths.update(counts, np.ones_like(counts))
        numbers = elements[~np.isnan(elements)]
        if len(numbers):
            moments.update(numbers, np.ones(len(numbers), np.int64))
            minimum, maximum = min(minimum, numbers.min()), max(maximum, numbers.max())
    some = moments.count > 0
    return _of_objects(
        name,
        StorageType.LIST,
        minimum=float(minimum) if some else None,
        maximum=float(maximum) if some else None,
        mean=moments.mean,
        deviation=moments.deviation,
        lengths=lengths.extent(),
    )


def _of_objects(name: str, storage: StorageType, **more: Any) -> ColumnProfile:
    return ColumnProfile(
        name=name,
        type=storage,
        kind=storage.kind,
        role=Role.FEATURE,
        rows=0,
        missing=0,
        distinct=0,
        **more,
    )


def warnings_of(profile: ColumnProfile) -> list[str]:
    """What is worth a second look before training on the column."""
    present = profile.rows - profile.missing
    if not present:
        return ["all values are missing"]
    found = []
    if profile.missing > profile.rows / 2:
        found.append(f"{profile.missing / profile.rows:.0%} of the values are missing")
    if profile.distinct == 1:
        found.append("constant: all values are the same")
    discrete = profile.type in (StorageType.STRING, StorageType.INT64)
    if profile.lengths is not None and profile.lengths.median > _LONGEST_CODE:
        discrete = False  # prose, no names or codes
    if discrete and profile.distinct == present >= _FEW_ROWS:
        if profile.role is not Role.ID:
            found.append("looks like an id: every value is different")
    elif discrete and profile.kind is Kind.CATEGORICAL and profile.distinct > _MANY_CATEGORIES:
        found.append(f"{profile.distinct:,} categories")
    return found + _warnings_of_objects(profile, present)


def _warnings_of_objects(profile: ColumnProfile, present: int) -> list[str]:
    found = []
    if profile.type.is_object and 1 < profile.distinct < present:
        found.append(f"{present - profile.distinct:,} values are there twice or more")
    if profile.images is not None:
        height, width = profile.images.height, profile.images.width
        if height.minimum < height.maximum or width.minimum < width.maximum:
            sizes = [f"{side.minimum} to {side.maximum}" for side in (height, width)]
            found.append(f"sizes differ: {sizes[0]} pixels high, {sizes[1]} wide")
    if profile.type is StorageType.LIST and profile.lengths and profile.lengths.minimum == 0:
        found.append("some lists are empty")
    return found


class Spread:
    """How often each whole number occurs."""

    def __init__(self, counts: Counter[int] | None = None) -> None:
        self._counts: Counter[int] = Counter() if counts is None else counts

    def update(self, numbers: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Take (n,) numbers that occurred (n,) times."""
        values, which = np.unique(numbers, return_inverse=True)
        totals = np.bincount(which, weights=counts).astype(np.int64)
        self._counts.update(dict(zip(values.tolist(), totals.tolist(), strict=True)))

    def extent(self) -> Extent | None:
        """The range and the median of all; None where there are none."""
        if not self._counts:
            return None
        values = sorted(self._counts)
        ends = np.cumsum([self._counts[value] for value in values])
        middle = [(ends[-1] - 1) // 2, ends[-1] // 2]
        low, high = (values[i] for i in np.searchsorted(ends, middle, side="right"))
        return Extent(minimum=values[0], median=(low + high) / 2, maximum=values[-1])


class _Moments:
    """Weighted mean and sum of squared deviations, batch by batch; None where they overflow."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = np.float64(0)
        self._squares = np.float64(0)

    def update(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        count = int(counts.sum())
        total = self.count + count
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(values, weights=counts)
            squares = ((values - mean) ** 2 * counts).sum()
            difference = mean - self._mean
            between = difference**2 * self.count * count / total if self.count else 0.0
            self._squares += squares + between
            self._mean += difference * count / total
        self.count = total

    @property
    def mean(self) -> float | None:
        return float(self._mean) if self.count and np.isfinite(self._mean) else None

    @property
    def deviation(self) -> float | None:
        if self.count < 2 or not np.isfinite(self._squares):
            return None
        return float(np.sqrt(self._squares / (self.count - 1)))


class _OrderStatistics:
    """The values at the ranks that the quantiles need."""

    def __init__(self, present: int) -> None:
        self._positions = {q: (present - 1) * q for q in QUANTILES} if present else {}
        floors = {int(position) for position in self._positions.values()}
        ranks = floors | {min(rank + 1, present - 1) for rank in floors}
        self._ranks = np.array(sorted(ranks), np.int64)
        self._found: dict[int, float] = {}
        self._seen = 0

    def update(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        ends = self._seen + np.cumsum(counts)
        here = self._ranks[(self._ranks >= self._seen) & (self._ranks < ends[-1])]
        at = np.searchsorted(ends, here, side="right")
        self._found |= zip(here.tolist(), values[at].tolist(), strict=True)
        self._seen = int(ends[-1])

    def quantiles(self) -> dict[str, float]:
        result = {}
        for q, position in self._positions.items():
            low = self._found[int(position)]
            high = self._found[min(int(position) + 1, self._seen - 1)]
            result[str(q)] = low + (high - low) * (position - int(position))
        return result


class _Top:
    """The most frequent values; of equally frequent ones, those that came first."""

    def __init__(self) -> None:
        self._best: list[tuple[int, object]] = []

    def update(self, values: NDArray[np.generic], counts: NDArray[np.int64]) -> None:
        first = np.argsort(-counts, kind="stable")[:TOP]
        new = [(int(counts[i]), values[i]) for i in first]
        self._best = sorted(self._best + new, key=lambda item: -item[0])[:TOP]

    @property
    def values(self) -> list[TopValue]:
        return [TopValue(value=_show(value), count=count) for count, value in self._best]


def _show(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    text = str(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
