"""Tensors of more than one value a row: images, sequences and texts.

| kind | datatype | shape |
|---|---|---|
| image | BYTES: base64 of image files | [rows] or [rows, 1] |
| | UINT8: pixels | [rows, (frames,) height, width(, channels)], of any size |
| sequence | a numeric one; null is missing | [rows, steps], of any length |
| text | BYTES: strings | [rows] or [rows, 1] |
| | INT64: tokens, 0 after the last | [rows, tokens], no more than the model's |
"""

import math
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.bundle import Input
from pellucid.errors import InvalidData, InvalidRows
from pellucid.raw import columns
from pellucid.schema import Kind
from pellucid_api.engine.rows import rule_of
from pellucid_api.engine.values import (
    BOOLEANS,
    NUMBERS,
    Misfit,
    Rule,
    Values,
    convert,
    integers,
    shown,
)
from pellucid_api.oip.types import RequestInput

if TYPE_CHECKING:
    from pellucid.raw.texts import Tokenizer

_INTEGERS = {
    **{f"INT{bits}": integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
NUMERIC: dict[str, Rule] = {
    **dict.fromkeys(("FP16", "FP32", "FP64"), NUMBERS),
    "BOOL": BOOLEANS,
    **_INTEGERS,
}


def shaped(tensor: RequestInput, target: Input, tokenizer: "Tokenizer | None") -> Values:
    """The array (rows, *shape) that the model takes.

    Raises:
        InvalidRows: the tensor's datatype, shape or data do not fit.
    """
    data = _flat(tensor.data or [], len(tensor.shape))
    if len(data) != math.prod(tensor.shape):
        raise refused(tensor.name, f"its shape is {tensor.shape} and it has {len(data)} values")
    flat = len(tensor.shape) == 1 or tensor.shape[1:] == [1]
    match target.kind, tensor.datatype:
        case ((Kind.IMAGE | Kind.TEXT), "BYTES") if flat:
            return _checked(tensor, convert(data, rule_of(target, tokenizer)), target)
        case Kind.IMAGE, "UINT8":
            if None in data:
                raise refused(tensor.name, "a pixel is null")
            return _read(tensor, _numbers(tensor, data).astype(np.uint8), target)
        case Kind.SEQUENCE, datatype if datatype in NUMERIC and len(tensor.shape) == 2:
            return _read(tensor, _numbers(tensor, data), target)
        case Kind.TEXT, "INT64" if len(tensor.shape) == 2 and tokenizer is not None:
            return _tokens(tensor, _numbers(tensor, data), target, tokenizer.vocabulary)
    raise refused(
        tensor.name,
        f"its datatype is {tensor.datatype} and its shape {tensor.shape}",
        _TAKEN[target.kind],
    )


def refused(name: str, reason: str, remedy: str = "") -> InvalidRows:
    """The error for an input."""
    return InvalidRows(f"Input {name!r}: {reason}.", where={"input": name}, remedy=remedy)


_TAKEN = {
    Kind.IMAGE: "Send BYTES [rows], base64 of image files, or UINT8 [rows, height, width, "
    "channels].",
    Kind.SEQUENCE: "Send FP64 [rows, steps]; null is missing.",
    Kind.TEXT: "Send BYTES [rows], or INT64 tokens [rows, tokens].",
}


def _flat(data: list[Any], axes: int) -> list[Any]:
    """Lists that are nested no deeper than the tensor's axes as one, in row-major order."""
    for _ in range(axes - 1):
        if not any(isinstance(value, list) for value in data):
            break
        data = list(chain.from_iterable(v if isinstance(v, list) else [v] for v in data))
    return data


def _numbers(tensor: RequestInput, data: list[Any]) -> Values:
    """Float64 of the tensor's own shape."""
    rule = NUMERIC[tensor.datatype]
    column = convert(data, rule)
    if isinstance(column, Misfit):
        row = 1 + (column.row - 1) // math.prod(tensor.shape[1:])
        raise _misfit(tensor.name, row, f"{shown(column.value)} is not {rule.wanted}.")
    return column.reshape(tensor.shape)


def _read(tensor: RequestInput, given: Values, target: Input) -> Values:
    try:
        return columns.read(list(given), target.kind, target.shape)
    except InvalidData as error:
        reason = f"{error.message} {error.remedy}".strip()
        raise _misfit(tensor.name, error.where["row"], reason) from error


def _tokens(tensor: RequestInput, given: Values, target: Input, vocabulary: int) -> Values:
    longest = target.shape[0]
    if given.shape[1] > longest:
        raise refused(tensor.name, f"{given.shape[1]} tokens are more than {longest}")
    outside = ~((given >= 0) & (given < vocabulary))  # also null
    if outside.any():
        row = int(np.flatnonzero(outside.any(axis=1))[0]) + 1
        raise _misfit(tensor.name, row, f"tokens are from 0 to {vocabulary - 1}.")
    tokens = np.zeros((len(given), longest), np.int64)
    tokens[:, : given.shape[1]] = given
    return tokens


def _checked(tensor: RequestInput, column: Values | Misfit, target: Input) -> Values:
    if not isinstance(column, Misfit):
        return column
    wanted = rule_of(target, None).wanted
    reason = column.reason or f"{shown(column.value)} is not {wanted}."
    raise _misfit(tensor.name, column.row, reason)


def _misfit(name: str, row: int, reason: str) -> InvalidRows:
    return InvalidRows(f"Input {name!r}, row {row}: {reason}", where={"input": name, "row": row})
