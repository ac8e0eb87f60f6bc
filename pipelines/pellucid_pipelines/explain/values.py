"""SHAP values of held-out rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pellucid import plan
from pellucid_pipelines.explain.attributions import Attribution

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """SHAP values inside the raw columns, for one output of each row.

    Attributes:
        modality: image, sequence or text.
        values: (N, *places): images (height, width), with frames in front; sequences (steps,
            columns); texts (tokens,).
        outputs: (N,) which one: the predicted class, or the first value.
        inputs: (N, ...) what the network took.
        pieces: texts: what each token stands for.
    """

    modality: plan.Modality
    values: Floats
    outputs: npt.NDArray[np.int64]
    inputs: npt.NDArray[Any]
    pieces: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Explained:
    """SHAP values of N rows: base + the sum over the columns is the prediction.

    Attributes:
        columns: raw columns.
        outputs: binary: the positive class; more classes: each of them; regression: the target.
        values: (N, columns, outputs).
        base: (outputs,), the mean prediction over the background rows.
        prediction: (N, outputs), the network's raw output; for regression in target units.
        rows: the raw columns of the explained rows.
        method: deep, gradients, exact or permutation.
        unit: of values, base and prediction.
        additivity_error: max |base + sum - prediction| / max |prediction - base|; where the
            network is all but constant, relative to a thousandth of its largest prediction.
        places: values of pixels, steps or tokens, where the inputs are such.
        attribution: what gave them, for the graph that is served.
    """

    columns: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Floats
    base: Floats
    prediction: Floats
    rows: pa.Table
    method: str
    unit: str
    additivity_error: float
    places: Places | None = None
    attribution: Attribution | None = None

    def importance(self) -> dict[str, float]:
        """Mean |SHAP| of each column over rows and outputs, largest first."""
        means = np.abs(self.values).mean(axis=(0, 2))
        return {self.columns[i]: float(means[i]) for i in np.argsort(-means, kind="stable")}
