"""The data of a run: read, split, preprocessed, and ready for the loop."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from pellucid import plan
from pellucid.datasets.splits import Parts, split_rows
from pellucid.jobs.workspace import Request
from pellucid.schema import Role, Schema
from pellucid_pipelines import preprocessing, tensors
from pellucid_pipelines.distributed import World
from pellucid_pipelines.features import Features
from pellucid_pipelines.mapped import Mapped, release, rewrite
from pellucid_pipelines.mitigation import Groups, check, reweighing
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.rows import Rows, Source
from pellucid_pipelines.streaming import Streamed
from pellucid_pipelines.tensors import Target, seed_of
from pellucid_pipelines.windows import without_overlap

_SAMPLE = 16_384  # rows
_ENCODED = 2**26  # bytes of inputs that are encoded at once
# Of a table that is streamed:
_FITTED = 500_000  # most training rows that preprocessing learns from
_HELD_OUT = 200_000  # most rows of validation, and of test
_TOGETHER = 2**28  # bytes of such rows at most


@dataclass(frozen=True)
class Data:
    """A table cut into parts, and what was fitted on its training rows.

    Attributes:
        table: every row, raw; in memory, or mapped from the disk.
        parts: row indices of train, validation and test.
        weight: (N,) row weights of the whole table, or None.
        groups: of the whole table's rows, where the plan names any.
        factors: (N,) what rows weigh in the loss alone, times their weights, or None.
    """

    table: pa.Table | Mapped
    parts: Parts
    schema: Schema
    preprocessing: Preprocessing
    target: Target
    weight: np.ndarray | None
    groups: Groups | None = None
    factors: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> pa.Table:
        """Some rows, raw."""
        return self.table.take(pa.array(rows))

    def sample(self, rows: np.ndarray, count: int, seed: int) -> pa.Table:
        """At most `count` of some rows, raw."""
        return self.take(drawn(rows, count, seed))

    def truth(self, rows: np.ndarray) -> np.ndarray:
        """(N,) class indices or values, or (N, steps ahead) values, of some rows."""
        return self.target.truth(self._column(self.target.name, rows))

    def weights(self, rows: np.ndarray) -> np.ndarray | None:
        """(N,) weights of some rows."""
        return None if self.weight is None else self.weight[rows]

    def rows(self, rows: np.ndarray, class_weights: str = "none") -> Rows:
        """Some rows as tensors, weighted for the loss."""
        return Rows(self._inputs(rows), *self._compared(rows, class_weights))

    def source(self, rows: np.ndarray, class_weights: str = "none") -> Source:
        """Some rows to learn from: as tensors, or streamed where the table is mapped."""
        if not isinstance(self.table, Mapped):
            return self.rows(rows, class_weights)
        places = np.sort(rows)
        compared = self._compared(places, class_weights)
        release()
        return Streamed(self._inputs, places, self.table.block, *compared)

    def _compared(
        self, rows: np.ndarray, class_weights: str
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Targets, weights and groups of some rows."""
        targets = self.target.encode(self._column(self.target.name, rows))
        factors = None
        if class_weights == "balanced" and self.target.classes:
            column = self._column(self.target.name, self.parts.train)
            factors = tensors.balanced(self.target.encode(column))
        weights = self.weights(rows)
        if self.factors is not None:
            weights = self.factors[rows] * (1.0 if weights is None else weights)
        groups = None if self.groups is None else torch.from_numpy(self.groups.codes[rows])
        return targets, tensors.loss_weights(targets, weights, factors), groups

    def _inputs(self, rows: np.ndarray) -> Tensor:
        """(n, *shape), encoded a part at a time, so that little else is held beside them."""
        each = max(1, _ENCODED // (8 * math.prod(self.preprocessing.features.shape)))
        first = self._encoded(rows[:each])
        if len(rows) <= each:
            return first
        inputs = first.new_empty(len(rows), *first.shape[1:])
        inputs[:each] = first
        for start in range(each, len(rows), each):
            inputs[start : start + each] = self._encoded(rows[start : start + each])
        return inputs

    def _encoded(self, rows: np.ndarray) -> Tensor:
        encoded: Tensor = self.preprocessing(self.preprocessing.encode(self.take(rows)))
        return encoded

    def features(self, seed: int) -> Features:
        """What the network takes, with a sample of the training rows."""
        most = _SAMPLE
        if isinstance(self.table, Mapped):
            most = min(most, _room(self.table, self.preprocessing))
        chosen = self.parts.train
        if len(chosen) > most:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
        return self.preprocessing.features.with_sample(self._inputs(chosen))

    def sensitive(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Sensitive column -> (N,) raw values of some rows."""
        return {
            column.name: self._column(column.name, rows).to_numpy()
            for column in self.schema.having(Role.SENSITIVE)
        }

    def _column(self, name: str, rows: np.ndarray) -> pa.ChunkedArray:
        return self.table.column(name).take(pa.array(rows))


def columns(request: Request, spec: plan.Plan) -> list[str]:
    """The columns that the run uses."""
    windows = spec.data.windows
    keys = [windows.id, windows.time] if windows else []
    groups = [spec.cross_validation.group] if spec.cross_validation else []
    needed = {getattr(spec.split, "column", None), *keys, *groups}
    return [
        column.name
        for column in request.data_schema.columns
        if column.role != Role.IGNORE or column.name in needed
    ]


def read(
    request: Request,
    spec: plan.Plan,
    scratch: Path | None = None,
    world: World = World(),  # noqa: B008 - immutable
) -> pa.Table | Mapped:
    """Every row, in the columns that the run uses; mapped, where the plan streams them.

    Args:
        request: names the Parquet file.
        spec: the resolved plan.
        scratch: where a mapped file has room; by default a temporary directory.
        world: of several processes one writes the file.

    Raises:
        StorageFull: it does not fit there.
    """
    if spec.training.data_in == "stream":
        if scratch is not None:
            return _mapped(request, spec, scratch, world)
        with tempfile.TemporaryDirectory(prefix="pellucid-") as temporary:
            return _mapped(request, spec, Path(temporary), world)
    # Not buffered whole first: that would take the memory twice.
    return pq.read_table(request.data_path, columns=columns(request, spec), pre_buffer=False)


def _mapped(request: Request, spec: plan.Plan, scratch: Path, world: World) -> Mapped:
    parquet, target = Path(request.data_path), scratch / "rows.arrow"
    if world.leads:
        rewrite(parquet, target, columns(request, spec))
    world.wait()
    table = Mapped(target, parquet)
    world.wait()
    if world.leads:
        target.unlink()  # it lasts as long as it is mapped, however this process ends
    return table


def split(table: pa.Table | Mapped, spec: plan.Plan) -> Parts:
    """Row indices of train, validation and test; with folds there is no part for validation."""
    assert spec.split is not None, "a resolved plan has a split"
    assert spec.target is not None, "a resolved plan has a target"
    parts = split_rows(
        table, spec.split, target=spec.target, task=spec.task, seed=spec.training.seed
    )
    parts = without_overlap(parts, table, spec)
    if spec.cross_validation is None:
        return parts
    learnt = np.sort(np.concatenate([parts.train, parts.validation]))
    return Parts(learnt, parts.validation[:0], parts.test)


def prepare(table: pa.Table | Mapped, parts: Parts, schema: Schema, spec: plan.Plan) -> Data:
    """Fit preprocessing and target on the training rows.

    Of a mapped table, preprocessing learns from a sample of the training rows, and validation and
    test are samples of themselves: what is held out is held in memory.

    Raises:
        InvalidData: the target, the weights or the groups cannot be used; see `Target.fit`,
            `row_weights`, `Groups.fit`.
    """
    name, task = spec.target, spec.task
    assert name is not None, "a resolved plan has a target"
    assert task != "auto", "a resolved plan has a task"
    assert spec.modality != "auto", "a resolved plan has a modality"
    seed = spec.training.seed
    train = table.take(pa.array(_fitted(table, parts.train, seed)))
    column = table.column(name).take(pa.array(parts.train))
    target = Target.fit(column, name, task, spec.positive_class)
    weights = schema.having(Role.WEIGHT)
    weight = (
        tensors.row_weights(table.column(weights[0].name), weights[0].name) if weights else None
    )
    features = schema.having(Role.FEATURE)
    fitted = preprocessing.fit(train, features, spec.preprocessing, spec.modality)
    groups, factors = _fair(table, parts, schema, spec, target, weight)
    if isinstance(table, Mapped):
        most = min(_HELD_OUT, _room(table, fitted))
        held = (drawn(rows, most, seed_of("held out", seed)) for rows in parts[1:])
        parts = Parts(parts.train, *held)
        del train, column
        release()
    return Data(table, parts, schema, fitted, target, weight, groups, factors)


def _fair(
    table: pa.Table | Mapped,
    parts: Parts,
    schema: Schema,
    spec: plan.Plan,
    target: Target,
    weight: np.ndarray | None,
) -> tuple[Groups | None, np.ndarray | None]:
    """The groups that the plan names, and by what their rows are reweighed."""
    if spec.fairness is None:
        return None, None
    check(spec.fairness, target)
    groups = Groups.fit(table, parts.train, schema, spec.fairness)
    truth = target.truth(table.column(target.name))
    match spec.fairness.mitigation:
        case plan.Reweighing():
            return groups, reweighing.factors(groups, truth, parts.train, weight)
        case plan.Thresholds():  # told before training, and not after it
            yes = truth[parts.validation] == target.positive
            groups.compared(parts.validation, yes, spec.fairness.min_rows)
    return groups, None


def drawn(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most `count` of some rows, in their order."""
    if len(rows) <= count:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    return rows[np.sort(chosen)]


def _fitted(table: pa.Table | Mapped, train: np.ndarray, seed: int) -> np.ndarray:
    """The rows that preprocessing learns from."""
    if not isinstance(table, Mapped):
        return train
    most = min(_FITTED, max(1, int(_TOGETHER / max(1.0, table.row_bytes))))
    return drawn(train, most, seed_of("preprocessing", seed))


def _room(table: Mapped, fitted: Preprocessing) -> int:
    """How many rows are held in memory at once, raw and encoded."""
    size = 1 if fitted.features.modality == "image" else 4
    encoded = size * math.prod(fitted.features.shape)
    return max(1, int(_TOGETHER / max(table.row_bytes, encoded, 1.0)))
