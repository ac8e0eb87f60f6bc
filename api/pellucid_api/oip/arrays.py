"""Inputs that have axes: images, sequences, tokens, and tensors that are taken as they are.

Every reader raises `InvalidRows`, which names the input and the row, where a value does not fit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.bundle import Datatype, Input
from pellucid.errors import InvalidData
from pellucid.raw import columns
from pellucid_api.engine.datatypes import DTYPES, FLOATS
from pellucid_api.engine.values import STRINGS, Values, clipped, convert, shown
from pellucid_api.oip.elements import (
    NO_BF16,
    RULES,
    Tensor,
    fitting,
    flat,
    in_row,
    misfit,
    numbers,
    refused,
    rule_for,
    strings,
)


def as_it_is(tensor: Tensor, target: Input) -> Values:
    """An array of the model's own datatype and shape; -1 is an axis of any length."""
    if tensor.datatype != target.datatype:
        raise refused(
            tensor.name,
            f"its datatype is {clipped(tensor.datatype)}",
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
        texts = strings(tensor)
        if None in texts:
            raise refused(tensor.name, "a string is null")
        return fitting(tensor, convert(texts, STRINGS), STRINGS).reshape(tensor.shape)
    return values if isinstance(values, np.ndarray) else _typed(tensor, target.datatype)


def _typed(tensor: Tensor, datatype: Datatype) -> Values:
    if datatype is Datatype.BF16:
        raise refused(tensor.name, *NO_BF16)
    values = flat(tensor)
    if None in values:
        raise refused(tensor.name, "a value is null")
    rule = RULES[datatype]
    known = fitting(tensor, convert(values, rule), rule)
    if datatype not in FLOATS:
        return np.array(values, dtype=DTYPES[datatype]).reshape(tensor.shape)
    with np.errstate(over="ignore"):
        array = known.astype(DTYPES[datatype])
    if not np.isfinite(array).all():
        raise refused(tensor.name, f"a value is too large for {datatype.value}")
    return array.reshape(tensor.shape)


def images(tensor: Tensor, target: Input) -> Values:
    """(rows, *shape) uint8 of image files, or of their base64."""
    values = flat(tensor)
    for row, value in enumerate(values, 1):
        if not isinstance(value, bytes | str):
            wanted = "an image: base64 of an image file"
            raise misfit(tensor, row, f"{shown(value)} is not {wanted}.")
    return _read(tensor, values, target)


def pixels(tensor: Tensor, target: Input) -> Values:
    """(rows, *shape) uint8 of pixels, of images of any size."""
    values = tensor.values
    if not isinstance(values, np.ndarray):
        if None in flat(tensor):
            raise refused(tensor.name, "a pixel is null")
        values = numbers(tensor, RULES["UINT8"]).astype(np.uint8)
    if values.shape[1:] == target.shape:
        return values
    return _read(tensor, list(values), target)


def sequences(tensor: Tensor, target: Input) -> Values:
    """(rows, steps) float64 of sequences of any length."""
    return _read(tensor, list(numbers(tensor, rule_for(tensor))), target)


def tokens(tensor: Tensor, target: Input, vocabulary: int) -> Values:
    """(rows, tokens) int64 of a text's tokens, 0 after the last."""
    longest = target.shape[0]
    if tensor.shape[1] > longest:
        raise refused(tensor.name, f"{tensor.shape[1]} tokens are more than {longest}")
    given = tensor.values
    if not isinstance(given, np.ndarray):
        given = numbers(tensor, RULES["INT64"])
    outside = ~((given >= 0) & (given < vocabulary))  # also null
    if outside.any():
        place = int(np.flatnonzero(outside.ravel())[0])
        raise misfit(tensor, place + 1, f"tokens are from 0 to {vocabulary - 1}.")
    found = np.zeros((len(given), longest), np.int64)
    found[:, : given.shape[1]] = given
    return found


def _read(tensor: Tensor, given: Sequence[Any], target: Input) -> Values:
    try:
        return columns.read(given, target.kind, target.shape)
    except InvalidData as error:
        row = error.where["row"]
        reason = f"{error.message} {error.remedy}".strip()
        raise in_row(tensor.name, row, reason) from error
