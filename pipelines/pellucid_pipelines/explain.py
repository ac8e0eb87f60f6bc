"""SHAP values on held-out rows, in the user's raw columns.

A raw column is one feature, however many numbers it becomes inside: with DeepSHAP the values of
its block are added up, with permutations its whole block is replaced at once. That is exact,
because preprocessing treats each column by itself.

Images, sequences and texts are explained by expected gradients, which also tell the part of each
pixel, step or token. An image or a text is one raw column, so its value is what the prediction
differs from the base; the values of its pixels or tokens add up to it.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines import attribution
from pellucid_pipelines.attribution import Floats
from pellucid_pipelines.data import drawn
from pellucid_pipelines.expected_gradients import expected_gradients
from pellucid_pipelines.loop import predict
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Target

ADDITIVE = 1e-4  # `auto` leaves DeepSHAP where its values miss the prediction by more than this


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
        method: deep, permutation or gradients.
        unit: of values, base and prediction.
        additivity_error: max |base + sum - prediction| / max |prediction - base|; where the
            network is all but constant, relative to a thousandth of its largest prediction.
        places: values of pixels, steps or tokens, where the inputs are such.
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

    Works on a copy of the network on the CPU; of tabular data in float64, where DeepSHAP adds up
    to rounding.

    Args:
        network: (N, *features.shape) -> raw (N, outputs).
        preprocessing: as fitted.
        target: as fitted.
        background: training rows.
        rows: held-out rows.
        spec: method and sample sizes. `auto` takes DeepSHAP (Lundberg and Lee, 2017) where it
            knows every module and its values add up, else permutations; and expected gradients
            for what is not tabular.
        seed: of both samples and of the permutations.
    """
    names = [column.name for column in preprocessing.inputs]
    rows = _sample(rows.select(names), spec.rows, seed)
    background = _sample(background.select(names), spec.background, seed)
    model = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    reference, dense = (preprocessing(preprocessing.encode(each)) for each in (background, rows))
    tabular = preprocessing.features.modality == "tabular"
    if tabular:
        model, reference, dense = model.double(), reference.double(), dense.double()
    prediction = predict(model, dense).double().numpy()

    places = None
    if spec.method == "gradients" or not tabular:
        method = "gradients"
        values, base, places = _by_gradients(model, preprocessing, target, reference, dense, rows)
    else:
        method, values, base = _by_columns(model, preprocessing, reference, dense, spec, seed)
    error = _additivity_error(values, base, prediction)

    regression = target.task == "regression"
    scale, shift = (target.deviation, target.mean) if regression else (1.0, 0.0)
    if places is not None:
        places = replace(places, values=places.values * scale)
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
        places=places,
    )


def _by_columns(
    model: nn.Module,
    preprocessing: Preprocessing,
    reference: Tensor,
    dense: Tensor,
    spec: plan.Explanation,
    seed: int,
) -> tuple[str, Floats, Floats]:
    """The method that was used, values (N, columns, outputs) and base (outputs,)."""
    blocks = _starts(preprocessing)
    method = _method(model, spec.method)
    if method == "deep":
        values, base = attribution.deep(model, reference, dense, blocks)
        exact = _additivity_error(values, base, model(dense).numpy()) <= ADDITIVE
        if exact or spec.method == "deep":
            return method, values, base
    values, base = attribution.permutation(model, reference, dense, blocks, seed)
    return "permutation", values, base


def _by_gradients(
    model: nn.Module,
    preprocessing: Preprocessing,
    target: Target,
    reference: Tensor,
    dense: Tensor,
    rows: pa.Table,
) -> tuple[Floats, Floats, Places | None]:
    """Values (N, columns, outputs), base (outputs,) and those of the places in a column.

    Of a single column only the shown output takes gradients: the column's value for any other is
    what the prediction differs from the base, since nothing else can have made the difference.
    """
    features, columns = preprocessing.features, len(preprocessing.inputs)
    prediction = predict(model, dense)
    shown = prediction.argmax(dim=1) if target.classes else torch.zeros(len(dense)).long()
    every = torch.arange(target.outputs).expand(len(dense), -1)
    chosen = every if columns > 1 or features.modality == "tabular" else shown.unsqueeze(1)
    found = expected_gradients(model, features, reference, dense, chosen)
    if features.modality == "tabular":
        blocks = np.add.reduceat(found.values, _starts(preprocessing), axis=1)
        return blocks, found.base, None
    count = np.arange(len(dense))
    if columns > 1:
        values, drawn = found.values.sum(axis=1), found.values[count, ..., shown.numpy()]
    else:
        drawn = found.values[..., 0]
        values = (prediction.double().numpy() - found.base)[:, np.newaxis]
        values[count, 0, shown.numpy()] = drawn.reshape(len(dense), -1).sum(axis=1)
    pieces = _pieces(preprocessing, rows)
    return (
        values,
        found.base,
        Places(features.modality, drawn, shown.numpy(), dense.numpy(), pieces),
    )


def write_table(explained: Explained, path: Path) -> None:
    """Write Parquet: raw columns, shap_<column>, base, prediction.

    With several classes each row comes once per class, named in a column `class`. Of images,
    sequences and texts, places_<column> lists the values of its pixels (row by row), steps or
    tokens for the output that they were computed for. A name that is taken by a raw column gets
    underscores appended.
    """
    count, width = len(explained.rows), len(explained.outputs)
    table = explained.rows.take(np.repeat(np.arange(count), width))
    added: dict[str, Any] = {}
    if width > 1:
        added["class"] = pa.array(explained.outputs * count)
    for i, column in enumerate(explained.columns):
        added[f"shap_{column}"] = explained.values[:, i].ravel()
    added |= _listed(explained)
    added["base"] = np.tile(explained.base, count)
    added["prediction"] = explained.prediction.ravel()
    for name, values in added.items():
        while name in table.column_names:
            name += "_"
        table = table.append_column(name, pa.array(values))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _listed(explained: Explained) -> dict[str, pa.Array]:
    places, width = explained.places, len(explained.outputs)
    if places is None:
        return {}
    values = places.values if places.modality == "sequence" else places.values[..., np.newaxis]
    values = values.reshape(len(values), -1, len(explained.columns))
    shown = np.zeros((len(values), width), dtype=bool)
    shown[np.arange(len(values)), places.outputs] = True

    def column(i: int) -> pa.Array:
        lists = iter(values[..., i].astype(np.float32))
        cells = [next(lists) if each else None for each in shown.ravel()]
        return pa.array(cells, pa.list_(pa.float32()))

    return {f"places_{name}": column(i) for i, name in enumerate(explained.columns)}


def _sample(table: pa.Table, count: int, seed: int) -> pa.Table:
    return table.take(drawn(np.arange(len(table)), count, seed))


def _starts(preprocessing: Preprocessing) -> attribution.Integers:
    return np.array([block.start for block in preprocessing.features.blocks.values()])


def _pieces(preprocessing: Preprocessing, rows: pa.Table) -> tuple[tuple[str, ...], ...]:
    """Of a text column, the characters of each row's tokens."""
    if preprocessing.tokenizer is None:
        return ()
    (length,) = preprocessing.features.shape
    texts = [text or "" for text in rows[preprocessing.inputs[0].name].to_pylist()]
    spans = [preprocessing.tokenizer.spans(text, length) for text in texts]
    return tuple(
        tuple(text[start:end] for start, end in each)
        for text, each in zip(texts, spans, strict=True)
    )


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
    if target.steps:
        return tuple(f"{target.name}, step {i + 1}" for i in range(target.steps))
    if target.task == "regression":
        return (target.name,)
    if target.positive is not None:
        return (str(target.classes[target.positive]),)
    return tuple(str(label) for label in target.classes)


def _unit(target: Target) -> str:
    if target.task == "regression":
        return f"units of {target.name}"
    return "score before softmax" if target.positive is None else "log-odds"
