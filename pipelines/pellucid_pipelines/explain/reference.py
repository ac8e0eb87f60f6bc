"""What counterfactuals need to know of each column, so that serving needs no training rows."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.bundle import ColumnReference, Input
from pellucid.schema import Change, Constraint, Kind, Schema, StorageType
from pellucid_pipelines.data import Data, drawn

_QUANTILES = np.linspace(0, 1, 21)
_ROWS = 100_000
_MICROSECONDS = 1e6  # of a second: times are served in seconds


def learnt_reference(examples: Data, seed: int) -> dict[str, ColumnReference]:
    """The reference of a run's inputs, from its training rows or a sample of them."""
    inputs = [each for each in examples.preprocessing.inputs if each.scalar]
    rows = pa.array(drawn(examples.parts.train, _ROWS, seed))
    columns = {each.name: examples.table.column(each.name).take(rows) for each in inputs}
    return reference(pa.table(columns), inputs, examples.schema)


def reference(
    table: pa.Table, inputs: Sequence[Input], schema: Schema
) -> dict[str, ColumnReference]:
    """Input -> what a counterfactual may make of it; scalar inputs only, no texts.

    Args:
        table: the training rows, or a sample of them.
        inputs: of the model; a category that it does not know is no candidate.
        schema: tells the constraints.
    """
    names = schema.names
    return {
        each.name: _reference(table[each.name], each, schema[each.name].constraint)
        for each in inputs
        if each.scalar and each.name in names and schema[each.name].type is not StorageType.LIST
    }


def _reference(
    column: pa.ChunkedArray, each: Input, constraint: Constraint | None
) -> ColumnReference:
    # A time is what it is: only who says so lets it change.
    default = Constraint(change=Change.NEVER if each.kind is Kind.DATETIME else Change.FREE)
    found = constraint or default
    limits = {"change": found.change.value, "low": found.low, "high": found.high}
    if each.kind is Kind.CATEGORICAL:
        return ColumnReference(**limits, categories=_categories(column, set(each.categories)))
    values = _numbers(column)
    if not len(values):
        return ColumnReference(**limits)
    return ColumnReference(
        **limits,
        quantiles=tuple(np.quantile(values, _QUANTILES, method="inverted_cdf").tolist()),
        whole=bool(np.all(values == np.round(values))),
        mad=float(np.abs(values - np.median(values)).mean()),
    )


def _categories(column: pa.ChunkedArray, known: set[str]) -> tuple[str, ...]:
    """Known categories, the most frequent first."""
    counted = pc.value_counts(column.drop_null()).to_pylist()
    pairs = [(-item["counts"], item["values"]) for item in counted if item["values"] in known]
    return tuple(name for _, name in sorted(pairs))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """(n,) the values that are there, as the model takes them."""
    column = column.drop_null()
    if pa.types.is_timestamp(column.type):
        seconds: NDArray[np.float64] = column.cast(pa.int64()).to_numpy() / _MICROSECONDS
        return seconds
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    finite: NDArray[np.float64] = values[np.isfinite(values)]
    return finite
