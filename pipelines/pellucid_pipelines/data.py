"""The data of a run: read, split, preprocessed, and ready for the loop."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid import plan
from pellucid.datasets.splits import Parts, split_rows
from pellucid.jobs.workspace import Request
from pellucid.schema import Role, Schema
from pellucid_pipelines import preprocessing, tensors
from pellucid_pipelines.features import Features
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Rows, Target
from pellucid_pipelines.windows import without_overlap

_SAMPLE = 16_384  # rows


@dataclass(frozen=True)
class Data:
    """A table cut into parts, and what was fitted on its training rows.

    Attributes:
        table: every row, raw.
        parts: row indices of train, validation and test.
        weight: (N,) row weights of the whole table, or None.
    """

    table: pa.Table
    parts: Parts
    schema: Schema
    preprocessing: Preprocessing
    target: Target
    weight: np.ndarray | None

    def take(self, rows: np.ndarray) -> pa.Table:
        """Some rows, raw."""
        return self.table.take(pa.array(rows))

    def truth(self, rows: np.ndarray) -> np.ndarray:
        """(N,) class indices or values, or (N, steps ahead) values, of some rows."""
        return self.target.truth(self._column(self.target.name, rows))

    def weights(self, rows: np.ndarray) -> np.ndarray | None:
        """(N,) weights of some rows."""
        return None if self.weight is None else self.weight[rows]

    def rows(self, rows: np.ndarray, class_weights: str = "none") -> Rows:
        """Some rows as tensors, weighted for the loss."""
        targets = self.target.encode(self._column(self.target.name, rows))
        factors = None
        if class_weights == "balanced" and self.target.classes:
            column = self._column(self.target.name, self.parts.train)
            factors = tensors.balanced(self.target.encode(column))
        weights = tensors.loss_weights(targets, self.weights(rows), factors)
        inputs = self.preprocessing(self.preprocessing.encode(self.take(rows)))
        return Rows(inputs, targets, weights)

    def features(self, seed: int) -> Features:
        """What the network takes, with a sample of the training rows."""
        chosen = self.parts.train
        if len(chosen) > _SAMPLE:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, _SAMPLE, replace=False))
        rows = self.preprocessing(self.preprocessing.encode(self.take(chosen)))
        return self.preprocessing.features.with_sample(rows)

    def sensitive(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Sensitive column -> (N,) raw values of some rows."""
        return {
            column.name: self._column(column.name, rows).to_numpy()
            for column in self.schema.having(Role.SENSITIVE)
        }

    def _column(self, name: str, rows: np.ndarray) -> pa.ChunkedArray:
        return self.table[name].take(pa.array(rows))


def read(request: Request, spec: plan.Plan) -> pa.Table:
    """Every row, in the columns that the run uses."""
    windows = spec.data.windows
    keys = [windows.id, windows.time] if windows else []
    groups = [spec.cross_validation.group] if spec.cross_validation else []
    needed = {getattr(spec.split, "column", None), *keys, *groups}
    used = [
        column.name
        for column in request.data_schema.columns
        if column.role != Role.IGNORE or column.name in needed
    ]
    return pq.read_table(request.data_path, columns=used)


def split(table: pa.Table, spec: plan.Plan) -> Parts:
    """Row indices of train, validation and test."""
    assert spec.split is not None, "a resolved plan has a split"
    assert spec.target is not None, "a resolved plan has a target"
    parts = split_rows(
        table, spec.split, target=spec.target, task=spec.task, seed=spec.training.seed
    )
    return without_overlap(parts, table, spec)


def prepare(table: pa.Table, parts: Parts, schema: Schema, spec: plan.Plan) -> Data:
    """Fit preprocessing and target on the training rows.

    Raises:
        InvalidData: the target or the weights cannot be used; see `Target.fit`, `row_weights`.
    """
    train = table.take(pa.array(parts.train))
    name, task = spec.target, spec.task
    assert name is not None, "a resolved plan has a target"
    assert task != "auto", "a resolved plan has a task"
    target = Target.fit(train[name], name, task, spec.positive_class)
    weights = schema.having(Role.WEIGHT)
    weight = tensors.row_weights(table[weights[0].name], weights[0].name) if weights else None
    assert spec.modality != "auto", "a resolved plan has a modality"
    features = schema.having(Role.FEATURE)
    fitted = preprocessing.fit(train, features, spec.preprocessing, spec.modality)
    return Data(table, parts, schema, fitted, target, weight)
