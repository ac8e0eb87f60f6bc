"""The bundle and the result: what a run hands on."""

import math
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pellucid import bundle
from pellucid.bundle import Bundle, Datatype, Manifest, Output, Parity
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan
from pellucid.schema import Kind
from pellucid_pipelines import environment, fairness
from pellucid_pipelines.assessment import Assessed
from pellucid_pipelines.card import model_card
from pellucid_pipelines.data import Data
from pellucid_pipelines.explain import Explained, write_table
from pellucid_pipelines.loop import State
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.mitigation.effect import Mitigated
from pellucid_pipelines.tensors import Target

_PARITY_ROWS = 256
_PARITY_BYTES = 2**22  # of the parity rows as arrays; never fewer than _FEWEST_ROWS
_FEWEST_ROWS = 16


def export(
    network: nn.Module, examples: Data, directory: Path, rule: Rule | None = None
) -> tuple[int, Parity]:
    """Write the ONNX model, its parity rows, the network's weights and, of texts, the tokenizer.

    Returns:
        The opset, and how close ONNX Runtime is to PyTorch.
    """
    from pellucid_pipelines.export import export_model, measure_parity  # ONNX: seconds

    preprocessing, target, parts = examples.preprocessing, examples.target, examples.parts
    directory.mkdir(parents=True, exist_ok=True)
    opset = export_model(network, preprocessing, target, directory / bundle.MODEL, rule)
    torch.save(network.state_dict(), directory / bundle.WEIGHTS)
    if preprocessing.tokenizer is not None:
        preprocessing.tokenizer.save(directory / bundle.TOKENIZER)
    rows = np.concatenate([parts.test, parts.validation, parts.train])[: _parity_rows(examples)]
    table = examples.take(rows)
    return opset, measure_parity(network, preprocessing, target, table, directory, rule)


def describe(
    request: Request,
    spec: Plan,
    examples: Data,
    assessed: Assessed,
    opset: int,
    parity: Parity,
    explanation: bundle.Explanation,
    rule: Rule | None = None,
) -> Manifest:
    """The bundle's manifest; its files are added when it is sealed."""
    target = examples.target
    return Manifest(
        name=spec.name,
        task=target.task,
        target=target.name,
        classes=target.classes,
        positive_class=None if target.positive is None else target.classes[target.positive],
        inputs=(*examples.preprocessing.inputs, *(rule.columns if rule else ())),
        sensitive=fairness.described(examples, spec.training.seed),
        outputs=_outputs(target),
        opset=opset,
        files={},
        parity=parity,
        metrics=assessed.metrics,
        explanation=explanation,
        decision=rule.told if rule else None,
        data_version=request.data_version,
        job_id=request.job_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        plan=request.plan,
        environment=environment.versions(),
    )


def pack(
    manifest: Manifest,
    examples: Data,
    assessed: Assessed,
    explained: Explained,
    findings: Sequence[dict[str, Any]],
    workspace: Workspace,
    mitigated: Mitigated | None = None,
) -> None:
    """Complete the bundle and seal it; SHAP values and environment also lie beside it."""
    table = workspace.bundle / bundle.EXPLANATIONS
    write_table(explained, table)
    shutil.copyfile(table, workspace.tables / "shap_values.parquet")
    (workspace.outputs / "environment.txt").write_text(environment.frozen(), encoding="utf-8")
    card = model_card(
        manifest=manifest,
        rows={part: len(rows) for part, rows in examples.parts._asdict().items()},
        evaluation=assessed.evaluation,
        importance=explained.importance(),
        explanation={
            "method": explained.method,
            "unit": explained.unit,
            "rows": len(explained.rows),
            "additivity_error": explained.additivity_error,
        },
        findings=findings,
        mitigated=mitigated,
    )
    (workspace.bundle / bundle.CARD).write_text(card, encoding="utf-8")
    Bundle.seal(workspace.bundle, manifest)


def result(
    spec: Plan,
    target: Target,
    assessed: Assessed,
    explained: Explained,
    state: State,
    seconds: float,
) -> dict[str, Any]:
    """What `result.json` holds."""
    return {
        "metrics": assessed.metrics,
        "intervals": assessed.intervals,
        "gate_metric": spec.gates.metric or _gate_metric(target),
        "additivity_error": explained.additivity_error,
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "seconds": round(seconds, 3),
    }


def _parity_rows(examples: Data) -> int:
    inputs = examples.preprocessing.inputs
    size = sum(math.prod(each.shape) * (1 if each.kind is Kind.IMAGE else 8) for each in inputs)
    return min(_PARITY_ROWS, max(_FEWEST_ROWS, _PARITY_BYTES // size))


def _outputs(target: Target) -> tuple[Output, ...]:
    if target.task == "regression":
        from pellucid_pipelines.onnx_graph import value_shape  # ONNX: seconds

        shape = (-1, *value_shape(target))
        return (Output(name="value", datatype=Datatype.FP32, shape=shape),)
    numbered = all(isinstance(label, int) for label in target.classes)
    label = Datatype.INT64 if numbered else Datatype.BYTES
    return (
        Output(name="label", datatype=label, shape=(-1,)),
        Output(name="probabilities", datatype=Datatype.FP32, shape=(-1, len(target.classes))),
    )


def _gate_metric(target: Target) -> str:
    if target.task == "regression":
        return "rmse"
    return "log_loss" if target.positive is None else "roc_auc"
