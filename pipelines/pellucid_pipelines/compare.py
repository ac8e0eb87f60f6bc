"""Champion against candidate: `python -m pellucid_pipelines.compare CHAMPION_DIR JOB_DIR`.

Both bundles predict the job's own test rows in ONNX Runtime. Writes
JOB_DIR/outputs/comparison.json: either `metric`, `champion`, `candidate`, `difference` (positive:
the candidate is better) with its limits `low` and `high` (paired bootstrap), and `rows`, and how
`importance` moved between the columns; or `incomparable` with the reason.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pellucid.analysis.intervals import paired_difference
from pellucid.analysis.scores import SCORES, Score
from pellucid.bundle import Bundle, Manifest
from pellucid.errors import Conflict
from pellucid.jobs.workspace import Workspace, write_atomically
from pellucid.plan import Plan
from pellucid.raw.columns import tokenizer_in
from pellucid.schema import Kind, Role
from pellucid_pipelines import shifts
from pellucid_pipelines.export import raw_inputs, run_onnx

_PIECE = 1024  # rows that are decoded at once
_SHIFTS = 20  # columns


def compare(champion: Bundle, workspace: Workspace) -> dict[str, Any]:
    """What `comparison.json` holds; see the module.

    A champion that was trained on other splits may have seen some of these rows: that can only
    flatter the champion.
    """
    result = workspace.read_result()
    if result is None:
        raise Conflict("The job has no result to compare.", where={"file": str(workspace.root)})
    candidate = Bundle.open(workspace.bundle)
    rows = pq.read_table(workspace.outputs / "test_rows.parquet")
    reason = _obstacle(champion.manifest, candidate.manifest, rows)
    if reason:
        return {"incomparable": reason}

    score = SCORES[result["gate_metric"]]
    scored = _scored(score, champion, candidate, rows, _weight(rows, workspace))
    if not all(math.isfinite(scored[limit]) for limit in ("low", "high")):
        return {"incomparable": f"{score.name} is not defined on the {len(rows)} test rows."}
    moved = _importance(champion, candidate)
    return {"metric": score.name, **scored, "rows": len(rows), "importance": moved}


def _scored(
    score: Score, champion: Bundle, candidate: Bundle, rows: pa.Table, weight: np.ndarray | None
) -> dict[str, float]:
    """Both scores, and their difference with its limits: the candidate's lead."""
    manifest = candidate.manifest
    spec = Plan.parse(manifest.plan)
    positive = None
    if manifest.positive_class is not None:
        positive = manifest.classes.index(manifest.positive_class)
    truth = _truth(rows[manifest.target], manifest)
    (old, before), (new, after) = _predictions(champion, rows), _predictions(candidate, rows)
    difference = paired_difference(
        score,
        truth,
        new,
        old,
        weight=weight,
        resamples=spec.evaluation.resamples,
        confidence=spec.evaluation.confidence,
        seed=spec.training.seed,
        positive=positive,
        labels=(after, before),
    )
    low, high = sorted((score.sign * difference.low, score.sign * difference.high))
    return {
        "champion": score(truth, old, weight, positive=positive, label=before),
        "candidate": score(truth, new, weight, positive=positive, label=after),
        "difference": score.sign * difference.value,
        "low": low,
        "high": high,
    }


def _importance(champion: Bundle, candidate: Bundle) -> dict[str, Any]:
    """What the predictions rest on: how much of it moved, and the columns that changed most.

    null stands for what is not defined, as where a bundle explains no rows.
    """
    found = shifts.compare(champion, candidate)
    moved = [
        {"column": each.column, "champion": each.old, "candidate": each.new}
        for each in found.columns[:_SHIFTS]
    ]
    known = {"moved": found.moved, "rank_correlation": found.agreement}
    return {name: value if math.isfinite(value) else None for name, value in known.items()} | {
        "columns": moved
    }


def _obstacle(champion: Manifest, candidate: Manifest, rows: pa.Table) -> str:
    """Why the two cannot be compared, in a sentence; empty where they can."""
    if champion.task != candidate.task:
        return f"The champion does {champion.task}, the candidate {candidate.task}."
    if champion.target != candidate.target:
        return f"The champion predicts {champion.target!r}, the candidate {candidate.target!r}."
    if champion.classes != candidate.classes:
        return (
            f"The champion's classes are {champion.classes}, the candidate's {candidate.classes}."
        )
    if champion.positive_class != candidate.positive_class:
        return (
            f"The champion's positive class is {champion.positive_class!r}, "
            f"the candidate's {candidate.positive_class!r}."
        )
    shapes = [[output.shape for output in each.outputs] for each in (champion, candidate)]
    if champion.task == "regression" and shapes[0] != shapes[1]:
        return "The champion and the candidate forecast another number of steps."
    missing = [each.name for each in champion.inputs if each.name not in rows.column_names]
    if missing:
        return f"The champion needs columns that the test rows lack: {', '.join(missing)}."
    for each in champion.inputs:
        if each.kind not in _kinds(rows.schema.field(each.name).type):
            return (
                f"The champion takes {each.name!r} as {each.kind}; the test rows hold it otherwise."
            )
    return ""


def _kinds(stored: pa.DataType) -> tuple[Kind, ...]:
    """What a column of the test rows can be read as."""
    if pa.types.is_string(stored) or pa.types.is_large_string(stored):
        return Kind.CATEGORICAL, Kind.TEXT
    if pa.types.is_binary(stored) or pa.types.is_large_binary(stored):
        return (Kind.IMAGE,)
    if pa.types.is_list(stored) or pa.types.is_large_list(stored):
        return (Kind.SEQUENCE,)
    return Kind.NUMERIC, Kind.BOOLEAN, Kind.DATETIME


def _truth(column: pa.ChunkedArray, manifest: Manifest) -> np.ndarray:
    """(N,) class indices, or values; (N, steps ahead) of a forecast."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return np.array(column.to_pylist(), dtype=np.float64)
    if manifest.task == "regression":
        return np.array(column.cast(pa.float64()).to_numpy())
    labels = pa.array([str(label) for label in manifest.classes])
    return np.array(pc.index_in(column.cast(pa.string()), value_set=labels), dtype=np.int64)


def _weight(rows: pa.Table, workspace: Workspace) -> np.ndarray | None:
    columns = workspace.read_request().data_schema.having(Role.WEIGHT)
    if not columns:
        return None
    return np.array(rows[columns[0].name].cast(pa.float64()).to_numpy())


def _predictions(bundle: Bundle, rows: pa.Table) -> tuple[np.ndarray, np.ndarray | None]:
    """(N, K) probabilities, or (N,) or (N, steps ahead) values, and (N,) labels that a rule made.

    Labels are class indices; None where the likeliest class is taken.
    """
    inputs, tokenizer = bundle.manifest.inputs, tokenizer_in(bundle.root)
    name = "value" if bundle.manifest.task == "regression" else "probabilities"
    step = _PIECE if any(each.shape for each in inputs) else max(1, len(rows))
    found = [
        run_onnx(bundle.model_path, raw_inputs(rows.slice(start, step), inputs, tokenizer))
        for start in range(0, max(1, len(rows)), step)
    ]
    prediction = np.concatenate([each[name] for each in found])
    if bundle.manifest.decision is None:
        return prediction, None
    places = {label: place for place, label in enumerate(bundle.manifest.classes)}
    labels = [places[label] for each in found for label in each["label"].tolist()]
    return prediction, np.array(labels, np.int64)


def main() -> int:
    """Compare what the command line names; returns the exit status."""
    champion, workspace = Bundle.open(Path(sys.argv[1])), Workspace(Path(sys.argv[2]))
    result = compare(champion, workspace)
    text = json.dumps(result, indent=2)
    write_atomically(workspace.outputs / "comparison.json", text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
