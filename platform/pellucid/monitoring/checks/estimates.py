"""Estimates of a window's performance, from the bundle's sample and some of the window's rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from pellucid.analysis.calibration import Floats
from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import Outcomes, Score
from pellucid.analysis.watching import estimation
from pellucid.analysis.watching.drift.tables import Rows, Table, tabulate
from pellucid.analysis.watching.estimation import Answers
from pellucid.bundle import Manifest
from pellucid.monitoring.checks.answers import Reader
from pellucid.monitoring.checks.rows import arrays, held_out

SCORES = (
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "log_loss",
    "brier", "mae", "mse", "rmse",
)  # fmt: skip
_FEWEST = 100  # rows of the sample, and of the window
_FEWEST_EFFECTIVE = 50.0
_LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class HeldOut:
    """Rows that the model did not learn from, with their truth.

    Attributes:
        columns: of inputs and outputs, as they are monitored.
    """

    columns: Rows
    outcomes: Outcomes

    @classmethod
    def read(cls, path: Path, manifest: Manifest) -> Self | None:
        """The rows of a bundle's sample.parquet; None where it has no truth.

        Raises:
            InvalidData: the file cannot be read.
        """
        rows = held_out(path)
        if not len(rows) or not {"outputs", "target"} <= set(rows.schema.names):
            return None
        reader = Reader.of(manifest)
        outcomes, usable = reader.outcomes(rows.column("outputs"), _texts(rows.column("target")))
        return cls(arrays([rows.filter(pa.array(usable))], manifest), outcomes)


@dataclass(frozen=True)
class Estimate:
    """What the scores would be, if inputs mean what they meant.

    Attributes:
        rows: of the window that it was taken on.
        effective_rows: of the sample, weighted to look like the window.
        overlap: share of the window's rows that are like any of the sample.
    """

    method: Literal["cbpe", "dle"]
    found: dict[str, Interval]
    rows: int
    effective_rows: float
    overlap: float

    @property
    def unreliable(self) -> str:
        """Why it should not be trusted; "" where it may be."""
        if self.overlap < _LEAST_OVERLAP:
            share = f"Only {self.overlap:.0%} of this window's rows"
            return f"{share} are like any held-out row, so it says little."
        if self.effective_rows < _FEWEST_EFFECTIVE:
            return "Few held-out rows are like this window's, so it says little."
        return ""


def estimate(
    window: Sequence[pa.RecordBatch],
    known: HeldOut,
    manifest: Manifest,
    scores: Sequence[Score],
    *,
    confidence: float = 0.95,
) -> Estimate | None:
    """Estimate the scores of a window.

    Args:
        window: some of its rows, with the log's structs `inputs` and `outputs`.
        known: the version's held-out rows.
        manifest: of the version.
        scores: to be estimated, of `SCORES`.
        confidence: of the limits.

    Returns:
        None where there are too few rows on either side, or nothing to estimate.
    """
    window = [each for each in window if "outputs" in each.schema.names]
    if min(len(known.outcomes), sum(map(len, window))) < _FEWEST or not scores:
        return None
    reader, table = Reader.of(manifest), tabulate(known.columns, arrays(window, manifest))
    weight = np.ones(len(known.outcomes))
    if table.names:
        weight = estimation.density_ratio(table.reference, table.window)
    if reader.classifies:
        answers = _answers(window, reader)
        rows, found = len(answers), _scores(answers, known.outcomes, scores, weight, confidence)
    else:
        rows, found = len(table.window), _errors(table, known.outcomes, scores, confidence)
    method: Literal["cbpe", "dle"] = "cbpe" if reader.classifies else "dle"
    if not found:
        return None
    return Estimate(
        method, found, rows, estimation.effective_rows(weight), estimation.overlap(weight)
    )


def _scores(
    answers: Answers,
    known: Outcomes,
    scores: Sequence[Score],
    weight: Floats,
    confidence: float,
) -> dict[str, Interval]:
    """Of a classifier, by what its probabilities promise; none of too few answers."""
    if len(answers) < _FEWEST:
        return {}
    return estimation.classification(
        scores,
        answers,
        Answers(known.prediction, known.label),
        known.truth,
        positive=known.positive,
        weight=weight,
        confidence=confidence,
    )


def _errors(
    table: Table, known: Outcomes, scores: Sequence[Score], confidence: float
) -> dict[str, Interval]:
    """Of a regression, by how large the error was of rows that are alike."""
    if not table.names:
        return {}
    found = estimation.regression(table.reference, known.error, table.window, confidence=confidence)
    return {score.name: found[score.name] for score in scores}


def _answers(window: Sequence[pa.RecordBatch], reader: Reader) -> Answers:
    """The class and probabilities of each row that has both."""
    read = [reader.answers(each.column("outputs"))[0] for each in window]
    return Answers(
        np.concatenate([each.probability for each in read]),
        np.concatenate([each.label for each in read]),
    )


def _texts(target: pa.Array) -> list[str | None]:
    """A data set's target as labels are told."""

    def told(value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value) if isinstance(value, bool | list) else str(value)

    return [told(each) for each in target.to_pylist()]
