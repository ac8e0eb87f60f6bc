"""A client's tensors to the arrays that a model takes, whatever carried them.

| kind | datatype | shape |
|---|---|---|
| numeric, datetime, boolean | a numeric one; null or NaN is missing | [rows] or [rows, 1] |
| categorical | BYTES: strings; null or "" is missing | [rows] or [rows, 1] |
| image | BYTES: image files; their base64 in JSON | [rows] or [rows, 1] |
| | UINT8: pixels | [rows, (frames,) height, width(, channels)], of any size |
| sequence | a numeric one; null or NaN is missing | [rows, steps], of any length |
| text | BYTES: strings | [rows] or [rows, 1] |
| | INT64: tokens, 0 after the last | [rows, tokens], no more than the model's |
| tensor | the model's own | the model's own |
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pellucid.bundle import Datatype, Input
from pellucid.errors import InvalidData, InvalidRows, TooLarge
from pellucid.raw import columns
from pellucid.schema import Kind
from pellucid_api.engine.datatypes import DTYPES, FLOATS
from pellucid_api.engine.rows import check_size, rule_of
from pellucid_api.engine.values import (
    BOOLEANS,
    NUMBERS,
    STRINGS,
    Misfit,
    Rule,
    Values,
    convert,
    integers,
    shown,
)
from pellucid_api.oip.binary import MOST_AXES, unknown

if TYPE_CHECKING:
    from pellucid.raw.texts import Tokenizer

_RULES: dict[str, Rule] = {
    **dict.fromkeys(("FP16", "BF16", "FP32", "FP64"), NUMBERS),
    "BOOL": BOOLEANS,
    "BYTES": STRINGS,
    **{f"INT{bits}": integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
_NO_BF16 = ("BF16 has no form in JSON", "Send it as binary data.")
_TAKEN = {
    Kind.IMAGE: "Send BYTES [rows], image files (in JSON their base64), or UINT8 [rows, height, "
    "width, channels].",
    Kind.SEQUENCE: "Send FP64 [rows, steps]; null is missing.",
    Kind.TEXT: "Send BYTES [rows], or INT64 tokens [rows, tokens].",
}


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


def feed_of(
    tensors: Sequence[Tensor],
    inputs: Sequence[Input],
    max_rows: int,
    tokenizer: "Tokenizer | None" = None,
) -> dict[str, Values]:
    """The model's feed: one array (rows, *shape) per input.

    Raises:
        InvalidRows: an input is missing, unknown, given twice, or its datatype, shape or data do
            not fit.
        TooLarge: more than `max_rows` rows, or too much once decoded.
    """
    known = {each.name: each for each in inputs}
    _check_names([tensor.name for tensor in tensors], known)
    rows = {tensor.name: _rows(tensor, known[tensor.name]) for tensor in tensors}
    if (count := max(rows.values(), default=0)) > max_rows:
        raise TooLarge(f"{count:,} rows are more than {max_rows:,}, the limit of one request.")
    check_size(count, [each for each in inputs if each.kind is not Kind.TENSOR])
    feed = {tensor.name: array_of(tensor, known[tensor.name], tokenizer) for tensor in tensors}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise InvalidRows(f"The inputs differ in their number of rows: {counts}.")
    return feed


def array_of(tensor: Tensor, target: Input, tokenizer: "Tokenizer | None") -> Values:
    """The array (rows, *shape) of one input.

    Raises:
        InvalidRows: the tensor's datatype, shape or data do not fit.
    """
    _rows(tensor, target)
    if target.kind is Kind.TENSOR:
        return _as_it_is(tensor, target)
    if not target.shape:
        return _column(tensor, target)
    flat = len(tensor.shape) == 1 or list(tensor.shape[1:]) == [1]
    match target.kind, tensor.datatype:
        case Kind.IMAGE, "BYTES" if flat:
            return _read(tensor, _images(tensor), target)
        case Kind.IMAGE, "UINT8":
            return _pixels(tensor, target)
        case Kind.SEQUENCE, datatype if datatype != "BYTES" and len(tensor.shape) == 2:
            return _read(tensor, _numbers(tensor, _rule(tensor)), target)
        case Kind.TEXT, "BYTES" if flat:
            found = convert(_strings(tensor), rule_of(target, tokenizer))
            return _fitting(tensor, found, rule_of(target, tokenizer))
        case Kind.TEXT, "INT64" if len(tensor.shape) == 2 and tokenizer is not None:
            return _tokens(tensor, target, tokenizer.vocabulary)
    raise refused(
        tensor.name,
        f"its datatype is {tensor.datatype} and its shape {list(tensor.shape)}",
        _TAKEN[target.kind],
    )


def refused(name: str, reason: str, remedy: str = "") -> InvalidRows:
    """The error for an input."""
    return InvalidRows(f"Input {name!r}: {reason}.", where={"input": name}, remedy=remedy)


def _check_names(given: list[str], known: dict[str, Input]) -> None:
    for name in given:
        if name not in known:
            raise refused(name, "the model has no such input", f"It has: {', '.join(known)}.")
    if len(set(given)) < len(given):
        raise refused(next(n for n in given if given.count(n) > 1), "it is given twice")
    missing = [name for name in known if name not in given]
    if missing:
        raise InvalidRows(
            f"Missing inputs: {', '.join(missing)}.", remedy="null stands for a missing value."
        )


def _rows(tensor: Tensor, target: Input) -> int:
    shape = tensor.shape
    if not shape or min(shape) < 1 or len(shape) > MOST_AXES:
        raise refused(tensor.name, f"its shape is {list(shape)}")
    if target.scalar and (len(shape) > 2 or shape[-1] != 1 < len(shape)):
        raise refused(tensor.name, f"its shape is {list(shape)}", "Send [rows] or [rows, 1].")
    return shape[0]


def _column(tensor: Tensor, target: Input) -> Values:
    texts = target.datatype is Datatype.BYTES
    if (tensor.datatype == "BYTES") != texts:
        raise refused(
            tensor.name,
            f"its datatype is {tensor.datatype}",
            f"The model takes {target.datatype.value}.",
        )
    if texts:
        return _fitting(tensor, convert(_strings(tensor), STRINGS), STRINGS)
    rule = BOOLEANS if target.kind is Kind.BOOLEAN else _rule(tensor)
    return _numbers(tensor, rule).reshape(tensor.shape[0])


def _as_it_is(tensor: Tensor, target: Input) -> Values:
    """An array of the model's own datatype and shape; -1 is an axis of any length."""
    if tensor.datatype != target.datatype:
        raise refused(
            tensor.name,
            f"its datatype is {tensor.datatype}",
            f"The model takes {target.datatype.value}.",
        )
    axes = target.shape
    fits = len(tensor.shape) == len(axes) + 1 and all(
        axis in (-1, size) for axis, size in zip(axes, tensor.shape[1:], strict=True)
    )
    if not fits:
        wanted = ", ".join(["rows", *("any" if axis == -1 else str(axis) for axis in axes)])
        raise refused(tensor.name, f"its shape is {list(tensor.shape)}", f"Send [{wanted}].")
    values = tensor.values
    if target.datatype is Datatype.BYTES:
        texts = _strings(tensor)
        if None in texts:
            raise refused(tensor.name, "a string is null")
        return _fitting(tensor, convert(texts, STRINGS), STRINGS).reshape(tensor.shape)
    return values if isinstance(values, np.ndarray) else _typed(tensor, target.datatype)


def _typed(tensor: Tensor, datatype: Datatype) -> Values:
    if datatype is Datatype.BF16:
        raise refused(tensor.name, *_NO_BF16)
    values = _flat(tensor)
    if None in values:
        raise refused(tensor.name, "a value is null")
    rule = _RULES[datatype]
    numbers = _fitting(tensor, convert(values, rule), rule)
    if datatype not in FLOATS:
        return np.array(values, dtype=DTYPES[datatype]).reshape(tensor.shape)
    with np.errstate(over="ignore"):
        array = numbers.astype(DTYPES[datatype])
    if not np.isfinite(array).all():
        raise refused(tensor.name, f"a value is too large for {datatype.value}")
    return array.reshape(tensor.shape)


def _rule(tensor: Tensor) -> Rule:
    rule = _RULES.get(tensor.datatype)
    if rule is None:
        raise unknown(tensor.datatype, tensor.name)
    return rule


def _numbers(tensor: Tensor, rule: Rule) -> Values:
    """Float64 of the tensor's own shape; NaN is missing."""
    if not isinstance(tensor.values, np.ndarray):
        if tensor.datatype == "BF16":
            raise refused(tensor.name, *_NO_BF16)
        return _fitting(tensor, convert(_flat(tensor), rule), rule).reshape(tensor.shape)
    numbers = tensor.values.astype(np.float64, copy=False)
    if rule is BOOLEANS:
        odd = ~(np.isnan(numbers) | (numbers == 0) | (numbers == 1))
    elif tensor.values.dtype.kind in "iub":
        return numbers
    else:
        odd = np.isinf(numbers)
    if odd.any():
        place = int(np.flatnonzero(odd)[0])
        _fitting(tensor, Misfit(place + 1, float(numbers.ravel()[place]), 0), rule)
    return numbers


def _strings(tensor: Tensor) -> list[Any]:
    """Flat; bytes are read as UTF-8. What is no string in JSON is left for the rule to find."""
    values = _flat(tensor)
    if not isinstance(tensor.values, np.ndarray):
        return values
    for place, value in enumerate(values):
        if isinstance(value, bytes):
            try:
                values[place] = value.decode()
            except UnicodeDecodeError as error:
                raise _misfit(tensor, place + 1, f"its bytes are no UTF-8: {error}.") from error
    return values


def _images(tensor: Tensor) -> list[Any]:
    values = _flat(tensor)
    for row, value in enumerate(values, 1):
        if not isinstance(value, bytes | str):
            wanted = "an image: base64 of an image file"
            raise _misfit(tensor, row, f"{shown(value)} is not {wanted}.")
    return values


def _pixels(tensor: Tensor, target: Input) -> Values:
    values = tensor.values
    if not isinstance(values, np.ndarray):
        if None in _flat(tensor):
            raise refused(tensor.name, "a pixel is null")
        values = _numbers(tensor, _RULES["UINT8"]).astype(np.uint8)
    if values.shape[1:] == target.shape:
        return values
    return _read(tensor, list(values), target)


def _tokens(tensor: Tensor, target: Input, vocabulary: int) -> Values:
    longest = target.shape[0]
    if tensor.shape[1] > longest:
        raise refused(tensor.name, f"{tensor.shape[1]} tokens are more than {longest}")
    given = tensor.values
    if not isinstance(given, np.ndarray):
        given = _numbers(tensor, _RULES["INT64"])
    outside = ~((given >= 0) & (given < vocabulary))  # also null
    if outside.any():
        place = int(np.flatnonzero(outside.ravel())[0])
        raise _misfit(tensor, place + 1, f"tokens are from 0 to {vocabulary - 1}.")
    tokens = np.zeros((len(given), longest), np.int64)
    tokens[:, : given.shape[1]] = given
    return tokens


def _flat(tensor: Tensor) -> list[Any]:
    """All values in row-major order; lists may be nested no deeper than the tensor has axes."""
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


def _read(tensor: Tensor, given: Sequence[Any] | Values, target: Input) -> Values:
    try:
        return columns.read(list(given), target.kind, target.shape)
    except InvalidData as error:
        row = error.where["row"]
        reason = f"{error.message} {error.remedy}".strip()
        raise _in_row(tensor.name, row, reason) from error


def _fitting(tensor: Tensor, column: Values | Misfit, rule: Rule) -> Values:
    if not isinstance(column, Misfit):
        return column
    reason = column.reason or f"{shown(column.value)} is not {rule.wanted}."
    raise _misfit(tensor, column.row, reason)


def _misfit(tensor: Tensor, place: int, reason: str) -> InvalidRows:
    """The error for the value at a place, from 1, in row-major order."""
    return _in_row(tensor.name, 1 + (place - 1) // math.prod(tensor.shape[1:]), reason)


def _in_row(name: str, row: int, reason: str) -> InvalidRows:
    return InvalidRows(f"Input {name!r}, row {row}: {reason}", where={"input": name, "row": row})
