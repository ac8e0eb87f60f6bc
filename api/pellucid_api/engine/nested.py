"""Nested lists to tensors: the inputs of models that were made elsewhere."""

from collections.abc import Sequence
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np

from pellucid.bundle import Datatype, Input
from pellucid.errors import InvalidData
from pellucid_api.engine.datatypes import DTYPES, FLOATS
from pellucid_api.engine.values import Rule, Values, shown

_BOOLEANS: frozenset[type] = frozenset({bool})
_INTEGERS: frozenset[type] = frozenset({int})
_NUMBERS: frozenset[type] = frozenset({int, float, NoneType})
_STRINGS: frozenset[type] = frozenset({str, NoneType})


def rule(each: Input) -> Rule:
    """What the values of an input may be: one nested list (*shape) per row."""
    shape = f" of the shape {shape_text(each.shape)}" if each.shape else ""
    wanted = f"{each.datatype.value}{shape}"
    types: frozenset[type] = frozenset({list}) if each.shape else _leaves(each.datatype)
    return Rule(wanted, types, lambda values: read(values, each))


def read(values: Sequence[Any], each: Input) -> Values:
    """The tensor (rows, *shape).

    Args:
        values: a nested list for each row; null is NaN among floats, and "" among strings.
        each: the input.

    Raises:
        InvalidData: a value does not fit; `where["row"]` counts from 1.
    """
    found = _read(values, each)
    if not isinstance(found, str):
        return found
    for row, value in enumerate(values, 1):  # which one is it
        alone = _read([value], each)
        if isinstance(alone, str):
            raise InvalidData(alone, where={"row": row})
    shapes = [_read([value], each).shape[1:] for value in values]  # type: ignore[union-attr]
    row = next(row for row, shape in enumerate(shapes, 1) if shape != shapes[0])
    raise InvalidData(
        f"its shape is {list(shapes[row - 1])}, and that of row 1 is {list(shapes[0])}.",
        where={"row": row},
        remedy="Send rows of different shapes in requests of their own.",
    )


def shape_text(shape: Sequence[int]) -> str:
    """A shape as messages show it: [3, any]."""
    return f"[{', '.join('any' if size == -1 else str(size) for size in shape)}]"


def _read(values: Sequence[Any], each: Input) -> Values | str:
    """The tensor, or what is wrong with the values."""
    flat: Sequence[Any] = values
    sizes: list[int] = []
    for size in each.shape:
        if not {list}.issuperset(map(type, flat)):
            odd = next(value for value in flat if type(value) is not list)
            return f"{shown(odd)} is no list; the shape is {shape_text(each.shape)}."
        lengths = set(map(len, flat))
        if len(lengths) != 1 or 0 in lengths or size not in (-1, *lengths):
            told = " or ".join(map(str, sorted(lengths)))
            return f"lists of {told} values do not make the shape {shape_text(each.shape)}."
        sizes += lengths
        flat = list(chain.from_iterable(flat))
    array = _flat(flat, each.datatype)
    return array if isinstance(array, str) else array.reshape(len(values), *sizes)


def _flat(flat: Sequence[Any], datatype: Datatype) -> Values | str:
    allowed = _leaves(datatype)
    if not allowed.issuperset(map(type, flat)):
        odd = next(value for value in flat if type(value) not in allowed)
        return f"{shown(odd)} is not {datatype.value}."
    if datatype is Datatype.BYTES:
        texts = np.empty(len(flat), dtype=object)
        texts[:] = ["" if text is None else text for text in flat]
        return texts
    try:
        if datatype not in FLOATS:
            return np.array(flat, DTYPES[datatype])
        numbers = np.array(flat, np.float64)  # None becomes NaN
    except OverflowError:
        return f"a number is out of the range of {datatype.value}."
    with np.errstate(over="ignore"):
        cast = numbers.astype(DTYPES[datatype])
    if np.isinf(cast.astype(np.float64)).any():
        return f"a number is out of the range of {datatype.value}."
    return cast


def _leaves(datatype: Datatype) -> frozenset[type]:
    if datatype is Datatype.BYTES:
        return _STRINGS
    if datatype is Datatype.BOOL:
        return _BOOLEANS
    return _NUMBERS if datatype in FLOATS else _INTEGERS
