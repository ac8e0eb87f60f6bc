"""How good the model is, over all test rows and by group, and what its predictions rest on."""

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import SCORES
from pellucid.bundle import Manifest
from pellucid_pipelines.card.explanation import Explanation, rest_on
from pellucid_pipelines.card.markdown import table, text
from pellucid_pipelines.evaluate import HEADLINES, Evaluation, kind_of_task

_MOST_CLASSES = 12  # in a confusion matrix that is still read as text


def analyses(
    manifest: Manifest,
    evaluation: Evaluation,
    importance: Mapping[str, float],
    explanation: Explanation,
) -> str:
    """The section, with a part for each sensitive column."""
    scores = [
        (name, interval, f"{SCORES[name].direction} is better")
        for name, interval in evaluation.metrics.items()
    ]
    parts = ["### Over all test rows", table(("score", "value", ""), scores)]
    if evaluation.confusion is not None and len(manifest.classes) <= _MOST_CLASSES:
        header = ("true \\ predicted", *map(str, manifest.classes))
        counts = [
            (label, *(f"{count:,.0f}" for count in line))
            for label, line in zip(manifest.classes, evaluation.confusion, strict=True)
        ]
        parts.append(table(header, counts))
    names = HEADLINES[kind_of_task(len(manifest.classes))]
    for column in dict.fromkeys(row["column"] for row in evaluation.groups):
        parts += [f"### By {text(column)}", _group_table(column, names, evaluation)]
        spread = [
            (row["metric"], str(_limits(row)))
            for row in evaluation.disparities
            if (row["column"], row["aggregate"]) == (column, "difference")
            and row["metric"] in names
        ]
        if spread:
            parts.append(
                table(
                    ("score", "largest minus smallest group, limits allowing for that choice"),
                    spread,
                )
            )
    parts += ["### What the predictions rest on"]
    parts += rest_on(manifest, importance, explanation)
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
    return table(("group", "test rows", *names), lines)


def _with_verdict(row: Mapping[str, Any]) -> str:
    told = row["verdict"] in ("better", "worse", "too few rows")
    return str(_limits(row)) + (f" ({row['verdict']})" if told else "")


def _limits(row: Mapping[str, Any]) -> Interval:
    return Interval(row["value"], row["low"], row["high"])
