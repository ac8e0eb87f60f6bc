"""Estimates of a window's performance, from the bundle's sample and some of the window's rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.analysis.calibration import Floats
from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import Outcomes, Score
from pellucid.analysis.watching import estimation
from pellucid.analysis.watching.drift.tables import Rows, tabulate
from pellucid.analysis.watching.estimation import Answers
from pellucid.errors import InvalidData
from pellucid.monitoring.checks.answers import Reader
from pellucid.monitoring.profiles.windows import columns_of

ROWS = 5_000  # of a window that are looked at, at most
SCORES = (
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "log_loss",
    "brier", "mae", "mse", "rmse",
)  # fmt: skip
_FEWEST = 100  # rows of the sample, and of the window
_FEWEST_EFFECTIVE = 50.0


@dataclass(frozen=True)
class HeldOut:
    """Rows that the model did not learn from, with their truth.

    Attributes:
        columns: of inputs and outputs, as they are monitored.
    """

    columns: Rows
    outcomes: Outcomes

    @classmethod
    def read(cls, path: Path, reader: Reader) -> Self | None:
        """The rows of a bundle's sample.parquet; None where it has no truth.

        Raises:
            InvalidData: the file cannot be read.
        """
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise InvalidData(
                f"The sample cannot be read: {error}.", where={"file": str(path)}
            ) from error
        if "target" not in table.column_names or "outputs" not in table.column_names:
            return None
        table = table.combine_chunks()
        outputs = pa.concat_arrays(table.column("outputs").chunks) if len(table) else None
        if outputs is None:
            return None
        outcomes, usable = reader.outcomes(outputs, _texts(table.column("target")))
        kept = table.filter(pa.array(usable)).drop_columns(["target"]).combine_chunks()
        columns = _rows(kept.to_batches(), reader) if len(kept) else {}
        return cls(columns, outcomes)


@dataclass(frozen=True)
class Estimate:
    """What the scores would be, if inputs mean what they meant.

    Attributes:
        rows: of the window that it was taken on.
        effective_rows: of the sample, weighted to look like the window.
        unreliable: why it should not be trusted; "" otherwise.
    """

    method: Literal["cbpe", "dle"]
    found: dict[str, Interval]
    rows: int
    effective_rows: float
    unreliable: str = ""


def estimate(
    window: Sequence[pa.RecordBatch],
    held_out: HeldOut,
    reader: Reader,
    scores: Sequence[Score],
    *,
    confidence: float = 0.95,
) -> Estimate | None:
    """Estimate the scores of a window.

    Args:
        window: some of its rows, with the log's structs `inputs` and `outputs`.
        held_out: the version's sample.
        reader: of the version's outputs.
        scores: to be estimated, of `SCORES`.
        confidence: of the limits.

    Returns:
        None where there are too few rows on either side, or nothing to estimate.
    """
    window = [each for each in window if "outputs" in each.schema.names]
    sizes = len(held_out.outcomes), sum(map(len, window))
    if min(sizes) < _FEWEST or not scores:
        return None
    columns = tabulate(held_out.columns, _rows(window, reader))
    weight = np.ones(sizes[0])
    if columns.names:
        weight = estimation.density_ratio(columns.reference, columns.window)
    effective = estimation.effective_rows(weight)
    unreliable = (
        "Few held-out rows are like this window's, so it says little."
        if effective < _FEWEST_EFFECTIVE
        else ""
    )
    if not reader.classifies:
        if not columns.names:
            return None
        error = held_out.outcomes.error
        found = estimation.regression(
            columns.reference, error, columns.window, confidence=confidence
        )
        found = {score.name: found[score.name] for score in scores}
        return Estimate("dle", found, sizes[1], effective, unreliable)
    said = [reader.answers(each.column("outputs"))[0] for each in window]
    answers = Answers(
        np.concatenate([each.probability for each in said]),
        np.concatenate([each.label for each in said]),
    )
    if len(answers) < _FEWEST:
        return None
    known = held_out.outcomes
    found = estimation.classification(
        scores,
        answers,
        Answers(known.prediction, known.label),
        known.truth,
        positive=reader.positive,
        weight=weight,
        confidence=confidence,
    )
    return Estimate("cbpe", found, len(answers), effective, unreliable)


def _rows(batches: Sequence[pa.RecordBatch], reader: Reader) -> dict[str, Floats | Any]:
    """Columns that all batches have, as NumPy has them."""
    classes = tuple(str(each) for each in reader.truth.classes)
    read = [columns_of(each, classes) for each in batches]
    names = [name for name in read[0] if all(name in each for each in read)]
    found = {name: [_plain(each[name]) for each in read] for name in names}
    return {
        name: np.concatenate([part.astype(object) for part in parts])
        if len({part.dtype for part in parts}) > 1
        else np.concatenate(parts)
        for name, parts in found.items()
        if all(part.ndim == 1 and part.dtype.kind in "biufMO" for part in parts)
    }


def _plain(column: Any) -> np.ndarray:
    if isinstance(column, np.ndarray):
        return column
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return np.empty((len(column), 0))
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _texts(target: pa.ChunkedArray) -> list[str | None]:
    """A data set's target as labels are told."""
    import json

    def told(value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value) if isinstance(value, bool | list) else str(value)

    return [told(each) for each in target.to_pylist()]
