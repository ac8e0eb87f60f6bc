"""Rows made up for models that come without parity rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from pellucid.bundle import Datatype, Input
from pellucid_api.engine.datatypes import DTYPES
from pellucid_api.engine.values import Values

LENGTHS = (32, 1, 224)  # of axes that are free, tried in turn: most networks take one of them
_MOST_ROWS = 64
_MOST_BYTES = 2**20


def blanks(inputs: Sequence[Input], rows: int, length: int) -> dict[str, Values]:
    """Zeros and empty strings: one array (rows, *shape) per input, free axes of that length."""
    return {
        each.name: np.full(
            (rows, *(length if size == -1 else size for size in each.shape)),
            "" if each.datatype is Datatype.BYTES else 0,
            DTYPES[each.datatype],
        )
        for each in inputs
    }


def examples(inputs: Sequence[Input], length: int) -> dict[str, Values]:
    """As many blank rows as warming takes, fewer of large ones."""
    size = sum(array.nbytes for array in blanks(inputs, 1, length).values())
    return blanks(inputs, max(1, min(_MOST_ROWS, _MOST_BYTES // max(1, size))), length)


def misfits(outputs: Mapping[str, Values], rows: int) -> list[str]:
    """The outputs whose first axis is not the rows, with their shapes."""
    return [
        f"{name} has the shape {list(array.shape)} for {rows} rows"
        for name, array in outputs.items()
        if array.shape[:1] != (rows,)
    ]
