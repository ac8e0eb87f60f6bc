"""An input tensor as a client sends it, and its values as plain ones, each checked."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from pellucid.errors import InvalidRows
from pellucid_api.engine.values import (
    BOOLEANS,
    NUMBERS,
    STRINGS,
    Misfit,
    Rule,
    Values,
    clipped,
    convert,
    integers,
    shown,
)
from pellucid_api.oip.binary import unknown

RULES: dict[str, Rule] = {
    **dict.fromkeys(("FP16", "BF16", "FP32", "FP64"), NUMBERS),
    "BOOL": BOOLEANS,
    "BYTES": STRINGS,
    **{f"INT{bits}": integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
NO_BF16 = ("BF16 has no form in JSON", "Send it as binary data.")


class Tensor(NamedTuple):
    """An input tensor as a client sends it; nothing is checked yet.

    Args:
        values: a list, flat or nested, as JSON has it; or the array of that datatype and shape,
            as `binary.to_array` makes it.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    values: list[Any] | Values


def rule_for(tensor: Tensor) -> Rule:
    """What values of the tensor's datatype may be. Raises `InvalidRows` where it is unknown."""
    rule = RULES.get(tensor.datatype)
    if rule is None:
        raise unknown(tensor.datatype, tensor.name)
    return rule


def numbers(tensor: Tensor, rule: Rule) -> Values:
    """float64 of the tensor's own shape; NaN is missing. Raises `InvalidRows`."""
    if not isinstance(tensor.values, np.ndarray):
        if tensor.datatype == "BF16":
            raise refused(tensor.name, *NO_BF16)
        return fitting(tensor, convert(flat(tensor), rule), rule).reshape(tensor.shape)
    numbers = tensor.values.astype(np.float64, copy=False)
    if rule is BOOLEANS:
        odd = ~(np.isnan(numbers) | (numbers == 0) | (numbers == 1))
    elif tensor.values.dtype.kind in "iub":
        return numbers
    else:
        odd = np.isinf(numbers)
    if odd.any():
        place = int(np.flatnonzero(odd)[0])
        fitting(tensor, Misfit(place + 1, float(numbers.ravel()[place]), 0), rule)
    return numbers


def strings(tensor: Tensor) -> list[Any]:
    """Flat; bytes are read as UTF-8. What is no string in JSON is left for the rule to find.

    Raises:
        InvalidRows: bytes are no UTF-8.
    """
    values = flat(tensor)
    if not isinstance(tensor.values, np.ndarray):
        return values
    for place, value in enumerate(values):
        if isinstance(value, bytes):
            try:
                values[place] = value.decode()
            except UnicodeDecodeError as error:
                raise misfit(tensor, place + 1, f"its bytes are no UTF-8: {error}.") from error
    return values


def flat(tensor: Tensor) -> list[Any]:
    """All values in row-major order; lists may be nested no deeper than the tensor has axes.

    Raises:
        InvalidRows: their number is not that of the shape.
    """
    if isinstance(tensor.values, np.ndarray):
        found: list[Any] = tensor.values.ravel().tolist()
        return found
    data = tensor.values
    for _ in range(len(tensor.shape) - 1):
        if not any(isinstance(value, list) for value in data):
            break
        data = list(chain.from_iterable(v if isinstance(v, list) else [v] for v in data))
    if len(data) != math.prod(tensor.shape):
        raise refused(
            tensor.name, f"its shape is {list(tensor.shape)} and it has {len(data)} values"
        )
    return data


def fitting(tensor: Tensor, column: Values | Misfit, rule: Rule) -> Values:
    """The column, if it is one; else raises `InvalidRows`, which names the row."""
    if not isinstance(column, Misfit):
        return column
    reason = column.reason or f"{shown(column.value)} is not {rule.wanted}."
    raise misfit(tensor, column.row, reason)


def misfit(tensor: Tensor, place: int, reason: str) -> InvalidRows:
    """The error for the value at a place, from 1, in row-major order."""
    return in_row(tensor.name, 1 + (place - 1) // math.prod(tensor.shape[1:]), reason)


def in_row(name: str, row: int, reason: str) -> InvalidRows:
    """The error for a row of an input, from 1."""
    return InvalidRows(f"Input {name!r}, row {row}: {reason}", where={"input": name, "row": row})


def refused(name: str, reason: str, remedy: str = "") -> InvalidRows:
    """The error for an input."""
    name = clipped(name)
    return InvalidRows(f"Input {name!r}: {reason}.", where={"input": name}, remedy=remedy)
