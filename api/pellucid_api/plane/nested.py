"""Rows of nested lists, for models that were made elsewhere, read quickly by msgspec.

What does not fit is left to `engine.nested`, which is slower and says what is wrong.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.bundle import Datatype, Input
from pellucid.schema import Kind
from pellucid_api.engine.datatypes import DTYPES
from pellucid_api.engine.feeds import Feed, of_tensors
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values
from pellucid_api.plane.structs import RowStruct, nameable

_LEAVES: dict[Datatype, Any] = {
    Datatype.BOOL: bool,
    Datatype.FP32: float,
    Datatype.FP64: float,
    Datatype.BYTES: str,
    **{Datatype(f"{sign}INT{bits}"): int for sign in ("", "U") for bits in (8, 16, 32, 64)},
}


class NestedReader:
    """Reads rows `{"input": nested list, ...}`; of a single input also the lists alone."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        columns = [(each.name, _nested(each)) for each in inputs]
        self._rows = RowStruct(columns, bare=len(inputs) == 1)

    def read(self, body: bytes, max_rows: int) -> Feed:
        """The rows. Raises ValueError and OverflowError where something does not fit."""
        rows = self._rows.read(body, max_rows)
        tensors = map(_tensor, zip(*rows, strict=True), self._inputs)
        return of_tensors(len(rows), tuple(tensors))


def nested_reader(served: Served) -> NestedReader | None:
    """The reader of a version, if it takes tensors of plain datatypes."""
    inputs = served.model.manifest.inputs
    plain = all(each.kind is Kind.TENSOR and each.datatype in _LEAVES for each in inputs)
    return NestedReader(inputs) if plain and nameable(inputs) else None


def _nested(each: Input) -> Any:
    kind = _LEAVES[each.datatype]
    for _ in each.shape:
        kind = list[kind]  # type: ignore[valid-type]
    return kind


def _tensor(values: Sequence[Any], each: Input) -> Values:
    """The input's array (rows, *shape). Raises ValueError and OverflowError."""
    with np.errstate(over="ignore"):
        array = np.array(values, DTYPES[each.datatype])
    axes = zip(array.shape[1:], each.shape, strict=True)
    if not array.size or not all(wanted in (-1, size) for size, wanted in axes):
        raise ValueError("another shape")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("out of range")
    return array
