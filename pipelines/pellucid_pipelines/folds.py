"""Dealing rows out to the folds of a cross-validation, with scikit-learn's splitters."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from pellucid import plan
from pellucid.datasets.splits import codes, fifths
from pellucid.errors import InvalidData
from pellucid_pipelines.tensors import seed_of

Indices = NDArray[np.int64]


class Fold(NamedTuple):
    """Row indices, ascending: those that a network learns from, and those held out from it."""

    train: Indices
    held: Indices


def deal(
    table: pa.Table, rows: Indices, spec: plan.Plan, count: int, purpose: str = "folds"
) -> list[Fold]:
    """Deal some rows out to `count` folds; each row is held out once.

    kfold: at random. stratified: each class, or fifth of a regression target, in equal shares.
    group: no group in two folds, and classes as even as the groups allow.

    Args:
        table: of which `rows` are indices.
        rows: that are dealt out.
        spec: resolved; its cross-validation says how.
        count: of folds.
        purpose: different purposes are dealt out differently under the same seed.

    Raises:
        InvalidData: the rows, groups or rows of a class are too few.
    """
    chosen = spec.cross_validation
    assert chosen is not None, "folds belong to a cross-validation"
    column = table[str(spec.target)].take(pa.array(rows))
    classes = codes(column) if spec.task == "classification" else None
    groups = None
    if chosen.kind == "group":
        groups = codes(_complete(table[str(chosen.group)].take(pa.array(rows)), chosen.group))
    strata = fifths(column) if classes is None else classes
    _require_enough(len(rows), classes if chosen.kind == "stratified" else None, groups, count)
    splitter = _splitter(chosen.kind, count, spec.training.seed, purpose, classes is not None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # checked below
        folds = [
            Fold(rows[np.sort(train)], rows[np.sort(held)])
            for train, held in splitter.split(rows, strata, groups)
        ]
    if classes is not None:
        _require_classes(column, folds, rows)
    return folds


def _splitter(kind: str | None, count: int, seed: int, purpose: str, classification: bool) -> Any:
    chosen: Any = KFold
    if kind == "stratified":
        chosen = StratifiedKFold
    elif kind == "group":
        chosen = StratifiedGroupKFold if classification else GroupKFold
    return chosen(count, shuffle=True, random_state=seed_of(purpose, seed) % 2**32)


def _require_enough(rows: int, classes: Indices | None, groups: Indices | None, count: int) -> None:
    found = {"rows": rows}
    if classes is not None:
        found["rows of the rarest class"] = int(np.bincount(classes).min())
    if groups is not None:
        found["groups"] = int(groups.max()) + 1
    for name, number in found.items():
        if number < count:
            raise InvalidData(
                f"{count} folds need at least {count} {name}; there are {number}.",
                where={"path": "cross_validation"},
                remedy="Ask for fewer folds, or another kind of cross-validation.",
            )


def _require_classes(column: pa.ChunkedArray, folds: list[Fold], rows: Indices) -> None:
    every = pc.unique(column)
    for number, fold in enumerate(folds, start=1):
        trained = pc.unique(column.take(pa.array(np.searchsorted(rows, fold.train))))
        missing = every.filter(pc.invert(pc.is_in(every, value_set=trained)))
        if len(missing):
            raise InvalidData(
                f"All rows of the class {missing[0].as_py()!r} are held out in fold {number}.",
                where={"path": "cross_validation"},
                remedy="Use a stratified cross-validation, or add rows of that class.",
            )


def _complete(column: pa.ChunkedArray, name: str | None) -> pa.ChunkedArray:
    if column.null_count:
        raise InvalidData(
            f"{column.null_count:,} rows have no {name!r} to group by.", where={"column": name}
        )
    return column
