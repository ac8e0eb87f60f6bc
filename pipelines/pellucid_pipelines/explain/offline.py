"""SHAP values on held-out rows, in the user's raw columns.

A raw column is one feature, however many numbers it becomes inside: the values of its block are
added up, or with permutations its whole block is replaced at once. That is exact, because
preprocessing treats each column by itself.

Images, sequences and texts also have a value for each pixel, step or token. An image or a text is
one raw column, so its value is what the prediction differs from the base; the values of its pixels
or tokens add up to it.
"""

import copy
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.data import drawn as sampled
from pellucid_pipelines.explain.attributions import Attribution, fitting
from pellucid_pipelines.explain.permutation import Integers, permutation
from pellucid_pipelines.explain.values import Explained, Floats, Places
from pellucid_pipelines.loop import predict
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Target


def explain(
    network: nn.Module,
    preprocessing: Preprocessing,
    target: Target,
    background: pa.Table,
    rows: pa.Table,
    spec: plan.Explanation,
    seed: int,
    weights: Floats | None = None,
) -> Explained:
    """Explain a sample of `rows` against the background.

    Works on a copy of the network on the CPU; of tabular data in float64.

    Args:
        network: (N, *features.shape) -> raw (N, outputs).
        preprocessing: as fitted.
        target: as fitted.
        background: training rows, of which at most as many are taken as the plan says.
        rows: held-out rows.
        spec: method and sample sizes; see `attributions.fitting`.
        seed: of both samples and of the permutations.
        weights: (B,) what each background row counts for; default: alike.
    """
    names = [column.name for column in preprocessing.inputs]
    rows = _sample(rows.select(names), spec.rows, seed)
    background = _sample(background.select(names), spec.background, seed)
    if weights is None:
        weights = np.full(len(background), 1 / len(background))
    model, reference, dense = _prepared(network, preprocessing, background, rows)
    features, counted = preprocessing.features, torch.from_numpy(weights)
    found = fitting(model, features, reference, counted, dense, spec.method)

    places = None
    method: str = found.method
    if features.modality != "tabular":
        prediction, values, places = _inside(found, preprocessing, target, dense, rows)
    elif spec.method == "permutation":
        method = spec.method
        prediction, values = _permuted(model, reference, dense, preprocessing, seed)
    else:
        prediction, values = _added_up(found, dense, preprocessing)
    base = found.module.get_buffer("base").double().numpy()
    explained = Explained(
        columns=tuple(names),
        outputs=_outputs(target),
        values=values,
        base=base,
        prediction=prediction,
        rows=rows,
        method=method,
        unit=_unit(target),
        additivity_error=_additivity_error(values, base, prediction),
        places=places,
        attribution=found,
    )
    return _in_units(explained, target)


def _prepared(
    network: nn.Module, preprocessing: Preprocessing, background: pa.Table, rows: pa.Table
) -> tuple[nn.Module, Tensor, Tensor]:
    """The network's copy, and the encoded rows (B or N, *features.shape)."""
    model = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    reference, dense = (preprocessing(preprocessing.encode(each)) for each in (background, rows))
    if preprocessing.features.modality == "tabular":
        return model.double(), reference.double(), dense.double()
    return model, reference, dense


def _permuted(
    model: nn.Module, reference: Tensor, dense: Tensor, preprocessing: Preprocessing, seed: int
) -> tuple[Floats, Floats]:
    """Predictions, and values (N, columns, outputs) by replacing whole blocks."""
    values, _ = permutation(model, reference, dense, _starts(preprocessing), seed)
    return predict(model, dense).double().numpy(), values


def _added_up(
    found: Attribution, dense: Tensor, preprocessing: Preprocessing
) -> tuple[Floats, Floats]:
    """Predictions, and values (N, columns, outputs) as sums over each block."""
    raw, per_position = found.values(dense)
    values = np.add.reduceat(per_position.double().numpy(), _starts(preprocessing), axis=1)
    return raw.double().numpy(), values


def _inside(
    found: Attribution,
    preprocessing: Preprocessing,
    target: Target,
    dense: Tensor,
    rows: pa.Table,
) -> tuple[Floats, Floats, Places]:
    """Predictions, values (N, columns, outputs), and those of the places in a column.

    Places are those of the shown output. So are the values of a single column; for any other
    output its value is what the prediction differs from the base: nothing else can have made it.
    """
    features, columns = preprocessing.features, len(preprocessing.inputs)
    best = predict(found.module.get_submodule("network"), dense).argmax(dim=1)
    shown = best if target.classes else torch.zeros_like(best)
    raw, drawn = found.values(dense, shown)
    away = (raw - found.module.get_buffer("base")).double().numpy()
    values = np.repeat(away[:, np.newaxis], columns, axis=1)
    outputs = range(target.outputs) if columns > 1 else ()
    for i in outputs:
        _, places = found.values(dense, torch.full_like(best, i))
        values[:, :, i] = places.double().sum(dim=1).numpy()
    if columns == 1:
        values[np.arange(len(dense)), 0, shown.numpy()] = drawn.double().flatten(1).sum(1).numpy()
    return (
        raw.double().numpy(),
        values,
        Places(
            features.modality,
            drawn.double().numpy(),
            shown.numpy(),
            dense.numpy(),
            _pieces(preprocessing, rows),
        ),
    )


def _in_units(explained: Explained, target: Target) -> Explained:
    """In units of the target: of a classification, whose deviation is 1 and mean 0, as it is."""
    scale, shift, places = target.deviation, target.mean, explained.places
    return replace(
        explained,
        values=explained.values * scale,
        base=explained.base * scale + shift,
        prediction=explained.prediction * scale + shift,
        places=None if places is None else replace(places, values=places.values * scale),
    )


def _sample(table: pa.Table, count: int, seed: int) -> pa.Table:
    return table.take(sampled(np.arange(len(table)), count, seed))


def _starts(preprocessing: Preprocessing) -> Integers:
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
