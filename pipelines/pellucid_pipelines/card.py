"""The model card: what the model is, what it was made from, how good it is and for whom.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). A card
holds only what the run knows; what a run cannot know, such as the purpose, is said to be missing.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import SCORES
from pellucid.bundle import Input, Manifest
from pellucid.schema import Kind
from pellucid_pipelines.evaluate import HEADLINES, Evaluation, kind_of_task

_TOP = 15  # columns in the table of SHAP values
_MOST_CLASSES = 12  # in a confusion matrix that is still read as text


class Explanation(TypedDict):
    """How the SHAP values were made."""

    method: str
    unit: str
    rows: int
    additivity_error: float


def model_card(
    *,
    manifest: Manifest,
    rows: Mapping[str, int],
    evaluation: Evaluation,
    importance: Mapping[str, float],
    explanation: Explanation,
    findings: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The card, in Markdown.

    Args:
        manifest: of the bundle.
        rows: part of the data (train, validation, test) -> its number of rows.
        evaluation: on the test rows.
        importance: raw column -> mean |SHAP value|, falling.
        explanation: how those came about.
        findings: what went wrong while it was trained, the severest first.
    """
    sections = {
        "Model details": _details(manifest),
        "Intended use": _use(manifest),
        "Factors": _factors(evaluation),
        "Metrics": _metrics(manifest, rows),
        "Evaluation data": _evaluation_data(manifest, rows),
        "Training data": _training_data(manifest, rows),
        "Quantitative analyses": _analyses(manifest, evaluation, importance, explanation),
        "Ethical considerations": _ethics(evaluation),
        "Findings of the training": _findings(findings),
        "Caveats and recommendations": _caveats(manifest, evaluation, explanation),
        "How to load it": _loading(manifest),
    }
    parts = [f"# {_text(manifest.name)}", _summary(manifest, evaluation)]
    for title, body in sections.items():
        parts += [f"## {title}", body]
    return "\n\n".join(parts) + "\n"


def _summary(manifest: Manifest, evaluation: Evaluation) -> str:
    name = HEADLINES[kind_of_task(len(manifest.classes))][0]
    return (
        f"Predicts **{_text(manifest.target)}** from {len(manifest.inputs)} columns; "
        f"{name} on held-out rows: {evaluation.metrics[name]}."
    )


def _details(manifest: Manifest) -> str:
    facts: list[tuple[str, object]] = [("Task", manifest.task)]
    if manifest.classes:
        facts.append(("Classes", ", ".join(map(str, manifest.classes))))
    if manifest.positive_class is not None:
        facts.append(("Positive class", manifest.positive_class))
    facts += [
        ("Network", _plain(manifest.plan.get("model"))),
        ("Optimizer", _plain(manifest.plan.get("optimizer"))),
        ("Seed", manifest.plan.get("training", {}).get("seed", "not recorded")),
        ("Job", manifest.job_id),
        ("Created", manifest.created),
        ("Format", f"ONNX, opset {manifest.opset}, preprocessing inside"),
        (
            "ONNX Runtime against PyTorch",
            f"largest difference {manifest.parity.max_error:.1e} on {manifest.parity.rows} rows",
        ),
        ("Made with", ", ".join(f"{k} {v}" for k, v in sorted(manifest.environment.items()))),
    ]
    return _table(("", ""), facts)


def _use(manifest: Manifest) -> str:
    what = "the classes' probabilities" if manifest.classes else _values(manifest)
    text = (
        f"One row of the columns below gives {what} of {_text(manifest.target)}. The plan states "
        "no purpose: whoever deploys the model has to say what it may and may not decide.\n\n"
    )
    if any(given.shape for given in manifest.inputs):
        inputs = [(given.name, given.kind, _read_as(given)) for given in manifest.inputs]
        return text + _table(("column", "kind", "read as"), inputs)
    known = [(given.name, given.kind, len(given.categories) or "") for given in manifest.inputs]
    return text + _table(("column", "kind", "known categories"), known)


def _values(manifest: Manifest) -> str:
    steps = [output.shape[1] for output in manifest.outputs if len(output.shape) == 2]
    return f"the next {steps[0]} values" if steps else "a number in the target's units"


def _read_as(given: Input) -> str:
    """How an image, a sequence or a text comes to the network."""
    if given.kind is Kind.IMAGE:
        *frames, height, width, channels = given.shape
        colours = "grey" if channels == 1 else "in colour"
        moving = f"{frames[0]} frames of " if frames else ""
        return f"{moving}{height} x {width} pixels, {colours}; other sizes are stretched"
    if given.kind is Kind.SEQUENCE:
        return f"the last {given.shape[0]} steps; missing ones are taken for the mean"
    return f"the first {given.shape[0]} tokens of its own tokenizer"


def _factors(evaluation: Evaluation) -> str:
    groups = dict.fromkeys((row["column"], row["group"], row["rows"]) for row in evaluation.groups)
    if not groups:
        return (
            "No column has the role `sensitive`, so whether the model serves groups of people "
            "differently is not known."
        )
    return "Results are reported by these groups.\n\n" + _table(
        ("column", "group", "test rows"), groups
    )


def _metrics(manifest: Manifest, rows: Mapping[str, int]) -> str:
    spec = manifest.plan.get("evaluation", {})
    return (
        f"Every score is taken on the {rows['test']:,} test rows, with "
        f"{spec.get('confidence', 0.95):.0%} limits in parentheses: bias-corrected and accelerated "
        f"bootstrap of the rows, {spec.get('resamples', 1000):,} resamples. The limits say how "
        "much the score would vary with other test rows, not with another training run."
    )


def _evaluation_data(manifest: Manifest, rows: Mapping[str, int]) -> str:
    return (
        f"{rows['test']:,} rows of the data set below that took no part in training, "
        f"preprocessing or the choice of the best epoch. Split: "
        f"{_text(_plain(manifest.plan.get('split')))}."
    )


def _training_data(manifest: Manifest, rows: Mapping[str, int]) -> str:
    reference = manifest.plan.get("data", {}).get("dataset", "")
    return _table(
        ("", ""),
        [
            ("Data set", reference),
            ("SHA-256 of its content", manifest.data_version),
            ("Training rows", f"{rows['train']:,}"),
            ("Validation rows (choose the best epoch)", f"{rows['validation']:,}"),
        ],
    )


def _analyses(
    manifest: Manifest,
    evaluation: Evaluation,
    importance: Mapping[str, float],
    explanation: Explanation,
) -> str:
    scores = [
        (name, interval, f"{SCORES[name].direction} is better")
        for name, interval in evaluation.metrics.items()
    ]
    parts = ["### Over all test rows", _table(("score", "value", ""), scores)]
    if evaluation.confusion is not None and len(manifest.classes) <= _MOST_CLASSES:
        header = ("true \\ predicted", *map(str, manifest.classes))
        counts = [
            (label, *(f"{count:,.0f}" for count in line))
            for label, line in zip(manifest.classes, evaluation.confusion, strict=True)
        ]
        parts.append(_table(header, counts))
    names = HEADLINES[kind_of_task(len(manifest.classes))]
    for column in dict.fromkeys(row["column"] for row in evaluation.groups):
        parts += [f"### By {_text(column)}", _group_table(column, names, evaluation)]
        spread = [
            (row["metric"], str(_limits(row)))
            for row in evaluation.disparities
            if (row["column"], row["aggregate"]) == (column, "difference")
            and row["metric"] in names
        ]
        if spread:
            parts.append(
                _table(
                    ("score", "largest minus smallest group, limits allowing for that choice"),
                    spread,
                )
            )
    parts += ["### What the predictions rest on", _importance(importance, explanation)]
    return "\n\n".join(parts)


def _group_table(column: str, names: Sequence[str], evaluation: Evaluation) -> str:
    cells = {
        (row["group"], row["rows"], row["metric"]): row
        for row in evaluation.groups
        if row["column"] == column
    }
    lines = []
    for group, rows in dict.fromkeys(key[:2] for key in cells):
        scored = [cells[group, rows, name] for name in names]
        lines.append((group, f"{rows:,}", *(_with_verdict(row) for row in scored)))
    return _table(("group", "test rows", *names), lines)


def _with_verdict(row: Mapping[str, Any]) -> str:
    told = row["verdict"] in ("better", "worse", "too few rows")
    return str(_limits(row)) + (f" ({row['verdict']})" if told else "")


def _importance(importance: Mapping[str, float], explanation: Explanation) -> str:
    top = list(importance.items())[:_TOP]
    note = f" The {_TOP} largest of {len(importance)}." if len(importance) > _TOP else ""
    return (
        f"Mean |SHAP value| over {explanation['rows']:,} test rows, in {explanation['unit']} "
        f"({explanation['method']}).{note} It says what moves this model's output, not what "
        "causes the target.\n\n"
        + _table(("column", "mean |SHAP|"), [(name, f"{value:.4g}") for name, value in top])
    )


def _ethics(evaluation: Evaluation) -> str:
    if not evaluation.groups:
        return "Not assessed: no sensitive column was given."
    columns = ", ".join(_text(c) for c in dict.fromkeys(row["column"] for row in evaluation.groups))
    worse: dict[tuple[str, str], list[str]] = {}
    for row in evaluation.groups:
        if row["verdict"] == "worse":
            worse.setdefault((row["column"], row["group"]), []).append(row["metric"])
    parts = [
        f"{columns}: not among the inputs; other columns may still stand in for it, which was not "
        "measured."
    ]
    if worse:
        parts.append("These groups score worse than the whole, beyond chance for each score alone:")
        parts.append(
            "\n".join(
                f"- {_text(column)} = {_text(group)}: {', '.join(names)}"
                for (column, group), names in worse.items()
            )
        )
    else:
        parts.append("No group that has enough rows is shown to score worse than the whole.")
    return "\n\n".join(parts)


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    if not findings:
        return "None: see the how-to `diagnose` for what is looked for."
    return "\n".join(
        f"- **{_text(each['code'])}** ({each['severity']}): {_text(each['message'])} "
        f"{each['remedy']}"
        for each in findings
    )


def _caveats(manifest: Manifest, evaluation: Evaluation, explanation: Explanation) -> str:
    items = [
        "Base value plus SHAP values give the network's output to within a relative error of "
        f"{explanation['additivity_error']:.1e}.",
    ]
    if any(given.kind is Kind.CATEGORICAL for given in manifest.inputs):
        items.append(
            "Categories that are not known (too rare, or not in the training rows) are treated "
            "as one; missing values as another."
        )
    undefined = [n for n, interval in evaluation.metrics.items() if np.isnan(interval.value)]
    if undefined:
        items.append(f"Not defined on these test rows: {', '.join(undefined)}.")
    small = {
        (row["column"], row["group"])
        for row in evaluation.groups
        if row["verdict"] == "too few rows"
    }
    if small:
        items.append(f"Groups with too few test rows for a verdict: {len(small)}.")
    if "ece" in evaluation.metrics:
        items.append(
            "On few rows ECE is above 0 even for perfect probabilities, and its limits do not "
            "correct for all of that."
        )
    return "\n".join(f"- {item}" for item in items)


def _loading(manifest: Manifest) -> str:
    row = json.dumps({given.name: _example(given) for given in manifest.inputs})
    quoted = row.replace("'", "'\\''")
    return f"""Over HTTP, where Pellucid serves it:

```sh
curl "$PELLUCID_URL/v1/models/{manifest.name}/predict" \\
  -H 'Content-Type: application/json' -d '[{quoted}]'
```

From MLflow, once it is `champion`:

```python
import mlflow
import onnxruntime

model = mlflow.onnx.load_model("models:/{manifest.name}@champion")
session = onnxruntime.InferenceSession(model.SerializeToString())
```

{_inputs_of_graph(manifest)}"""


def _inputs_of_graph(manifest: Manifest) -> str:
    shaped = [given for given in manifest.inputs if given.shape]
    if not shaped:
        return "Every input is one raw column, of shape (rows,)."
    listed = ", ".join(
        f"{_text(given.name)} {given.datatype} (rows, {', '.join(map(str, given.shape))})"
        for given in shaped
    )
    return (
        f"The graph itself takes arrays: {listed}. `mlflow.pyfunc.load_model` takes image files "
        "as bytes, lists and strings."
    )


def _example(given: Input) -> object:
    if given.kind is Kind.CATEGORICAL:
        return given.categories[0] if given.categories else ""
    if given.shape:
        return {
            Kind.IMAGE: "<base64 of a PNG or JPEG file>",
            Kind.SEQUENCE: [0.5, None, 1.5],
            Kind.TEXT: "Some text.",
        }[given.kind]
    return {Kind.BOOLEAN: True, Kind.DATETIME: "2026-01-31T12:00:00"}.get(given.kind, 0)


def _limits(row: Mapping[str, Any]) -> Interval:
    return Interval(row["value"], row["low"], row["high"])


def _plain(part: Any) -> str:
    """A part of the plan in words: "sgd (lr 0.01, momentum 0.9)"."""
    if not part:
        return "not recorded"
    options = ", ".join(f"{k} {v}" for k, v in part.items() if k != "kind" and v is not None)
    return f"{part.get('kind', 'unnamed')} ({options})" if options else str(part.get("kind"))


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [[_text(cell) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: object) -> str:
    """A user's text, on one line, that Markdown takes literally."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", line)
