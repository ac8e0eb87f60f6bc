"""Partial dependence and individual conditional expectation, of single columns.

Friedman (Annals of Statistics 2001); Goldstein et al. (JCGS 2015). Interventional: a column's value
is set in every row whatever the others are, as for the SHAP values; rows may arise that never
occur together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pellucid_pipelines.global_explanation.readings import OTHER, Reading, read
from pellucid_pipelines.global_explanation.subject import Floats, Subject

_POINTS = 20
_ENDS = (0.025, 0.975)  # quantiles between which a column is varied
_LEVELS = 10
_ROWS, _FEWEST_ROWS = 200, 30
_FURTHEST = 2.0**62  # microseconds
_COST = 4e10  # operations, of all columns together


@dataclass(frozen=True)
class Dependence:
    """What becomes of predictions as one column changes.

    Attributes:
        reading: the column in the rows.
        grid: (G,) values, rising; codes of categories.
        labels: of the grid's values.
        curves: (G, N, outputs) the response of each row: probabilities or values.
    """

    reading: Reading
    grid: Floats
    labels: tuple[str, ...]
    curves: Floats

    @property
    def mean(self) -> Floats:
        """(G, outputs) the partial dependence."""
        return np.asarray(self.curves.mean(axis=1))

    @property
    def centred(self) -> Floats:
        """(G, N, outputs) each row's curve as a difference from its start."""
        return self.curves - self.curves[:1]


def room(subject: Subject, columns: int) -> int:
    """How many rows the curves of so many columns can be taken on."""
    affordable = subject.affordable(_COST) // (_POINTS * max(1, columns))
    return min(_ROWS, max(_FEWEST_ROWS, affordable))


def dependence(subject: Subject, rows: pa.Table, column: int) -> Dependence | None:
    """Vary a column in raw rows; None where it has one value only."""
    given = subject.preprocessing.inputs[column]
    reading = read(rows[given.name], given).merged(_LEVELS)
    grid, first = _grid(reading)
    if len(grid) < 2:
        return None
    dense = subject.dense(rows)
    others = dense[first] if reading.levels else _encoded(subject, rows, column, grid)
    kept = torch.ones(len(dense), len(subject.columns), dtype=torch.bool)
    kept[:, column] = False
    curves = [
        subject.response(subject.mixed(dense, each.expand_as(dense), kept)) for each in others
    ]
    labels = tuple(reading.written(value) for value in grid)
    return Dependence(reading, grid, labels, np.stack(curves))


def records(found: Dependence, outputs: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of pdp.parquet."""
    low, high = np.quantile(found.centred, (0.1, 0.9), axis=1)
    return [
        {
            "column": found.reading.name,
            "value": found.labels[g],
            "number": None if found.reading.levels else float(found.grid[g]),
            "output": output,
            "mean": float(found.mean[g, k]),
            "centred_q10": float(low[g, k]),
            "centred_q90": float(high[g, k]),
        }
        for g in range(len(found.grid))
        for k, output in enumerate(outputs)
    ]


def _grid(reading: Reading) -> tuple[Floats, np.ndarray]:
    """Values, rising, and of categories a row that has each."""
    if reading.levels:
        codes, first = np.unique(reading.numbers, return_index=True)
        single = [reading.levels[int(code)] != OTHER for code in codes]
        return codes[single], first[single]
    known = reading.numbers[~np.isnan(reading.numbers)]
    values = np.unique(known)
    if len(values) > _POINTS:
        values = np.unique(np.quantile(known, np.linspace(*_ENDS, _POINTS)))
    return values, np.zeros(0, dtype=np.int64)


def _encoded(subject: Subject, rows: pa.Table, column: int, grid: Floats) -> torch.Tensor:
    """(G, *shape) rows that have the grid's values; their other columns do not matter."""
    name = subject.columns[column]
    kind = rows.schema.field(name).type
    if pa.types.is_timestamp(kind):
        moments = np.clip(grid * 1e6, -_FURTHEST, _FURTHEST).astype(np.int64)
        values = pa.array(moments).cast(pa.timestamp("us")).cast(kind)
    else:
        values = pa.array(grid)
    table = rows.take(np.zeros(len(grid), dtype=np.int64))
    return subject.dense(table.set_column(table.column_names.index(name), name, values))
