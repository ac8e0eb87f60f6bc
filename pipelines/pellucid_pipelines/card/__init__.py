"""The model card: what the model is, what it was made from, how good it is and for whom.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). A card
holds only what the run knows; what a run cannot know, such as the purpose, is said to be missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.bundle import Input, Manifest
from pellucid.schema import Kind
from pellucid_pipelines.card.analyses import analyses
from pellucid_pipelines.card.explanation import Explanation, failed
from pellucid_pipelines.card.fairness import fairness
from pellucid_pipelines.card.loading import loading
from pellucid_pipelines.card.markdown import plain, table, text
from pellucid_pipelines.card.mitigation import mitigation
from pellucid_pipelines.evaluate import HEADLINES, Evaluation, kind_of_task
from pellucid_pipelines.mitigation.effect import Mitigated

__all__ = ["Explanation", "model_card"]


def model_card(
    *,
    manifest: Manifest,
    rows: Mapping[str, int],
    evaluation: Evaluation,
    importance: Mapping[str, float],
    explanation: Explanation,
    findings: Sequence[Mapping[str, Any]] = (),
    mitigated: Mitigated | None = None,
) -> str:
    """The card, in Markdown.

    Args:
        manifest: of the bundle.
        rows: part of the data (train, validation, test) -> its number of rows.
        evaluation: on the test rows.
        importance: raw column -> mean |SHAP value|, falling.
        explanation: how those came about.
        findings: what went wrong while it was trained, the severest first.
        mitigated: what was done about bias, and what came of it.
    """
    sections = {
        "Model details": _details(manifest),
        "Intended use": _use(manifest),
        "Factors": _factors(evaluation),
        "Metrics": _metrics(manifest, rows),
        "Evaluation data": _evaluation_data(manifest, rows),
        "Training data": _training_data(manifest, rows),
        "Quantitative analyses": analyses(manifest, evaluation, importance, explanation),
        **({"Fairness": fairness(evaluation.fairness)} if evaluation.fairness else {}),
        "Ethical considerations": _ethics(manifest, evaluation),
        **({"Mitigation of bias": mitigation(mitigated)} if mitigated else {}),
        "Findings of the training": _findings(findings),
        "Caveats and recommendations": _caveats(manifest, evaluation, explanation),
        "How to load it": loading(manifest),
    }
    parts = [f"# {text(manifest.name)}", _summary(manifest, evaluation)]
    for title, body in sections.items():
        parts += [f"## {title}", body]
    return "\n\n".join(parts) + "\n"


def _summary(manifest: Manifest, evaluation: Evaluation) -> str:
    name = HEADLINES[kind_of_task(len(manifest.classes))][0]
    return (
        f"Predicts **{text(manifest.target)}** from {len(manifest.inputs)} columns; "
        f"{name} on held-out rows: {evaluation.metrics[name]}."
    )


def _details(manifest: Manifest) -> str:
    facts: list[tuple[str, object]] = [("Task", manifest.task)]
    if manifest.classes:
        facts.append(("Classes", ", ".join(map(str, manifest.classes))))
    if manifest.positive_class is not None:
        facts.append(("Positive class", manifest.positive_class))
    facts += [
        ("Network", plain(manifest.plan.get("model"))),
        ("Optimizer", plain(manifest.plan.get("optimizer"))),
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
    return table(("", ""), facts)


def _use(manifest: Manifest) -> str:
    what = "the classes' probabilities" if manifest.classes else _values(manifest)
    said = (
        f"One row of the columns below gives {what} of {text(manifest.target)}. The plan states "
        "no purpose: whoever deploys the model has to say what it may and may not decide.\n\n"
    )
    if any(given.shape for given in manifest.inputs):
        inputs = [(given.name, given.kind, _read_as(given)) for given in manifest.inputs]
        return said + table(("column", "kind", "read as"), inputs)
    known = [(given.name, given.kind, len(given.categories) or "") for given in manifest.inputs]
    return said + table(("column", "kind", "known categories"), known)


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
    return "Results are reported by these groups.\n\n" + table(
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
        f"{text(plain(manifest.plan.get('split')))}."
    )


def _training_data(manifest: Manifest, rows: Mapping[str, int]) -> str:
    reference = manifest.plan.get("data", {}).get("dataset", "")
    return table(
        ("", ""),
        [
            ("Data set", reference),
            ("SHA-256 of its content", manifest.data_version),
            ("Training rows", f"{rows['train']:,}"),
            ("Validation rows (choose the best epoch)", f"{rows['validation']:,}"),
        ],
    )


def _ethics(manifest: Manifest, evaluation: Evaluation) -> str:
    if not evaluation.groups:
        return "Not assessed: no sensitive column was given."
    columns = ", ".join(text(c) for c in dict.fromkeys(row["column"] for row in evaluation.groups))
    worse: dict[tuple[str, str], list[str]] = {}
    for row in evaluation.groups:
        if row["verdict"] == "worse":
            worse.setdefault((row["column"], row["group"]), []).append(row["metric"])
    parts = [
        f"{columns}: not among what the network sees; other columns may still stand in for it, "
        "which was not measured."
    ]
    if manifest.decision:
        deciding = ", ".join(map(text, manifest.decision.columns))
        parts.append(f"The label depends on {deciding}: see the mitigation of bias.")
    if worse:
        parts.append("These groups score worse than the whole, beyond chance for each score alone:")
        parts.append(
            "\n".join(
                f"- {text(column)} = {text(group)}: {', '.join(names)}"
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
        f"- **{text(each['code'])}** ({each['severity']}): {text(each['message'])} {each['remedy']}"
        for each in findings
    )


def _caveats(manifest: Manifest, evaluation: Evaluation, explanation: Explanation) -> str:
    items = [
        "Base value plus SHAP values give the network's output to within a relative error of "
        f"{explanation['additivity_error']:.1e}.",
    ]
    if warning := failed(manifest.explanation):
        items.append(warning)
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
