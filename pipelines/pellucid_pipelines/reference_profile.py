"""The bundle's reference profile and sample: what monitoring compares live rows to.

Rows are brought into the form that they will have in the prediction log, and are read as monitoring
reads that, so that the reference and what is compared to it cannot differ by how they were made.
Inputs are those of training rows; outputs are what model.onnx gives for held-out rows.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid import bundle
from pellucid.analysis.watching.binning import bins_of_numbers, bins_of_strings
from pellucid.analysis.watching.counting import as_numbers, count, is_text
from pellucid.analysis.watching.profiles import Bins, Profile
from pellucid.analysis.watching.sketches import sketch_numbers, sketch_strings
from pellucid.bundle import Input, Manifest
from pellucid.monitoring.arrays import unpacked
from pellucid.monitoring.columns import COMMON, Columns
from pellucid.monitoring.profiles.contents import light
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.readings import LABEL
from pellucid.monitoring.profiles.windows import columns_of, groups_in
from pellucid.plan import Plan
from pellucid.schema import Kind
from pellucid_pipelines.data import Data, drawn
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.preprocessing.tabular import texts_of
from pellucid_pipelines.tensors import seed_of

_TRAINING_ROWS, _HELD_OUT_ROWS, _SAMPLE_ROWS = 200_000, 50_000, 10_000  # at most
_VALUES = 2**25  # of training rows that are held at once
_DECODED = 2**31  # bytes of images, sequences and tokens that are read for the profile,
_PIECE = 2**26  # and held at once
_PIECE_ROWS = 2**16
_FEWEST_ROWS = 16

Column = Any
"""(rows,) numbers as a NumPy or an Arrow array, or strings as an Arrow one."""


def write(
    manifest: Manifest, examples: Data, explained: Explained, spec: Plan, directory: Path
) -> None:
    """Write profile.json and sample.parquet beside model.onnx.

    Columns that the plan's `serving.log.redact` names are in neither.

    Args:
        manifest: of the bundle that is being made.
        examples: all rows.
        explained: tells how much each column matters.
        spec: the resolved plan.
        directory: of the bundle.
    """
    rows = LoggedRows(manifest, examples, spec.serving.log.redact, directory)
    seed = seed_of("reference profile", spec.training.seed)
    train, held = examples.parts.train, examples.parts.test
    inputs = rows.inputs(drawn(train, rows.affordable(_TRAINING_ROWS, _DECODED), seed))
    held_out = rows.outputs(drawn(held, rows.affordable(_HELD_OUT_ROWS, _DECODED), seed))
    bins = {name: _bins(column) for name, column in inputs.items()}
    ReferenceProfile(
        inputs=count(inputs, bins),
        outputs=held_out,
        importance=_importance(explained, bins),
        sketches={name: _sketches(column) for name, column in inputs.items()},
        grouping=rows.grouping,
    ).save(directory / bundle.PROFILE)
    chosen = drawn(held, rows.affordable(_SAMPLE_ROWS, _DECODED), seed)
    pq.write_table(rows.sample(chosen), directory / bundle.SAMPLE)


class LoggedRows:
    """Rows of the data set as they would stand in the prediction log, and what is read of them."""

    def __init__(
        self, manifest: Manifest, examples: Data, redacted: Sequence[str], directory: Path
    ) -> None:
        self._manifest, self._examples = manifest, examples
        self._redacted, self._model = redacted, directory / bundle.MODEL
        inputs = manifest.inputs
        self._sensitive = [each for each in manifest.sensitive if each.name not in redacted]
        self._asked = Columns(manifest.name, 0, inputs, (), redacted)
        self._answered = Columns(
            manifest.name, 0, inputs, manifest.outputs, redacted, self._sensitive
        )
        self._row_bytes = sum(8 * math.prod(each.shape) for each in inputs)
        self._values = sum(1 if each.scalar else 3 for each in inputs)
        self.grouping = {each.name: each for each in self._sensitive}

    def affordable(self, rows: int, size: int) -> int:
        """How many of so many rows take so many bytes, and a bounded number of values."""
        most = min(size // max(1, self._row_bytes), _VALUES // max(1, self._values))
        return max(_FEWEST_ROWS, min(rows, most))

    def inputs(self, rows: np.ndarray) -> dict[str, Column]:
        """What monitoring reads of the rows' inputs."""
        return _joined([columns_of(each) for each in self._batches(rows, answered=False)])

    def outputs(self, rows: np.ndarray) -> Profile:
        """The profile of what the model gives for the rows, by sensitive group as well."""
        classes = tuple(map(str, self._manifest.classes))
        read, groups = [], []
        for batch in self._batches(rows, answered=True):
            kept = batch.select(["outputs"])
            read.append(columns_of(kept, classes))
            groups.append(groups_in(batch, self.grouping))
        outputs = _joined(read)
        bins = {
            name: _bins(column, classes if name == LABEL else ())
            for name, column in outputs.items()
        }
        named = {
            name: np.concatenate([each[name] for each in groups])
            for name in self.grouping
            if all(name in each for each in groups)
        }
        return count(outputs, bins, groups=named, grouped=tuple(bins))

    def sample(self, rows: np.ndarray) -> pa.Table:
        """The rows as they are sampled from the log, with `target` as the data set has it."""
        inputs = self._manifest.inputs
        batches = [light(each, inputs) for each in self._batches(rows, answered=True)]
        logged = pa.Table.from_batches(batches)
        logged = logged.drop_columns([field.name for field in COMMON])
        if self._manifest.target in self._redacted:
            return logged
        target = self._examples.take(rows)[self._manifest.target]
        return logged.append_column("target", target)

    def _batches(self, rows: np.ndarray, *, answered: bool) -> Iterator[pa.RecordBatch]:
        each = self.affordable(_PIECE_ROWS, _PIECE)
        for start in range(0, max(1, len(rows)), each):
            yield unpacked(self._batch(rows[start : start + each], answered))

    def _batch(self, rows: np.ndarray, answered: bool) -> pa.RecordBatch:
        from pellucid_pipelines.export import raw_inputs, run_onnx  # ONNX: seconds

        table = self._examples.take(rows)
        none = np.zeros((len(rows), 2), np.uint64), np.zeros(len(rows), np.int64)
        common = (*none, np.zeros(len(rows), np.float32))
        inputs = raw_inputs(table, self._manifest.inputs, self._examples.preprocessing.tokenizer)
        whole = inputs | _texts(table, self._manifest.inputs)
        if not answered:
            return self._asked.batch(*common, whole, {})
        sensitive = raw_inputs(table, tuple(self._sensitive))
        sensitive |= _texts(table, self._sensitive)
        outputs = run_onnx(self._model, inputs)
        return self._answered.batch(*common, whole, outputs, sensitive)


def _texts(table: pa.Table, inputs: Sequence[Input]) -> dict[str, np.ndarray]:
    """Categories at their full length, as the log has them."""
    return {
        each.name: np.array(texts_of(table[each.name]).to_pylist(), dtype=object)
        for each in inputs
        if each.kind is Kind.CATEGORICAL
    }


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Column]:
    """The columns of all parts that can be counted: numbers and strings."""
    found = {}
    for name in parts[0]:
        columns = [each[name] for each in parts if name in each]
        if isinstance(columns[0], np.ndarray):
            found[name] = np.concatenate(columns)
        elif not (pa.types.is_nested(columns[0].type) or pa.types.is_binary(columns[0].type)):
            found[name] = pa.concat_arrays(columns)
    return found


def _bins(column: Column, classes: Sequence[str] = ()) -> Bins:
    if not is_text(column):
        return bins_of_numbers(as_numbers(column)[0])
    return bins_of_strings(_counts(column), classes)


def _sketches(column: Column) -> dict[str, str]:
    return (
        sketch_strings(_counts(column))
        if is_text(column)
        else sketch_numbers(as_numbers(column)[0])
    )


def _counts(column: pa.Array) -> dict[str, int]:
    values, counts = column.value_counts().flatten()
    pairs = zip(values.to_pylist(), counts.to_pylist(), strict=True)
    return {value: count for value, count in pairs if value}


def _importance(explained: Explained, columns: Iterable[str]) -> dict[str, float]:
    """Each column's share of all mean |SHAP values|; NAME.length and such have that of NAME."""
    means = explained.importance()
    total = sum(means.values()) or 1.0
    shares = {name: value / total for name, value in means.items()}
    return {name: shares.get(name, shares.get(name.rpartition(".")[0], 0.0)) for name in columns}
