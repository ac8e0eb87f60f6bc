"""What mitigation of bias does to gaps and to accuracy, on rows that it never learnt from."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
from inference import models
from inference.acceptance import Promise
from runs import Fitted, fitted
from tabular import canonical

from pellucid import bundle
from pellucid.datasets import synthetic
from pellucid.jobs.workspace import Workspace
from pellucid.schema import Role
from pellucid_pipelines import packing
from pellucid_pipelines.export import raw_inputs
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import predict
from pellucid_pipelines.mitigation import deciding, effect
from watching.scale import Scale

TITLE = "Mitigation of bias"
KINDS = ("none", "reweighing", "group_dro", "adversarial", "thresholds")
GAP = "equalized_odds_gap"
_EPOCHS = 30
Right = np.ndarray
Case = tuple[Any, dict[str, Role], dict[str, Any]]


def measure(scale: Scale) -> dict[str, Any]:
    """Data -> mitigation -> part -> what was measured there, with limits."""
    epochs, measured = scale.rows(_EPOCHS, least=3), {}
    for name, case in _cases(scale.data).items():
        found = {kind: _measured(case, kind, epochs) for kind in KINDS}
        plain = found["none"][1]
        measured[name] = {
            kind: told | {"cost": _cost(plain, right)} for kind, (told, right) in found.items()
        }
    return measured


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    for name, kinds in found.items():
        told = kinds["thresholds"]
        gap = told["validation"][f"{GAP}, after"]["value"]
        yield Promise(f"{name}: equalised-odds gap on validation, thresholds", gap, 0.02, True)
        text = f"{name}: share of rows that the ONNX file decides as the rule does"
        yield Promise(text, told["in_onnx"], 1)


def page(found: dict[str, Any]) -> Iterator[str]:
    yield (
        "One training of each kind, the same split. Gap: the larger of the differences of the true "
        "and the false positive rate between groups, with 95% limits, which hold for all pairs of "
        "groups together. Thresholds are chosen on the validation part, so its gap is what they "
        "were made for; the test part tells what to expect."
    )
    yield from (
        "",
        "| data | mitigation | gap, validation | gap, test | accuracy, test | it costs |",
        "|---|---|---:|---:|---:|---:|",
    )
    for name, kinds in found.items():
        for kind, told in kinds.items():
            cells = (
                told["validation"][f"{GAP}, after"],
                told["test"][f"{GAP}, after"],
                told["test"]["accuracy, after"],
                told["cost"],
            )
            yield f"| {name} | {kind} | " + " | ".join(map(_told, cells)) + " |"
    yield from (
        "",
        "It costs: the accuracy of `none` on the same test rows less that of the kind, with 95% "
        "limits of the paired difference. Two trainings differ by chance as well.",
    )


def _told(each: dict[str, float]) -> str:
    return f"{each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f})"


def _cases(directory: Path) -> dict[str, Case]:
    table, roles = synthetic.credit()
    found: dict[str, Case] = {"demo, by sex": (table, roles, {"column": "sex"})}
    file = directory / "german_credit.csv"
    if file.exists():
        rows = canonical(pyarrow.csv.read_csv(file))
        sensitive = {"age": Role.SENSITIVE, "personal_status": Role.SENSITIVE}
        of_age = {"column": "age", "edges": {"age": [25]}}
        found["German credit, by age (to 25, above)"] = (
            rows, {"credit": Role.TARGET, **sensitive}, of_age
        )  # fmt: skip
    return found


def _cost(plain: Right, right: Right) -> dict[str, float]:
    """How much less often a network is right than the plain one, on the same rows."""
    less = plain.astype(float) - right
    reach = 1.96 * float(less.std(ddof=1)) / len(less) ** 0.5
    value = float(less.mean())
    return {"value": value, "low": value - reach, "high": value + reach}


def _measured(case: Case, kind: str, epochs: int) -> tuple[dict[str, Any], Right]:
    """What was measured, and (test rows,) whether each one's label is right."""
    table, roles, fairness = case
    content = {
        "task": "classification",
        "model": {"kind": "mlp"},
        "split": {"kind": "stratified"},
        "training": {"epochs": epochs, "diagnostics": False, "device": "cpu"},
        "fairness": {**fairness, "mitigation": kind},
    }
    found = fitted(table, roles, content)
    with tempfile.TemporaryDirectory() as directory:
        workspace = Workspace(Path(directory))
        workspace.tables.mkdir(parents=True)
        rule = deciding.decide(found.network, found.examples, found.spec)
        with Journal(workspace) as journal:
            done = effect.measure(
                found.network, found.examples, found.spec, rule, journal, workspace
            )
        assert done is not None
        told: dict[str, Any] = {"validation": {}, "test": {}}
        for each in done.measured:
            numbers = {"value": each.value, "low": each.low, "high": each.high}
            told[each.part][f"{each.name}, {each.stage}"] = numbers
        if rule is not None:
            told["in_onnx"] = _in_onnx(found, rule, Path(directory) / "bundle")
    truth = found.examples.rows(found.examples.parts.test).targets.numpy()
    return told, _labels(found, rule) == truth


def _labels(found: Fitted, rule: deciding.Rule | None) -> np.ndarray:
    """(test rows,) the class that each gets."""
    examples, rows = found.examples, found.examples.parts.test
    prediction = examples.target.head()(predict(found.network, examples.rows(rows).inputs)).numpy()
    if rule is None:
        return np.asarray(prediction.argmax(axis=1))
    return rule.labels(prediction, rule.of_rows(examples, rows))


def _in_onnx(found: Fitted, rule: deciding.Rule, directory: Path) -> float:
    """Share of test rows to which the exported file gives the label that the rule gives."""
    examples, rows = found.examples, found.examples.parts.test
    packing.export(found.network, examples, directory, rule)
    inputs = (*examples.preprocessing.inputs, *rule.columns)
    raw = raw_inputs(examples.take(rows), inputs, examples.preprocessing.tokenizer)
    (label,) = models.session(directory / bundle.MODEL).run(["label"], raw)
    expected = _labels(found, rule)
    names = np.array(examples.target.classes)
    return float((np.asarray(label) == names[expected]).mean())
