"""Arrow lists, nested or not, to the arrays of sequences and tensors."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pellucid.bundle import Datatype, Input
from pellucid.raw.sequences import pad_flat
from pellucid_api.engine import nested
from pellucid_api.engine.arrow import Array, Unfit, floats, is_list, misfit, words
from pellucid_api.engine.datatypes import DTYPES, FLOATS
from pellucid_api.engine.values import Misfit, Values


def sequences(array: Array, each: Input) -> Values | Misfit:
    """(rows, steps) float64 of lists of numbers; null is missing, in a list and alone."""
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.float64()))
    if not is_list(array.type):
        raise Unfit
    values = floats(array.flatten())
    ends = np.cumsum(np.append(0, _lengths(array)), dtype=np.int64)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        row = int(np.searchsorted(ends, infinite[0], side="right"))
        return Misfit(row, None, 0, "A number is infinite; null stands for a missing one.")
    return pad_flat(values, ends, each.shape[0])


def tensors(array: Array, each: Input) -> Values | Misfit:
    """(rows, *shape) of the input's datatype, of nested lists; those of a free axis are as long
    as the first one is.
    """
    rows, sizes = len(array), list(each.shape)
    flat = pa.types.is_fixed_size_list(array.type) and array.type.list_size == math.prod(sizes)
    if flat and -1 not in sizes:
        sizes = [array.type.list_size]  # as the extension type fixed_shape_tensor has it
    for axis, size in enumerate(sizes):
        if not is_list(array.type):
            raise Unfit
        lengths = _lengths(array)
        length = int(lengths[0]) if size == -1 and len(lengths) else size
        wrong = np.flatnonzero((lengths != length) | (lengths == 0))
        if len(wrong):
            row = int(wrong[0]) // math.prod(sizes[:axis]) + 1
            wanted = nested.shape_text([length if i == axis else s for i, s in enumerate(sizes)])
            found = lengths[wrong[0]]
            return Misfit(row, None, 0, f"a list of {found} does not make the shape {wanted}.")
        sizes[axis] = length
        array = array.flatten()
    values = leaves(array, each)
    if isinstance(values, Misfit):
        return replace(values, row=(values.row - 1) // math.prod(sizes) + 1)
    return values.reshape(rows, *(sizes if -1 in each.shape else each.shape))


def leaves(array: Array, each: Input) -> Values | Misfit:
    """The values of a tensor, flat, of the input's datatype."""
    datatype = each.datatype
    if datatype is Datatype.BYTES:
        return words(array)
    if datatype in FLOATS:
        numbers = floats(array)
        with np.errstate(over="ignore"):
            cast = numbers.astype(DTYPES[datatype])
        over = np.flatnonzero(np.isinf(cast.astype(np.float64)) & np.isfinite(numbers))
        return misfit(over, array) if len(over) else cast
    fits = pa.types.is_boolean if datatype is Datatype.BOOL else pa.types.is_integer
    if not fits(array.type):
        raise Unfit
    if array.null_count:
        return misfit(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)), array)
    whole = array.to_numpy(zero_copy_only=False)
    if datatype is not Datatype.BOOL:
        bounds = np.iinfo(DTYPES[datatype])
        # Python's integers, since a comparison of int64 with uint64 would round
        low, high = int(whole.min()), int(whole.max())
        if low < bounds.min or high > bounds.max:
            at = int(whole.argmin() if low < bounds.min else whole.argmax())
            return misfit(np.array([at]), array)
    return np.asarray(whole.astype(DTYPES[datatype]))


def _lengths(array: Array) -> Values:
    """(rows,) integers; null is an empty list."""
    return np.asarray(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False))
