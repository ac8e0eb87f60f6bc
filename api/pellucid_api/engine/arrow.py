"""Arrow arrays to NumPy's, one at a time; whatever the bytes say, memory stays in bounds."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pellucid.errors import TooLarge
from pellucid_api.engine.values import Misfit, Values

_LARGEST = 2**26  # bytes of the texts of a column
_PER_SECOND = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
Array = Any  # pyarrow.Array: pyarrow has no types


class Unfit(Exception):
    """The whole column is of a type that the input does not take."""


def whole(column: Any) -> Array:
    """A pyarrow.ChunkedArray as one array, its dictionary kept."""
    array = pa.concat_arrays(column.unify_dictionaries().chunks)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def floats(array: Array) -> Values:
    """float64, null as NaN."""
    kind = array.type
    if not (
        pa.types.is_null(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        raise Unfit
    numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float64)


def seconds(times: Array) -> Values:
    """float64 since 1970-01-01 UTC, to the microsecond; null as NaN.

    Args:
        times: timestamps or dates. Those that have no zone are in UTC.
    """
    if pa.types.is_date32(times.type):
        times = times.cast(pa.timestamp("s"))
    unit = "ms" if pa.types.is_date64(times.type) else times.type.unit
    counts = times.cast(pa.int64())  # not cast to another unit, which overflows unseen
    if unit == "ns":
        counts, unit = pc.divide(counts, 1000), "us"
    return np.asarray(counts.to_numpy(zero_copy_only=False) / _PER_SECOND[unit], np.float64)


def strings(array: Array) -> Array:
    """An array of strings; null alone counts as such."""
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array
    if not pa.types.is_string_view(kind):
        raise Unfit
    return unshared(array).cast(pa.large_string())


def words(array: Array) -> Values:
    """An object array of str, null as ""."""
    if not pa.types.is_dictionary(array.type):
        return objects(strings(array))
    texts = strings(array.dictionary)
    lengths = pc.binary_length(texts).take(array.indices)
    _check_texts(pc.sum(lengths).as_py() or 0)
    places = array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(np.append(objects(texts), "")[places])


def objects(texts: Array) -> Values:
    """An object array of str, null as "", of an array of strings."""
    return np.asarray(texts.fill_null("").to_numpy(zero_copy_only=False), dtype=object)


def unshared(views: Array) -> Array:
    """Views of strings or bytes, each of which the model may be given as a copy.

    Raises:
        TooLarge: a few long ones stand for many.
    """
    lengths = np.frombuffer(views.buffers()[1], "<i4")[4 * views.offset :: 4][: len(views)]
    known = views.is_valid().to_numpy(zero_copy_only=False)
    _check_texts(int(lengths[known].sum(dtype=np.int64)))
    return views


def misfit(wrong: Values, array: Array) -> Misfit:
    """The first of the places with a wrong value."""
    return Misfit(int(wrong[0]) + 1, array[int(wrong[0])].as_py(), len(wrong) - 1)


def is_list(kind: Any) -> bool:
    """Whether values of this type are lists, one after the other in memory."""
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _check_texts(size: int) -> None:
    if size > _LARGEST:
        raise TooLarge(
            f"The texts of a column are {size:,} bytes once each row has its own, and "
            f"{_LARGEST:,} is the most.",
            remedy="Send fewer rows at once.",
        )
