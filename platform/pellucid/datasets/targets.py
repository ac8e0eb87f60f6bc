"""Is a column fit to be a target? Asked before a job is taken, and again before it trains."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pellucid.errors import InvalidData


def check_target(column: pa.ChunkedArray, task: str, *, name: str = "target") -> None:
    """A target must be there in every row, vary, and show each class at least twice.

    Lists must be of one length, each number of them there and finite.

    Args:
        column: the target's values.
        task: `classification` or `regression`.
        name: the column's name, for the error.

    Raises:
        InvalidData: a value is missing, all are the same, a class has one row only, or lists
            differ in length.
    """
    where: dict[str, Any] = {"column": name}
    if column.null_count == len(column):
        raise InvalidData(
            "The target has no value in any row.",
            where=where,
            remedy="Choose another target, or register data that has one.",
        )
    if column.null_count:
        first = pc.index(pc.is_null(column), True).as_py() + 1
        raise InvalidData(
            f"The target is missing in {column.null_count:,} of {len(column):,} rows.",
            where=where | {"row": first},
            remedy="Fill in these rows, or remove them, and register the data again.",
        )
    if pa.types.is_list(column.type):
        _check_lists(column, where)
    elif pc.count_distinct(column).as_py() == 1:
        raise InvalidData(
            f"The target is {column[0].as_py()!r} in every row: there is nothing to learn.",
            where=where,
            remedy="Choose another target, or register data in which it varies.",
        )
    if task == "classification":
        _check_classes(column, where)


def _check_lists(column: pa.ChunkedArray, where: dict[str, Any]) -> None:
    lengths = pc.list_value_length(column).to_numpy()
    other = np.flatnonzero(lengths != lengths[0])
    if len(other) or lengths[0] == 0:
        row = int(other[0]) if len(other) else 0
        raise InvalidData(
            f"The target's lists have {lengths[0]} and {lengths[row]} numbers."
            if len(other)
            else "The target's lists are empty.",
            where=where | {"row": row + 1},
            remedy="Give each row as many numbers as there are steps to forecast.",
        )
    numbers = pc.list_flatten(column).to_numpy().reshape(-1, lengths[0])
    unusable = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(unusable):
        raise InvalidData(
            "A number of the target's list is missing or infinite.",
            where=where | {"row": int(unusable[0]) + 1},
            remedy="Fill it in, or remove the row, and register the data again.",
        )
    if (numbers == numbers[0]).all():
        raise InvalidData(
            "The target's list is the same in every row: there is nothing to learn.",
            where=where,
            remedy="Choose another target, or register data in which it varies.",
        )


def _check_classes(column: pa.ChunkedArray, where: dict[str, Any]) -> None:
    counted = pc.value_counts(column.combine_chunks())
    single = counted.filter(pc.equal(counted.field("counts"), 1)).field("values").to_pylist()
    if not single:
        return
    if len(counted) > len(column) / 2:
        raise InvalidData(
            f"The target has {len(counted):,} classes in {len(column):,} rows.",
            where=where,
            remedy="Use `task: regression` for an amount, choose another target, or add rows.",
        )
    shown = ", ".join(repr(value) for value in single[:5])
    row = pc.index(column, single[0]).as_py() + 1
    raise InvalidData(
        f"{len(single)} of the target's classes have one row only: {shown}.",
        where=where | {"row": row},
        remedy="Give each class two rows or more, merge rare classes, or remove these rows.",
    )
