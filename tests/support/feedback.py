"""Predictions in a log, and what is said of them afterwards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pellucid.bundle import Datatype, Input, Output
from pellucid.monitoring import ids
from pellucid.monitoring.columns import Columns
from pellucid.monitoring.feedback.intake import Feedback
from pellucid.monitoring.feedback.labels import LabelWriter
from pellucid.monitoring.feedback.taking import Given
from pellucid.monitoring.feedback.truths import Truth
from pellucid.schema import Kind
from support.predictions import a_writer, number_at, write

CLASSES = ("bad", "good")
TRUTH = Truth("classification", CLASSES)
OUTPUTS = (
    Output(name="label", datatype=Datatype.BYTES, shape=(-1,)),
    Output(name="probabilities", datatype=Datatype.FP32, shape=(-1, 2)),
)
VALUE = (Output(name="value", datatype=Datatype.FP32, shape=(-1,)),)
INPUTS = (Input.of("amount", Kind.NUMERIC), Input.of("purpose", Kind.CATEGORICAL))
MOMENT = datetime(2026, 11, 21, 18, 10, tzinfo=UTC)


def predict(
    log: Path,
    outputs: Mapping[str, Any],
    *,
    model: str = "credit",
    version: int = 1,
    moment: datetime = MOMENT,
    seconds: float = 0.0,
    inputs: Mapping[str, Any] | None = None,
) -> ids.Words:
    """Record rows with these outputs, spread over some seconds; their ids."""
    rows = len(next(iter(outputs.values())))
    firsts = [number_at(moment.timestamp() + seconds * n / rows, n) for n in range(rows)]
    words = ids.from_numbers(firsts, np.ones(rows, np.int64))
    times = (words[:, 0] >> np.uint64(16)).astype(np.int64) * 1000
    given = inputs or {
        "amount": np.arange(rows, dtype=float),
        "purpose": np.array(["car"] * rows, object),
    }
    told = VALUE if "value" in outputs else OUTPUTS
    columns = Columns(model, version, INPUTS, told)
    writer = a_writer(log)
    write(writer, columns.batch(words, times, np.ones(rows, np.float32), given, outputs))
    writer.close()
    return words


def classified(good: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """The outputs of a classifier that gives these probabilities of the class good."""
    shares = np.asarray(good, np.float32)
    label = np.array(CLASSES, object)[(shares > 0.5).astype(int)]
    return {"label": label, "probabilities": np.stack((1 - shares, shares), axis=1)}


def texts(words: ids.Words) -> list[str]:
    return [ids.text(each) for each in ids.to_arrow(words).to_pylist()]


def given(identities: Iterable[str | None], labels: Iterable[str | None]) -> Given:
    return Given.of(pa.array(list(identities), pa.string()), pa.array(list(labels), pa.string()))


class Desk:
    """A log, labels, and who takes them in."""

    def __init__(
        self, root: Path, truth_of: Callable[[str, int], Truth] = lambda *_: TRUTH, days: int = 0
    ) -> None:
        self.log, self.labels = root / "predictions", root / "labels"
        self.writer = LabelWriter(self.labels, days)
        self.flushed = 0
        self.feedback = Feedback(
            self.log, self.labels, self.writer, truth_of, self._flush, days=days
        )

    def _flush(self) -> None:
        self.flushed += 1

    def take(self, words: ids.Words, labels: Iterable[str | None], source: str = "") -> Any:
        return self.feedback.take(given(texts(words), labels), source)
