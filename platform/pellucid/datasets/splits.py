"""Which rows train, which choose when to stop, and which are only ever scored."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.datasets.targets import check_target
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.plan import GroupSplit, RandomSplit, Split, StratifiedSplit, TimeSplit

Rows = NDArray[np.int64]
_ORDERS = 64  # random orders of the groups that are tried


class Parts(NamedTuple):
    """Row indices, ascending and disjoint; together all rows."""

    train: Rows
    validation: Rows
    test: Rows


def split_rows(table: pa.Table, split: Split, *, target: str, task: str, seed: int) -> Parts:
    """Split a table's rows; the same arguments give the same parts.

    Every part has a row, and the training part every class. Random and stratified: at random
    (within each class, or each fifth of a regression target, to a row or two; lists count by their
    mean). Time: no row is earlier than a row of the part before it; rows of the same time stay
    together. Group: no group is in two parts; sizes are as near to the shares as the groups allow.

    Raises:
        InvalidData: the target is unfit (`check_target`), the rows or groups are too few, or the
            time or group is missing somewhere.
        InvalidPlan: the split's column is not there, or cannot be ordered.
    """
    check_target(table.column(target), task, name=target)
    sizes = _sizes(table.num_rows, split)
    classes = codes(table.column(target)) if task == "classification" else None
    random = np.random.default_rng(seed)
    match split:
        case RandomSplit():
            parts = _cut(_shuffled(random.random(table.num_rows), classes, random), sizes)
        case StratifiedSplit():
            strata = classes if classes is not None else fifths(table.column(target))
            position = _position_in_stratum(strata, random)
            parts = _cut(_shuffled(position, classes, random), sizes)
        case TimeSplit():
            parts = _by_time(_column(table, split.column), sizes, str(split.column))
        case GroupSplit():
            _require_scalars(table, str(split.column))
            groups = codes(_column(table, split.column))
            parts = _by_group(groups, classes, sizes, random, str(split.column))
    if classes is not None:
        _check_classes(table.column(target), classes, parts, target)
    return Parts(*(np.sort(part) for part in parts))


def _sizes(rows: int, split: Split) -> tuple[int, int, int]:
    test = max(1, round(rows * split.test))
    validation = max(1, round(rows * split.validation))
    train = rows - validation - test
    if train < 1:
        raise InvalidData(
            f"{rows} rows are too few to split into train, validation and test.",
            where={"rows": rows},
            remedy="Register more rows.",
        )
    return train, validation, test


def _cut(order: Rows, sizes: tuple[int, int, int]) -> Parts:
    train, validation, _ = sizes
    return Parts(*np.split(order, [train, train + validation]))


def _shuffled(
    position: NDArray[np.float64], classes: Rows | None, random: np.random.Generator
) -> Rows:
    """Rows by position, ties at random, after one random row of each class: it will train."""
    shuffle = random.permutation(len(position))
    position = position.copy()
    if classes is not None:
        _, first = np.unique(classes[shuffle], return_index=True)
        position[shuffle[first]] = -1.0
    return shuffle[np.argsort(position[shuffle], kind="stable")]


def _position_in_stratum(strata: Rows, random: np.random.Generator) -> NDArray[np.float64]:
    """Evenly spaced in [0, 1) within each stratum, in random order and from a random start.

    Cutting all rows at one position then cuts each stratum in the same proportion.
    """
    shuffle = random.permutation(len(strata))
    grouped = shuffle[np.argsort(strata[shuffle], kind="stable")]
    _, starts, counts = np.unique(strata[grouped], return_index=True, return_counts=True)
    rank = np.arange(len(strata)) - np.repeat(starts, counts)
    offset = np.repeat(random.random(len(counts)), counts)
    position = np.empty(len(strata))
    position[grouped] = (rank + offset) / np.repeat(counts, counts)
    return position


def fifths(column: pa.ChunkedArray) -> Rows:
    """(N,) the fifth that each value lies in; a forecast counts by the mean of its steps."""
    if pa.types.is_list(column.type):  # of one length, as `check_target` knows
        values = pc.list_flatten(column).to_numpy().reshape(len(column), -1).mean(axis=1)
    else:
        values = column.to_numpy().astype(np.float64)
    bounds = np.quantile(values, [0.2, 0.4, 0.6, 0.8])
    found: Rows = np.searchsorted(bounds, values, side="left").astype(np.int64)
    return found


def _by_time(column: pa.ChunkedArray, sizes: tuple[int, int, int], name: str) -> Parts:
    if not (pa.types.is_timestamp(column.type) or _is_number(column.type)):
        raise InvalidPlan(
            f"Rows cannot be ordered by {name!r}: it is neither a datetime nor a number.",
            where={"path": "split.column"},
            remedy="Name another column, or register it with the type timestamp[us].",
        )
    values = column.to_numpy()
    order = np.argsort(values, kind="stable")
    _, starts = np.unique(values[order], return_index=True)
    if len(starts) < 3:
        raise InvalidData(
            f"There are {len(starts)} different times: too few for three parts.",
            where={"column": name},
            remedy="Split at random, or by another column.",
        )
    train, validation, _ = sizes
    first = starts[1:-1][np.argmin(np.abs(starts[1:-1] - train))]
    later = starts[starts > first]
    second = later[np.argmin(np.abs(later - (train + validation)))]
    return Parts(*np.split(order, [first, second]))


def _by_group(
    groups: Rows,
    classes: Rows | None,
    sizes: tuple[int, int, int],
    random: np.random.Generator,
    name: str,
) -> Parts:
    """The best of several random assignments that leave no part empty, no class untrained."""
    counts = np.bincount(groups)
    best, least = None, np.inf
    for _ in range(max(1, min(_ORDERS, 100_000 // len(counts)))):
        part_of, missing = _assign(counts, sizes, random)
        off = sum(map(abs, missing))
        if off < least and len(set(part_of.tolist())) == len(sizes):
            rows = part_of[groups]
            if classes is None or len(np.unique(classes[rows == 0])) == classes.max() + 1:
                best, least = rows, off
    if best is None:
        raise InvalidData(
            f"The {len(counts)} groups cannot be dealt out so that no part is empty and every "
            "class is in the training part.",
            where={"column": name},
            remedy="Use a column with more groups, or split at random.",
        )
    return Parts(*(np.flatnonzero(best == part) for part in range(len(sizes))))


def _assign(
    counts: Rows, sizes: tuple[int, int, int], random: np.random.Generator
) -> tuple[Rows, list[int]]:
    """Each group, in random order, to the part that lacks most rows; and what parts still lack.

    The last groups go to parts that have none yet, so that none stays empty.
    """
    missing = list(sizes)
    empty = set(range(len(sizes)))
    part_of = np.empty(len(counts), np.int64)
    for left, group in zip(
        range(len(counts), 0, -1), random.permutation(len(counts)).tolist(), strict=True
    ):
        open_parts = empty if left <= len(empty) else range(len(sizes))
        part = max(open_parts, key=missing.__getitem__)
        empty.discard(part)
        part_of[group] = part
        missing[part] -= int(counts[group])
    return part_of, missing


def _check_classes(column: pa.ChunkedArray, classes: Rows, parts: Parts, target: str) -> None:
    untrained = np.setdiff1d(classes, classes[parts.train])
    if len(untrained):
        row = int(np.flatnonzero(classes == untrained[0])[0])
        raise InvalidData(
            f"No row of the class {column[row].as_py()!r} falls into the training part.",
            where={"column": target, "row": row + 1},
            remedy="Use smaller shares for validation and test, or another kind of split.",
        )


def _column(table: pa.Table, name: str | None) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise InvalidPlan(
            f"There is no column {name!r} to split by.",
            where={"path": "split.column"},
            remedy=f"The columns are: {', '.join(table.column_names)}.",
        )
    column = table.column(name)
    if column.null_count:
        where: dict[str, Any] = {"column": name}
        where["row"] = pc.index(pc.is_null(column), True).as_py() + 1
        raise InvalidData(
            f"{column.null_count:,} rows have no {name!r} to split by.",
            where=where,
            remedy="Fill in these rows, or split by another column.",
        )
    return column


def _require_scalars(table: pa.Table, name: str) -> None:
    if name in table.column_names and pa.types.is_nested(table.schema.field(name).type):
        raise InvalidPlan(
            f"Rows cannot be grouped by {name!r}: it holds lists.",
            where={"path": "split.column"},
            remedy="Name a column with one value for each group.",
        )


def codes(column: pa.ChunkedArray) -> Rows:
    """(N,) 0, 1, ... for the distinct values, which are not missing."""
    encoded = column.combine_chunks().dictionary_encode()
    found: Rows = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
