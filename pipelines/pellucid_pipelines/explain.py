"""SHAP values on held-out rows, in the user's raw columns.

A raw column is one feature, however many numbers it becomes inside: with DeepSHAP the values of
its block are added up, with permutations its whole block is replaced at once. That is exact,
because preprocessing treats each column by itself.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines import attribution
from pellucid_pipelines.attribution import Floats
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Target

ADDITIVE = 1e-4  # `auto` leaves DeepSHAP where its values miss the prediction by more than this


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
        method: deep or permutation.
        unit: of values, base and prediction.
        additivity_error: max |base + sum - prediction| / max |prediction - base|; where the
            network is all but constant, relative to a thousandth of its largest prediction.
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

    def importance(self) -> dict[str, float]:
        """Mean |SHAP| of each column over rows and outputs, largest first."""
        means = np.abs(self.values).mean(axis=(0, 2))
        return {self.columns[i]: float(means[i]) for i in np.argsort(-means, kind="stable")}


def explain(
    network: nn.Module,
    preprocessing: Preprocessing,
    target: Target,
    background: pa.Table,
    rows: pa.Table,
    spec: plan.Explanation,
    seed: int,
) -> Explained:
    """Explain a sample of `rows` against a sample of `background`.

    Works on a copy of the network in float64 on the CPU, where DeepSHAP adds up to rounding.

    Args:
        network: dense (N, width) -> raw (N, outputs).
        preprocessing: as fitted.
        target: as fitted.
        background: training rows.
        rows: held-out rows.
        spec: method and sample sizes. `auto` takes DeepSHAP (Lundberg and Lee, 2017) where it
            knows every module and its values add up, else permutations.
        seed: of both samples and of the permutations.
    """
    names = [column.name for column in preprocessing.inputs]
    rows = _sample(rows.select(names), spec.rows, seed)
    model = copy.deepcopy(network).cpu().double().eval().requires_grad_(False)
    reference = _dense(preprocessing, _sample(background.select(names), spec.background, seed))
    dense = _dense(preprocessing, rows)
    prediction = model(dense).numpy()
    blocks = np.array([block.start for block in preprocessing.features.blocks.values()])

    def attributed(method: str) -> tuple[Floats, Floats, float]:
        if method == "deep":
            values, base = attribution.deep(model, reference, dense, blocks)
        else:
            values, base = attribution.permutation(model, reference, dense, blocks, seed)
        return values, base, _additivity_error(values, base, prediction)

    method = _method(model, spec.method)
    values, base, error = attributed(method)
    if spec.method == "auto" and method == "deep" and not error <= ADDITIVE:
        method = "permutation"
        values, base, error = attributed(method)

    regression = target.task == "regression"
    scale, shift = (target.deviation, target.mean) if regression else (1.0, 0.0)
    return Explained(
        columns=tuple(names),
        outputs=_outputs(target),
        values=values * scale,
        base=base * scale + shift,
        prediction=prediction * scale + shift,
        rows=rows,
        method=method,
        unit=_unit(target),
        additivity_error=error,
    )


def write_table(explained: Explained, path: Path) -> None:
    """Write Parquet: raw columns, shap_<column>, base, prediction.

    With several classes each row comes once per class, named in a column `class`. A name that is
    taken by a raw column gets underscores appended.
    """
    count, width = len(explained.rows), len(explained.outputs)
    table = explained.rows.take(np.repeat(np.arange(count), width))
    added: dict[str, Any] = {}
    if width > 1:
        added["class"] = pa.array(explained.outputs * count)
    for i, column in enumerate(explained.columns):
        added[f"shap_{column}"] = explained.values[:, i].ravel()
    added["base"] = np.tile(explained.base, count)
    added["prediction"] = explained.prediction.ravel()
    for name, values in added.items():
        while name in table.column_names:
            name += "_"
        table = table.append_column(name, pa.array(values))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _sample(table: pa.Table, count: int, seed: int) -> pa.Table:
    if len(table) <= count:
        return table
    chosen = np.random.default_rng(seed).choice(len(table), count, replace=False)
    return table.take(np.sort(chosen))


def _dense(preprocessing: Preprocessing, table: pa.Table) -> Tensor:
    dense: Tensor = preprocessing(preprocessing.encode(table))
    return dense.double()


def _method(model: nn.Module, asked: str) -> str:
    if asked != "auto":
        return asked
    leaves = [module for module in model.modules() if not list(module.children())]
    return "deep" if all(isinstance(leaf, attribution.EXACT) for leaf in leaves) else "permutation"


def _additivity_error(values: Floats, base: Floats, prediction: Floats) -> float:
    scale = max(np.abs(prediction - base).max(), 1e-3 * np.abs(prediction).max())
    miss = np.abs(base + values.sum(axis=1) - prediction).max()
    return float(miss / scale) if scale > 0 else float(miss)


def _outputs(target: Target) -> tuple[str, ...]:
    if target.task == "regression":
        return (target.name,)
    if target.positive is not None:
        return (str(target.classes[target.positive]),)
    return tuple(str(label) for label in target.classes)


def _unit(target: Target) -> str:
    if target.task == "regression":
        return f"units of {target.name}"
    return "score before softmax" if target.positive is None else "log-odds"
