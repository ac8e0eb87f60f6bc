"""How a version does in a window: measured as far as labels have come, and estimated before."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import SCORES, Outcomes, Score, confusion_matrix
from pellucid.analysis.watching.performance import Found, Minimums, finite, measure, verdict
from pellucid.analysis.watching.signals import Signal, SignalKind, Status
from pellucid.bundle import Manifest
from pellucid.monitoring.checks import estimates
from pellucid.monitoring.checks.answers import Reader, joined
from pellucid.monitoring.checks.sampling import Sample

COLUMNS = ("outputs",)
_MEASURED_VALUES = 2**22  # probabilities of labelled rows that are kept
_MEASURED_ROWS = 500_000
_NO_SIGNAL = {"ece", "mse", "mape"}  # grows as rows get fewer; is rmse squared; has no bound
_MOST_CLASSES = 50  # of the confusion matrix that is kept


@dataclass(frozen=True)
class Measure:
    """A score, its limits, and what it was on held-out rows; None is not known."""

    value: float | None
    low: float | None
    high: float | None
    reference: float | None


@dataclass(frozen=True)
class PerformanceFigures:
    """The numbers behind the signals.

    Attributes:
        predictions: of the window.
        labelled: of them, those that have a label.
        unusable: of those, the ones whose label is none of the model's, or whose answer cannot be
            read.
        delay_median, delay_p90: seconds between request and label.
        measured_on: labelled rows that the scores are taken on: all, or a fair sample.
        estimated_on: rows that the estimates are taken on.
        method: of the estimates.
        effective_rows: how many reference rows the window's like weigh as much as.
        overlap: share of the window's rows that are like any reference row.
        confusion: rows are true classes, columns what the model said.
    """

    predictions: int = 0
    labelled: int = 0
    unusable: int = 0
    delay_median: float | None = None
    delay_p90: float | None = None
    measured_on: int = 0
    measured: dict[str, Measure] = field(default_factory=dict)
    estimated_on: int = 0
    estimated: dict[str, Measure] = field(default_factory=dict)
    method: Literal["", "cbpe", "dle"] = ""
    effective_rows: float | None = None
    overlap: float | None = None
    classes: tuple[str, ...] = ()
    confusion: list[list[int]] | None = None

    @property
    def share(self) -> float:
        """Of the predictions that have a label."""
        return self.labelled / self.predictions if self.predictions else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"share": self.share}


def judge(
    parts: Iterable[pa.RecordBatch],
    manifest: Manifest,
    minimums: Minimums | None = None,
    held_out: Path | None = None,
    sample: Sequence[pa.RecordBatch] = (),
) -> tuple[list[Signal], PerformanceFigures]:
    """Compare a window with the held-out metrics of its version.

    Rows are read once, in bounded memory: scores are exact up to half a million labelled rows, and
    on a fair sample of so many beyond.

    Args:
        parts: what `labelled` gives, with `COLUMNS`.
        manifest: of the version.
        minimums: what an alarm takes.
        held_out: the bundle's sample.parquet; without it there are no estimates.
        sample: some of the window's rows, for the estimates.
    """
    minimums = minimums or Minimums()
    predictions, labelled = _read(parts, manifest)
    rows = labelled.batches()
    median, late = _delays(rows)
    figures = PerformanceFigures(predictions, labelled.seen, delay_median=median, delay_p90=late)
    if not predictions:
        return [], figures
    if manifest.task == "other":
        said = "What its outputs mean is not known: it was made elsewhere."
        return [_labels(Status.ABSENT, said, figures)], figures
    known = estimates.HeldOut.read(held_out, manifest) if held_out else None
    bench = _Bench(_references(manifest, known, minimums), minimums)
    signals, measured = _measured(rows, Reader.of(manifest), bench, figures)
    estimated, more = _estimated(sample, manifest, bench, known) if known else ([], {})
    return signals + estimated, replace(figures, **measured, **more)


@dataclass(frozen=True)
class _Bench:
    """What scores are compared to, and what an alarm takes."""

    references: dict[str, Interval]
    minimums: Minimums

    @property
    def scores(self) -> list[Score]:
        """Those that the version was tested by."""
        return [SCORES[name] for name in self.references]

    def signals(
        self, kind: SignalKind, found: dict[str, Interval], rows: int, unreliable: str = ""
    ) -> list[Signal]:
        """A verdict on each score that was found; measured and estimated ones share the level."""
        among = 2 * len(self.references)
        judged = [score for score in self.scores if score.name in found.keys() - _NO_SIGNAL]
        return [
            verdict(
                Found(kind, score, found[score.name], rows, self.references[score.name], among,
                      unreliable),
                self.minimums,
            )
            for score in judged
        ]  # fmt: skip

    def measures(self, found: dict[str, Interval]) -> dict[str, Measure]:
        """The scores that were found beside what they were."""
        return {
            name: Measure(
                finite(each.value), finite(each.low), finite(each.high),
                finite(self.references[name].value),
            )
            for name, each in found.items()
        }  # fmt: skip


def _read(parts: Iterable[pa.RecordBatch], manifest: Manifest) -> tuple[int, Sample]:
    """How many rows there are, and those that have an answer and a label."""
    classes, predictions = max(1, len(manifest.classes)), 0
    labelled = Sample(max(1_000, min(_MEASURED_ROWS, _MEASURED_VALUES // classes)))
    for part in parts:
        predictions += len(part)
        if "outputs" in part.schema.names:
            there = part.filter(pc.is_valid(part.column("label")))
            labelled.add(there.select(["id", "outputs", "label", "delay"]))
    return predictions, labelled


def _delays(labelled: Sequence[pa.RecordBatch]) -> tuple[float | None, float | None]:
    """The median and the 90th percentile, in seconds."""
    if not labelled:
        return None, None
    delays = [each.column("delay").cast(pa.int64()).to_numpy() / 1e6 for each in labelled]
    found = np.quantile(np.concatenate(delays), (0.5, 0.9))
    return float(found[0]), float(found[1])


def _outcomes(labelled: Sequence[pa.RecordBatch], reader: Reader) -> tuple[Outcomes | None, int]:
    """The labelled rows that can be scored, and how many cannot."""
    found, unusable = [], 0
    for each in labelled:
        outcomes, usable = reader.outcomes(each.column("outputs"), each.column("label").to_pylist())
        unusable += int((~usable).sum())
        if len(outcomes):
            found.append(outcomes)
    return (joined(found) if found else None), unusable


def _measured(
    labelled: Sequence[pa.RecordBatch], reader: Reader, bench: _Bench, figures: PerformanceFigures
) -> tuple[list[Signal], dict[str, Any]]:
    if not figures.labelled:
        said = f"None of the {figures.predictions:,} predictions has a label yet."
        return [_labels(Status.ABSENT, said, figures)], {}
    outcomes, unusable = _outcomes(labelled, reader)
    if outcomes is None:
        said = f"No label of {figures.labelled:,} can be compared with its prediction."
        return [_labels(Status.ABSENT, said, figures)], {"unusable": unusable}
    found = measure(bench.scores, outcomes, confidence=bench.minimums.confidence)
    told = {
        "unusable": unusable,
        "measured_on": len(outcomes),
        "measured": bench.measures(found),
    }
    if reader.classifies and len(reader.truth.classes) <= _MOST_CLASSES:
        told["classes"] = tuple(str(each) for each in reader.truth.classes)
        told["confusion"] = confusion_matrix(outcomes).tolist()
    if len(outcomes) < bench.minimums.labels:
        said = (
            f"{len(outcomes):,} of {figures.predictions:,} predictions have a label that can be "
            f"compared; from {bench.minimums.labels:,} on the performance is judged."
        )
        return [_labels(Status.UNCLEAR, said, figures)], told
    return bench.signals("performance", found, len(outcomes)), told


def _estimated(
    sample: Sequence[pa.RecordBatch], manifest: Manifest, bench: _Bench, known: estimates.HeldOut
) -> tuple[list[Signal], dict[str, Any]]:
    scores = [score for score in bench.scores if score.name in estimates.SCORES]
    confidence = bench.minimums.confidence
    estimate = estimates.estimate(sample, known, manifest, scores, confidence=confidence)
    if estimate is None:
        return [], {}
    signals = bench.signals("estimate", estimate.found, estimate.rows, estimate.unreliable)
    return signals, {
        "estimated_on": estimate.rows,
        "estimated": bench.measures(estimate.found),
        "method": estimate.method,
        "effective_rows": estimate.effective_rows,
        "overlap": estimate.overlap,
    }


def _references(
    manifest: Manifest, known: estimates.HeldOut | None, minimums: Minimums
) -> dict[str, Interval]:
    """The held-out metrics; how certain they are is told by the sample, which is a part of them."""
    scores = [
        score
        for name, score in SCORES.items()
        if score.task == manifest.task and name in manifest.metrics
    ]
    limits: dict[str, Interval] = {}
    if known is not None:
        limits = measure(scores, known.outcomes, confidence=minimums.confidence)
    found = {}
    for score in scores:
        value, near = manifest.metrics[score.name], limits.get(score.name)
        shift = 0.0 if near is None else value - near.value
        low, high = (np.nan, np.nan) if near is None else (near.low + shift, near.high + shift)
        found[score.name] = Interval(value, low, high)
    return found


def _labels(status: Status, summary: str, figures: PerformanceFigures) -> Signal:
    """What there is to say where no score can be judged."""
    return Signal(
        kind="performance",
        subject="labels",
        status=status,
        summary=summary,
        statistic="share",
        current=figures.share,
    )
