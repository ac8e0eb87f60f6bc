"""Sensitive columns from Arrow to groups: learnt in training, and the same in every later row."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.analysis.fairness.cuts import Coded, Cut
from pellucid.bundle import Input
from pellucid.schema import Column, Kind

_SCALARS = (Kind.NUMERIC, Kind.BOOLEAN, Kind.DATETIME, Kind.CATEGORICAL)


def learn(column: Column, values: pa.Array) -> Input | None:
    """A column as a manifest describes it, its groups those of training rows.

    Args:
        column: of the data set.
        values: of training rows, an array or chunked.

    Returns:
        None for images and lists, which tell no groups.
    """
    if column.kind not in _SCALARS:
        return None
    numeric, times = _counted(column.kind)
    array = _whole(values)
    found = _numbers(array) if numeric else _texts(array).to_numpy(zero_copy_only=False)
    cut = Cut.learn(column.name, found, numeric=numeric, times=times)
    given = Input.of(column.name, column.kind, cut.categories)
    return given.model_copy(update={"edges": cut.edges})


def cut_of(column: Input) -> Cut:
    """How the values of a sensitive column become groups; booleans are "false" and "true"."""
    numeric, times = _counted(column.kind)
    return Cut(column.name, column.categories, column.edges, numeric=numeric, times=times)


def coded(column: Input, values: pa.Array) -> Coded:
    """The rows of a sensitive column by group.

    Args:
        column: of a manifest.
        values: an array or chunked, of the data set's or of the log's type; of another type, every
            row that is not null is of the group "(other)".
    """
    cut, array = cut_of(column), _whole(values)
    other, missing = len(cut.names) - 2, len(cut.names) - 1
    if not _fits(cut, array.type):
        known = array.is_valid().to_numpy(zero_copy_only=False)
        return Coded.coded(cut, np.where(known, other, missing))
    if cut.numeric:
        return Coded.of(cut, _numbers(array))
    words = _texts(array)
    words = words if pa.types.is_dictionary(words.type) else words.dictionary_encode()
    codes = cut.codes(np.array(words.dictionary.to_pylist(), dtype=object))
    places = words.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return Coded.coded(cut, np.append(codes, missing)[places])


def _counted(kind: Kind) -> tuple[bool, bool]:
    """Whether values of a kind are numbers, and whether those are times."""
    return kind in (Kind.NUMERIC, Kind.DATETIME), kind is Kind.DATETIME


def _fits(cut: Cut, kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_null(kind):
        return True
    if cut.times:
        return bool(types.is_timestamp(kind))
    if cut.numeric:
        return bool(types.is_integer(kind) or types.is_floating(kind))
    strings = types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind)
    return bool(strings or types.is_dictionary(kind))


def _whole(values: Any) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _texts(array: pa.Array) -> pa.Array:
    """Strings as they are, booleans as "false" and "true"."""
    plain = pa.types.is_boolean(array.type) or pa.types.is_null(array.type)
    return array.cast(pa.string()) if plain else array


def _numbers(array: pa.Array) -> NDArray[np.float64]:
    """float64, null as NaN; times as seconds since 1970-01-01 UTC."""
    scale = 1.0
    if pa.types.is_timestamp(array.type):
        array, scale = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64()), 1e6
    numbers = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float64) / scale
