"""What of an explanation goes into the bundle."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from pellucid import bundle, plan
from pellucid.errors import TrainingFailed
from pellucid_pipelines.data import Data
from pellucid_pipelines.explain.amortized import Student, taught
from pellucid_pipelines.explain.attributions import Attribution
from pellucid_pipelines.explain.quality import measure
from pellucid_pipelines.explain.reference import learnt_reference
from pellucid_pipelines.explain.values import Explained, Floats
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Target

WEIGHT = "weight"  # column of background.parquet; underscores are appended where it is taken
_CHECKED = 64  # rows
_FLOOR = 1e-12


def for_serving(
    network: nn.Module,
    examples: Data,
    explained: Explained,
    background: pa.Table,
    weights: Floats,
    spec: plan.Plan,
    directory: Path,
    rule: Rule | None = None,
) -> bundle.Explanation:
    """All that a bundle holds of a run's explanations, measured; raises `TrainingFailed`."""
    preprocessing, target, seed = examples.preprocessing, examples.target, spec.training.seed
    student = taught(explained, examples, seed) if spec.explanation.amortized else None
    described = bundle_explanation(
        explained, preprocessing, target, background, weights, directory, student, rule
    )
    quality = measure(network, preprocessing, target, explained, background, weights, seed)
    found = {"quality": quality, "reference": learnt_reference(examples, seed)}
    return described.model_copy(update=found)


def bundle_explanation(
    explained: Explained,
    preprocessing: Preprocessing,
    target: Target,
    background: pa.Table,
    weights: Floats,
    directory: Path,
    student: Student | None = None,
    rule: Rule | None = None,
) -> bundle.Explanation:
    """Write explain.onnx and background.parquet, check the graph, and describe it.

    Args:
        explained: held-out rows, with the attribution that gave their values.
        preprocessing: as fitted.
        target: as fitted.
        background: the raw rows compared to.
        weights: (B,) what each of them counts for.
        directory: of the bundle.
        student: a network that learnt the values, and its errors; None: there is none.
        rule: of the labels, as in model.onnx.

    Raises:
        TrainingFailed: ONNX Runtime gives other values than PyTorch.
    """
    from pellucid_pipelines.explain.graph import export_explainer  # ONNX: seconds

    found = explained.attribution
    assert found is not None, "only what a network explained has none"
    path = directory / bundle.EXPLAINER
    export_explainer(found.served(), preprocessing, target, path, found.steps, rule)
    _write_background(background.select(explained.columns), weights, directory)
    if student is not None:
        amortized = directory / bundle.AMORTIZED
        export_explainer(student.module, preprocessing, target, amortized, rule=rule)
    scale = np.abs(explained.prediction - explained.base).mean(axis=0)
    _check(path, explained, preprocessing, found, scale, rule)
    return bundle.Explanation(
        method=found.method,
        columns=explained.columns,
        outputs=explained.outputs,
        unit=explained.unit,
        base=tuple(explained.base.tolist()),
        scale=tuple(scale.tolist()),
        background=len(background),
        tolerance=found.tolerance,
        steps=found.steps,
        batch_rows=found.rows_at_once(),
        amortized=None if student is None else student.errors,
    )


def _write_background(rows: pa.Table, weights: Floats, directory: Path) -> None:
    name = WEIGHT
    while name in rows.column_names:
        name += "_"
    pq.write_table(rows.append_column(name, pa.array(weights)), directory / bundle.BACKGROUND)


def _check(
    path: Path,
    explained: Explained,
    preprocessing: Preprocessing,
    found: Attribution,
    scale: Floats,
    rule: Rule | None,
) -> None:
    """The graph must give the values that PyTorch gave; gradients may take fewer shares there."""
    from pellucid_pipelines.export import raw_inputs, run_onnx  # ONNX: seconds

    rows = explained.rows.slice(0, _CHECKED)
    raw = raw_inputs(rows, preprocessing.inputs, preprocessing.tokenizer)
    given = run_onnx(path, raw | (rule.blank(len(rows)) if rule else {}))
    if found.method == "gradients" or explained.method == "permutation":
        missed, limit = given["gap"].max(initial=0.0), 1.0
    else:
        expected = explained.values[: len(rows)]
        if explained.places is not None:
            shown = explained.places.outputs[: len(rows)]
            expected = expected[np.arange(len(rows)), :, shown][..., np.newaxis]
        missed, limit = np.abs(given["shap"] - expected).max(initial=0.0), 1e-3
    error = float(missed / max(scale.max(), _FLOOR))
    if not error <= limit:
        raise TrainingFailed(
            f"The exported explanation differs from PyTorch by {error:.2g} (limit {limit:.0e}).",
            where={"file": path.name},
            remedy="Please report it, with the plan; `explanation.method: gradients` may do.",
        )
