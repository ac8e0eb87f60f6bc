"""The cells of a CSV, which come as strings, to the arrays that a model takes."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import from_json

from pellucid.bundle import Datatype, Input
from pellucid.schema import Kind
from pellucid_api.engine.arrow import Array, floats, misfit, objects
from pellucid_api.engine.datatypes import DTYPES, FLOATS
from pellucid_api.engine.lists import leaves
from pellucid_api.engine.rows import rule_of
from pellucid_api.engine.values import Misfit, Values, convert, shown

_TRUE = ("true", "t", "yes", "y", "1", "1.0")  # as in data sets
_FALSE = ("false", "f", "no", "n", "0", "0.0")


def numbers(array: Array, each: Input) -> Values | Misfit:
    """float64 of cells that hold a finite number each, null as NaN."""
    texts, wanted = pc.utf8_trim_whitespace(array), rule_of(each, None).wanted
    found = _cast(texts, pa.float64())
    if found is None:
        return _odd(_unreadable(texts, pa.float64()), array, wanted)
    values = floats(found)
    infinite = np.flatnonzero(np.isinf(values))
    return _odd(int(infinite[0]), array, wanted) if len(infinite) else values


def booleans(array: Array, _each: Input) -> Values | Misfit:
    """1.0 and 0.0 of cells that say yes or no, null as NaN."""
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(array))
    true = pc.is_in(texts, pa.array(_TRUE)).to_numpy(zero_copy_only=False)
    false = pc.is_in(texts, pa.array(_FALSE)).to_numpy(zero_copy_only=False)
    wrong = ~(true | false) & array.is_valid().to_numpy(zero_copy_only=False)
    if wrong.any():
        return misfit(np.flatnonzero(wrong), array)
    return np.where(true, 1.0, np.where(false, 0.0, np.nan))


def lists(array: Array, each: Input) -> Values | Misfit:
    """The tensor of cells that hold a list in JSON each."""
    values = []
    for row, cell in enumerate(array.to_pylist(), 1):
        try:
            values.append(None if cell is None else from_json(cell, allow_inf_nan=False))
        except ValueError:
            return Misfit(row, cell, 0, f"{shown(cell)} is no list in JSON.")
    return convert(values, rule_of(each, None))


def tensors(array: Array, each: Input) -> Values | Misfit:
    """As `lists`; without axes, cells that hold one value of the input's datatype each."""
    datatype = each.datatype
    if each.shape:
        return lists(array, each)
    if datatype is Datatype.BYTES:
        return objects(array)
    texts = pc.utf8_trim_whitespace(array)
    if datatype is Datatype.BOOL:
        texts = pc.utf8_lower(texts)
    kind = pa.float64() if datatype in FLOATS else pa.from_numpy_dtype(DTYPES[datatype])
    found = _cast(texts, kind)
    if found is None:
        return _odd(_unreadable(texts, kind), array, datatype.value)
    return leaves(found, each)


READERS = {
    Kind.NUMERIC: numbers,
    Kind.BOOLEAN: booleans,
    Kind.SEQUENCE: lists,
    Kind.TENSOR: tensors,
}  # of the kinds that are read otherwise than in other tables


def _cast(texts: Array, kind: Array) -> Array | None:
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return None


def _unreadable(texts: Array, kind: Array) -> int:
    """The place of the first that cannot be cast, in an array that cannot."""
    start, stop = 0, len(texts)
    while stop - start > 1:
        middle = (start + stop) // 2
        if _cast(texts[start:middle], kind) is None:
            stop = middle
        else:
            start = middle
    return start


def _odd(place: int, array: Array, wanted: str) -> Misfit:
    cell = array[place].as_py()
    reason = f"{shown(cell)} is not {wanted}; an empty cell stands for a missing value."
    return Misfit(place + 1, cell, 0, reason)
