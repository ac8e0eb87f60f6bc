"""Counting rows into a profile: NumPy or Arrow columns in, exact counts out.

Numbers are sorted in pieces that fit a core's nearest cache, and the edges are looked up in them:
NumPy sorts with the processor's vector instructions, which takes less than looking up each number.
Strings are looked up once per distinct one where they come with a dictionary.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.analysis.watching.profiles import Bins, Floats, Profile, Tally

_PIECE = 2**14  # numbers sorted at once
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NUMERIC = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_null,
)
Column = Any
"""(rows,): a NumPy array (numbers, booleans, datetime64, or strings as objects) or an Arrow one."""


def count(
    columns: Mapping[str, Column],
    bins: Mapping[str, Bins],
    *,
    rows: int | None = None,
    groups: Mapping[str, NDArray[np.object_]] | None = None,
    grouped: tuple[str, ...] = (),
) -> Profile:
    """Rows as a profile. Whatever a column holds is counted, as missing or wrong if need be.

    Args:
        columns: by name, each (rows,); one that `bins` has and that is not here is missing in
            every row, others are not looked at.
        bins: of the columns that are counted.
        rows: how many there are; by default as many as the columns have.
        groups: sensitive column -> (rows,) the name of each row's group.
        grouped: the columns that are counted by group as well.
    """
    if rows is None:
        rows = max((len(each) for each in columns.values()), default=0)
    tallies = {name: tally(columns.get(name), each, rows) for name, each in bins.items()}
    found = {
        column: _by_group(columns, {name: bins[name] for name in grouped}, names)
        for column, names in (groups or {}).items()
        if len(names)
    }
    return Profile(bins, tallies, rows, found)


def tally(column: Column | None, bins: Bins, rows: int) -> Tally:
    """One column's values; None is missing in every row."""
    if column is None:
        return Tally(np.zeros(len(bins), np.int64), missing=rows)
    return _numbers(column, bins) if bins.kind == "number" else _strings(column, bins)


def _by_group(
    columns: Mapping[str, Column], bins: Mapping[str, Bins], names: NDArray[np.object_]
) -> dict[str, Profile]:
    encoded = pa.array(names, pa.string()).dictionary_encode()
    codes = encoded.indices.to_numpy()
    found = {}
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        rows = np.flatnonzero(codes == code)
        taken = {each: _take(columns[each], rows) for each in bins if each in columns}
        found[name] = count(taken, bins, rows=len(rows))
    return found


def _take(column: Column, rows: NDArray[np.int64]) -> Column:
    return column.take(rows if isinstance(column, np.ndarray) else pa.array(rows))


@np.errstate(over="ignore", invalid="ignore")  # sums of what is too large are not known
def _numbers(column: Column, bins: Bins) -> Tally:
    values, wrong = as_numbers(column)
    counts = np.zeros(len(bins), np.int64)
    missing, outside, total, squares = -wrong, 0, 0.0, 0.0  # what is wrong is NaN in `values`
    for start in range(0, len(values), _PIECE):
        piece = np.sort(values[start : start + _PIECE])
        known = int(piece.searchsorted(np.nan))
        missing += len(piece) - known
        if not known:
            continue
        piece = piece[:known]
        ends = piece.searchsorted(bins.edges, side="right")
        counts[:-1] += ends
        counts[1:] -= ends
        counts[-1] += known
        first, last = piece[0], piece[-1]
        if first < bins.low:
            outside += int(piece.searchsorted(bins.low))
        if last > bins.high:
            outside += known - int(piece.searchsorted(bins.high, side="right"))
        if not (math.isfinite(first) and math.isfinite(last)):
            piece = piece[np.isfinite(piece)]
        piece -= bins.middle
        total += float(piece.sum())
        piece *= piece  # no dot product: BLAS would start threads of its own
        squares += float(piece.sum())
    return Tally(counts, missing, outside, wrong, total, squares)


def as_numbers(column: Column) -> tuple[Floats, int]:
    """(rows,) float64, NaN where there is none, and how many values are of another type."""
    if isinstance(column, np.ndarray):
        return _from_numpy(column)
    array = _plain(column)
    kind = array.type
    if pa.types.is_date(kind):
        array, kind = array.cast(pa.timestamp("us")), pa.timestamp("us")
    if pa.types.is_timestamp(kind):
        return _floats(array.view(pa.int64())) / _PER_SECOND[kind.unit], 0
    if any(test(kind) for test in _NUMERIC):
        return _floats(array), 0
    return np.full(len(array), np.nan), len(array) - array.null_count


def _from_numpy(column: NDArray[Any]) -> tuple[Floats, int]:
    if column.dtype == np.float64 and column.ndim == 1:
        return column, 0
    if column.ndim != 1 or column.dtype.kind in "SU":
        return np.full(len(column), np.nan), len(column)
    if column.dtype.kind == "M":
        times = column.astype("datetime64[us]")
        return np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1e6), 0
    if column.dtype.kind != "O":
        return column.astype(np.float64), 0
    found = [_number(each) for each in column.tolist()]
    numbers = [math.nan if each is None else each for each in found]
    return np.array(numbers, np.float64), found.count(None)


def _number(value: object) -> float | None:
    """A value of a column of objects; None is no number."""
    if value is None:
        return math.nan
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if not isinstance(value, int | float | Decimal | np.number | np.bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond every double
        return math.copysign(math.inf, value)


def _floats(array: pa.Array) -> Floats:
    array = array.cast(pa.float64(), safe=False)
    numbers: Floats = array.to_numpy(zero_copy_only=not array.null_count)
    return numbers


def _strings(column: Column, bins: Bins) -> Tally:
    """Strings by their places: those of categories, of rare ones, of missing ones, and beyond."""
    if isinstance(column, np.ndarray):
        if column.ndim != 1 or column.dtype.kind not in "OSU":
            missing = int(np.isnan(column).sum()) if column.dtype == np.float64 else 0
            return Tally(np.zeros(len(bins), np.int64), missing, wrong=len(column) - missing)
        return _objects(column.tolist(), bins)
    array = pa.array([], pa.null()) if not len(column) else column
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    codes = None
    if pa.types.is_dictionary(array.type) and not array.dictionary.null_count:
        codes, array = array.indices.drop_null(), array.dictionary
    array = _plain(array)
    missing = array.null_count if codes is None else column.null_count  # one may be in a dictionary
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if not _textual(array.type):
        return Tally(np.zeros(len(bins), np.int64), missing, wrong=len(column) - missing)
    end = len(bins.categories) + len(bins.rare)
    known = pa.array((*bins.categories, *bins.rare, ""), array.type)
    places = pc.index_in(array, value_set=known).fill_null(end + 1).to_numpy()
    if codes is not None:  # how often each code occurs, and where its string belongs
        weights = np.bincount(codes.to_numpy(), minlength=len(array))
        slots = np.bincount(places, weights, minlength=end + 2).astype(np.int64)
    else:
        slots = np.bincount(places, minlength=end + 2)
        slots[end + 1] -= missing
    slots[end] += missing
    return _of_slots(slots, bins)


def _objects(values: list[Any], bins: Bins) -> Tally:
    places, end = bins.places, len(bins.categories) + len(bins.rare)
    try:
        found = np.array([places.get(each, -1) for each in values], np.int64)
    except TypeError:  # a list, say, which no dictionary can look up
        found = np.array(
            [places.get(each, -1) if isinstance(each, str) else -1 for each in values], np.int64
        )
    slots = np.bincount(found + 1, minlength=end + 3)[1:]
    wrong = 0
    if slots.sum() < len(values):
        for row in np.flatnonzero(found < 0).tolist():
            value = values[row]
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            if value is None or (isinstance(value, float) and math.isnan(value)):
                value = ""
            wrong += not isinstance(value, str)
            if isinstance(value, str):
                slots[places.get(value, end + 1)] += 1
    return _of_slots(slots, bins, wrong)


def _of_slots(slots: NDArray[np.int64], bins: Bins, wrong: int = 0) -> Tally:
    """Slots: of each category, of each rare string, of missing and of unknown ones."""
    categories, end = len(bins.categories), len(bins.categories) + len(bins.rare)
    unknown = int(slots[end + 1])
    rest = int(slots[categories:end].sum()) + unknown
    counts = np.append(slots[:categories], rest).astype(np.int64)
    return Tally(counts, int(slots[end]), unknown if bins.closed else 0, wrong)


def is_text(column: Column) -> bool:
    """Whether it is an Arrow column of strings, in a dictionary or not."""
    if isinstance(column, np.ndarray):
        return False
    kind = column.type
    return _textual(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _plain(column: Column) -> pa.Array:
    """One array without a dictionary."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _textual(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
