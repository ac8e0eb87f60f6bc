"""What a version answered, from the log's `outputs`, as the scores take it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.analysis.scores import Outcomes
from pellucid.analysis.watching.estimation import Answers
from pellucid.bundle import Manifest
from pellucid.monitoring.feedback.truths import Truth
from pellucid.monitoring.profiles.readings import numbers_of


@dataclass(frozen=True)
class Reader:
    """Reads the outputs and labels of one version.

    Attributes:
        positive: with two classes, the index of the positive one.
    """

    truth: Truth
    positive: int | None

    @classmethod
    def of(cls, manifest: Manifest) -> "Reader":
        """For the version with this manifest."""
        names = list(manifest.classes)
        named = manifest.positive_class
        return cls(Truth.of(manifest), names.index(named) if named in names else None)

    @property
    def classifies(self) -> bool:
        """Whether answers are classes with probabilities, and not numbers."""
        return self.truth.task == "classification"

    def answers(self, outputs: pa.StructArray) -> tuple[Answers, NDArray[np.bool_]]:
        """Classes and probabilities; and (N,) which rows have both, those returned."""
        told = fields(outputs)
        names = pa.array([str(each) for each in self.truth.classes], pa.string())
        given = pc.index_in(told["label"].cast(pa.string()), value_set=names).fill_null(-1)
        label = np.asarray(given.to_numpy(zero_copy_only=False), np.int64)
        shares = matrix(told.get("probabilities"), len(outputs), len(names))
        usable = (label >= 0) & np.isfinite(shares).all(1)
        return Answers(shares[usable], label[usable]), usable

    def values(self, outputs: pa.StructArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Numbers (n,), or (n, steps) of a forecast; and (N,) which rows have them."""
        value = fields(outputs).get("value")
        steps = self.truth.steps
        found = matrix(value, len(outputs), steps) if steps else _numbers(value, len(outputs))
        usable = np.asarray(np.isfinite(found.reshape(len(found), -1)).all(1))
        return found[usable], usable

    def outcomes(
        self, outputs: pa.StructArray, labels: list[str | None]
    ) -> tuple[Outcomes, NDArray[np.bool_]]:
        """Rows with their truth, and (N,) which they are: those with an answer and a label."""
        truth, known = self.truth.values(labels)
        if not self.classifies:
            values, usable = self.values(outputs)
            return Outcomes(truth[usable & known], values[known[usable]]), usable & known
        said, usable = self.answers(outputs)
        kept = known[usable]
        told = truth[usable & known].astype(np.int64)
        outcomes = Outcomes(told, said.probability[kept], self.positive, said.label[kept])
        return outcomes, usable & known


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Outcomes of one version, one after the other."""
    truth = np.concatenate([each.truth for each in parts])
    prediction = np.concatenate([each.prediction for each in parts])
    decided = [each.decided for each in parts if each.decided is not None]
    return Outcomes(
        truth, prediction, parts[0].positive, np.concatenate(decided) if decided else None
    )


def fields(struct: pa.StructArray) -> dict[str, Any]:
    """The columns of a struct, by name."""
    names = [field.name for field in struct.type]
    return dict(zip(names, struct.flatten(), strict=True))


def _numbers(values: Any, rows: int) -> NDArray[np.float64]:
    kind = None if values is None else values.type
    if kind is None or not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return np.full(rows, np.nan)
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def matrix(values: Any, rows: int, columns: int) -> NDArray[np.float64]:
    """Lists as (rows, columns); NaN where there is none of so many numbers."""
    absent = np.full((rows, columns), np.nan)
    if values is not None and pa.types.is_struct(values.type):  # more than a list has
        found = numbers_of(values)
        return found.astype(np.float64) if found.shape == absent.shape else absent
    if values is None or not pa.types.is_list(values.type):
        return absent
    lengths = pc.list_value_length(values).fill_null(0).to_numpy()
    fits = lengths == columns
    flat = values.filter(pa.array(fits)).flatten().cast(pa.float64())
    absent[fits] = flat.to_numpy(zero_copy_only=False).reshape(-1, columns)
    return absent
